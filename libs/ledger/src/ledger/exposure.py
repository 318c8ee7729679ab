"""What open orders may cost at their worst, against the hard limits. Pure: amounts in dollars, magnitudes.

An order reserves from its approval until its end is proved; a fill turns the reservation into a holding. Nothing that
is judged here may depend on the order in which proposals come.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from decimal import Decimal

from ledger.limits import HardLimits
from schemas.orders import TERMINAL_STATES, IntentState

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Reservation:
    """One opening order at its worst. structure: what counts as one position, for example underlying and expiration."""

    max_loss: Decimal
    buying_power: Decimal
    underlying_symbol: str
    structure: str
    automated: bool = True


@dataclass(frozen=True, slots=True)
class Holdings:
    """What is held. None = not known, which denies."""

    net_liq: Decimal | None = None
    max_loss: Decimal | None = None
    buying_power_used: Decimal | None = None
    buying_power_free: Decimal | None = None
    max_loss_of: Mapping[str, Decimal] = field(default_factory=dict)
    """Underlying → what its holdings can lose."""
    structures: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Outstanding:
    """Sums over what is reserved, and the day's count of opening trades."""

    max_loss: Decimal = ZERO
    buying_power: Decimal = ZERO
    max_loss_of: Mapping[str, Decimal] = field(default_factory=dict)
    structures: Set[str] = frozenset()
    trades_today: int = 0
    automated_today: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """The limit that forbids, what the value would be, and the limit. None = a fact or the limit is missing."""

    limit: str
    value: Decimal | None
    allowed: Decimal | None
    detail: str = ""


def judge(wanted: Reservation, held: Holdings, others: Outstanding, limits: HardLimits) -> Refusal | None:
    """The first limit that a reservation would break, beside everything held and reserved; None when it may be taken.

    A value equal to its limit passes.
    """
    loss = wanted.max_loss
    power = None if held.buying_power_used is None else held.buying_power_used + others.buying_power
    here = held.max_loss_of.get(wanted.underlying_symbol, ZERO) + others.max_loss_of.get(wanted.underlying_symbol, ZERO)
    amounts: tuple[tuple[str, Decimal | None], ...] = (
        ("trade_risk_max_pct", loss),
        ("trade_size_max_pct", wanted.buying_power),
        ("open_order_value_max_pct", others.max_loss + loss),
        ("underlying_max_pct", here + loss),
        ("exposure_max_pct", None if held.max_loss is None else held.max_loss + others.max_loss + loss),
        ("buying_power_used_max_pct", None if power is None else power + wanted.buying_power),
    )
    net_liq, values = held.net_liq, limits.values
    for name, amount in amounts:
        allowed = values.get(name)
        if amount is None or allowed is None or net_liq is None or net_liq <= 0:
            return Refusal(name, None, allowed, "the fact is missing")
        if 100 * amount > allowed * net_liq:
            return Refusal(name, 100 * amount / net_liq, allowed)
    if refusal := _reserve_left(wanted, held, others, limits):
        return refusal
    structures = _count(wanted, held, others)
    counts = [("positions_max", structures), ("daily_trades_max", others.trades_today + 1)]
    if wanted.automated:
        counts.append(("daily_trades_automated_max", others.automated_today + 1))
    for name, count in counts:
        allowed = limits.of(name)
        if allowed is None or count > allowed:
            return Refusal(name, Decimal(count), allowed)
    return None


def _reserve_left(wanted: Reservation, held: Holdings, others: Outstanding, limits: HardLimits) -> Refusal | None:
    allowed, net_liq = limits.of("cash_reserve_min_pct"), held.net_liq
    if held.buying_power_free is None or allowed is None or net_liq is None or net_liq <= 0:
        return Refusal("cash_reserve_min_pct", None, allowed, "the fact is missing")
    left = held.buying_power_free - others.buying_power - wanted.buying_power
    return Refusal("cash_reserve_min_pct", 100 * left / net_liq, allowed) if 100 * left < allowed * net_liq else None


def _count(wanted: Reservation, held: Holdings, others: Outstanding) -> int:
    count = len(held.structures) + sum(each not in held.structures for each in others.structures)
    return count + (wanted.structure not in held.structures and wanted.structure not in others.structures)


class ReservationBook:
    """The reservations of one account in memory, by intent. One caller at a time: the account's lock is its own."""

    def __init__(self, held: Holdings, limits: HardLimits) -> None:
        self.held, self.limits = held, limits
        self.open: dict[str, Reservation] = {}
        self._loss, self._power = ZERO, ZERO
        self._loss_of: dict[str, Decimal] = {}
        self._structures: dict[str, int] = {}
        self.trades_today = self.automated_today = 0

    @property
    def outstanding(self) -> Outstanding:
        """Sums over what is reserved."""
        return Outstanding(
            self._loss, self._power, self._loss_of, self._structures.keys(), self.trades_today, self.automated_today
        )

    def reserve(self, intent_id: str, wanted: Reservation) -> Refusal | None:
        """Take a reservation, or say which limit forbids it. ValueError for an intent that has one."""
        if intent_id in self.open:
            raise ValueError(f"intent {intent_id} has its reservation")
        if refusal := judge(wanted, self.held, self.outstanding, self.limits):
            return refusal
        self.open[intent_id] = wanted
        self._add(wanted, 1)
        self.trades_today += 1
        self.automated_today += wanted.automated
        return None

    def release(self, intent_id: str, state: IntentState) -> None:
        """Give a reservation back. ValueError unless the state proves that nothing can fill any more (I9)."""
        if state not in TERMINAL_STATES:
            raise ValueError(f"an intent that is {state.value} keeps its reservation")
        gone = self.open.pop(intent_id)
        self._add(gone, -1)
        if state in (IntentState.DENIED, IntentState.EXPIRED, IntentState.WITHDRAWN):
            self.trades_today -= 1
            self.automated_today -= gone.automated
        if state is IntentState.FILLED:
            self._hold(gone)

    def _hold(self, filled: Reservation) -> None:
        held = self.held
        of = held.max_loss_of.get(filled.underlying_symbol, ZERO) + filled.max_loss
        self.held = Holdings(
            held.net_liq,
            None if held.max_loss is None else held.max_loss + filled.max_loss,
            None if held.buying_power_used is None else held.buying_power_used + filled.buying_power,
            None if held.buying_power_free is None else held.buying_power_free - filled.buying_power,
            {**held.max_loss_of, filled.underlying_symbol: of},
            held.structures | {filled.structure},
        )

    def _add(self, one: Reservation, sign: int) -> None:
        self._loss += sign * one.max_loss
        self._power += sign * one.buying_power
        self._loss_of[one.underlying_symbol] = self._loss_of.get(one.underlying_symbol, ZERO) + sign * one.max_loss
        count = self._structures.get(one.structure, 0) + sign
        if count:
            self._structures[one.structure] = count
        else:
            self._structures.pop(one.structure, None)

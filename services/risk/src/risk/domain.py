"""The controls: every one is evaluated, none is skipped, and a missing fact denies. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from optionmath.payoff import PayoffLeg, analyse
from schemas.account import GateMode
from schemas.money import to_cent
from schemas.orders import LimitGauge
from schemas.symbols import OptionType, parse_occ
from schemas.trade import Leg, ProposeTrade, Purpose, RuleResult

MULTIPLIER = 100
WARNING_PCT, CRITICAL_PCT, VIOLATION_PCT = 80, 95, 100


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard limits; percentages of net liq unless the name says otherwise. Meanings: settings.py."""

    legs_max: int
    quantity_max: int
    positions_max: int
    sector_positions_max: int
    buying_power_used_max_pct: Decimal
    cash_reserve_min_pct: Decimal
    trade_size_max_pct: Decimal
    exposure_max_pct: Decimal
    underlying_max_pct: Decimal
    trade_risk_max_pct: Decimal
    beta_delta_max_pct: Decimal
    vega_max_pct: Decimal
    daily_loss_max_pct: Decimal
    daily_loss_max: Decimal
    drawdown_max_pct: Decimal
    daily_trades_automated_max: int
    daily_trades_max: int
    unknown_orders_max: int
    quote_max_age_at_submit_seconds: float
    feed_max_age_seconds: float
    price_collar_pct: Decimal


@dataclass(frozen=True, slots=True)
class Held:
    """Contracts of one symbol. Short negative; average_open_price unsigned."""

    occ_symbol: str
    underlying_symbol: str
    signed_quantity: int
    average_open_price: Decimal
    sector: str = "Unknown"


@dataclass(frozen=True, slots=True)
class Reserved:
    """An approved, working or unknown order at its worst. Magnitudes in dollars; deltas in SPY shares."""

    underlying_symbol: str
    expiration: date
    purpose: Purpose
    sector: str
    max_loss: Decimal
    buying_power: Decimal
    delta: float | None
    vega: float | None
    unknown: bool = False
    closes: dict[str, int] = field(default_factory=dict)
    """Contracts it would close, per symbol."""


@dataclass(frozen=True, slots=True)
class Account:
    """What the ledger and the broker know of an account. None = not known."""

    net_liq: Decimal | None = None
    buying_power: Decimal | None = None
    maintenance_requirement: Decimal | None = None
    start_of_day_net_liq: Decimal | None = None
    high_water_mark: Decimal | None = None
    held: tuple[Held, ...] = ()
    reserved: tuple[Reserved, ...] = ()
    frozen: dict[str, str] = field(default_factory=dict)
    trades_today: int = 0
    automated_trades_today: int = 0
    delta: float | None = None
    """Of everything held, beta-weighted, SPY shares; None when a greek of a holding is missing."""
    vega: float | None = None
    """Dollars per volatility point."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """The moment of the decision. None = not known."""

    gate: GateMode
    armed: bool
    market_open: bool | None
    feed_age_seconds: float | None
    quote_age_seconds: float | None
    """Of the oldest leg."""
    mid: Decimal | None
    natural: Decimal | None
    spy_price: float | None
    delta: float | None
    """Of one unit, beta-weighted, SPY shares."""
    vega: float | None
    """Of one unit, dollars per volatility point."""
    sector: str = "Unknown"


@dataclass(frozen=True, slots=True)
class Decision:
    """Every control's verdict, and what an approval reserves. Magnitudes in dollars."""

    controls: tuple[RuleResult, ...]
    max_loss: Decimal | None
    buying_power: Decimal | None
    delta: float | None
    vega: float | None

    @property
    def approved(self) -> bool:
        return all(control.passed for control in self.controls)

    @property
    def denials(self) -> tuple[str, ...]:
        return tuple(control.rule for control in self.controls if not control.passed)


def decide(trade: ProposeTrade, account: Account, now_: Conditions, limits: Limits, now: datetime) -> Decision:
    """Judge a proposal. Every control of its purpose is evaluated."""
    symbols = [parse_occ(leg.occ_symbol) for leg in trade.legs]
    worst = _max_loss(trade.legs, min(trade.limit_price, trade.start_price), trade.quantity)
    common = [
        _control("gate", 0 if now_.gate.allows(trade.purpose) else 1, 0, "<=", detail=now_.gate.value),
        _control("valid_until", (trade.valid_until - now).total_seconds(), 0, ">=", "s"),
        _control("market_open", _flag(now_.market_open), 1, ">="),
        _control("feed_max_age_seconds", now_.feed_age_seconds, limits.feed_max_age_seconds, "<=", "s"),
        _control(
            "quote_max_age_at_submit_seconds",
            now_.quote_age_seconds,
            limits.quote_max_age_at_submit_seconds,
            "<=",
            "s",
        ),
        _control("legs_max", len(trade.legs), limits.legs_max, "<=", "legs"),
        _control("quantity_max", trade.quantity, limits.quantity_max, "<=", "units"),
        _control("one_underlying", len({each.root_symbol for each in symbols}), 1, "<=", "roots"),
        _collar(trade, now_, limits),
        _control("frozen", int(trade.underlying_symbol in account.frozen), 0, "<=",
                 detail=account.frozen.get(trade.underlying_symbol, "")),
    ]  # fmt: skip
    if trade.purpose is Purpose.CLOSE:
        return Decision((*common, *_closing(trade, account)), Decimal(0), Decimal(0), None, None)
    delta = None if now_.delta is None else now_.delta * trade.quantity
    vega = None if now_.vega is None else now_.vega * trade.quantity
    return Decision((*common, *_opening(trade, account, now_, limits, worst, delta, vega)), worst, worst, delta, vega)


def _opening(
    trade: ProposeTrade,
    account: Account,
    now_: Conditions,
    limits: Limits,
    worst: Decimal | None,
    delta: float | None,
    vega: float | None,
) -> list[RuleResult]:
    net_liq = account.net_liq
    opens = [each for each in account.reserved if each.purpose is Purpose.OPEN]
    reserved_loss = sum((each.max_loss for each in opens), Decimal(0))
    reserved_power = sum((each.buying_power for each in opens), Decimal(0))
    held_loss = exposure(account.held)
    of_underlying = exposure(each for each in account.held if each.underlying_symbol == trade.underlying_symbol)
    working_here = [each for each in opens if each.underlying_symbol == trade.underlying_symbol]
    here_loss = sum((each.max_loss for each in working_here), Decimal(0))
    structures = structures_of(account)
    in_sector = {key for key, sector in structures.items() if sector == now_.sector}
    automated = trade.source == "scanner"
    duplicates = len(working_here)
    if automated:
        duplicates += any(each.underlying_symbol == trade.underlying_symbol for each in account.held)
    unknown = sum(each.unknown for each in account.reserved)
    pct = _of(net_liq)
    day_loss = _loss_since(account.start_of_day_net_liq, net_liq)
    drawdown = _loss_since(account.high_water_mark, net_liq)
    found = [
        _control("opens_only", sum(not leg.action.opens for leg in trade.legs), 0, "<=", "closing legs"),
        _control("defined_risk", _flag(worst is not None), 1, ">="),
        _control("trade_risk_max_pct", pct(worst), limits.trade_risk_max_pct, "<=", "% of net liq"),
        _control("trade_size_max_pct", pct(worst), limits.trade_size_max_pct, "<=", "% of net liq"),
        _control(
            "buying_power_used_max_pct",
            pct(_plus(account.maintenance_requirement, reserved_power, worst)),
            limits.buying_power_used_max_pct,
            "<=",
            "% of net liq",
        ),
        _control(
            "cash_reserve_min_pct",
            pct(_plus(account.buying_power, -reserved_power, None if worst is None else -worst)),
            limits.cash_reserve_min_pct,
            ">=",
            "% of net liq",
        ),
        _control(
            "exposure_max_pct",
            pct(_plus(held_loss, reserved_loss, worst)),
            limits.exposure_max_pct,
            "<=",
            "% of net liq",
        ),
        _control(
            "underlying_max_pct",
            pct(_plus(of_underlying, here_loss, worst)),
            limits.underlying_max_pct,
            "<=",
            "% of net liq",
        ),
        _control("positions_max", len(structures) + 1, limits.positions_max, "<=", "structures"),
        _control("sector_positions_max", len(in_sector) + 1, limits.sector_positions_max, "<=", "structures",
                 detail=now_.sector),
        _control("beta_delta_max_pct", _delta_pct(account, now_, delta), limits.beta_delta_max_pct, "<=",
                 "% of net liq"),
        _control("vega_max_pct", _vega_pct(account, vega), limits.vega_max_pct, "<=", "% of net liq a point"),
        _control("duplicate", duplicates, 0, "<=", "in this underlying"),
        _control("unknown_orders_max", unknown, limits.unknown_orders_max, "<=", "orders"),
        _control("daily_trades_max", account.trades_today + 1, limits.daily_trades_max, "<=", "trades"),
        _control("daily_loss_max_pct", pct(day_loss), limits.daily_loss_max_pct, "<=", "% of net liq"),
        _control("daily_loss_max", day_loss, _scaled(limits.daily_loss_max, net_liq), "<=", "$"),
        _control("drawdown_max_pct", _share(drawdown, account.high_water_mark), limits.drawdown_max_pct, "<=", "%"),
    ]  # fmt: skip
    if automated:
        found.append(_control("armed", _flag(now_.armed), 1, ">="))
        trades = account.automated_trades_today + 1
        found.append(_control("daily_trades_automated_max", trades, limits.daily_trades_automated_max, "<=", "trades"))
        candidate = trade.candidate
        found.append(_control("candidate_passed", _flag(candidate is not None and candidate.passed), 1, ">="))
    return found


def _closing(trade: ProposeTrade, account: Account) -> list[RuleResult]:
    held = {each.occ_symbol: each.signed_quantity for each in account.held}
    working: dict[str, int] = defaultdict(int)
    for each in account.reserved:
        for symbol, contracts in each.closes.items():
            working[symbol] += contracts
    short = 0
    for leg in trade.legs:
        available = -leg.action.sign * held.get(leg.occ_symbol, 0) - working[leg.occ_symbol]
        short += max(0, leg.quantity * trade.quantity - max(0, available))
    return [
        _control("closes_only", sum(leg.action.opens for leg in trade.legs), 0, "<=", "opening legs"),
        _control("position_to_close", short, 0, "<=", "contracts more than held"),
    ]


def _collar(trade: ProposeTrade, now_: Conditions, limits: Limits) -> RuleResult:
    """The worst price may not stand below natural by more than the collar, percent of the structure's width."""
    strikes = [parse_occ(leg.occ_symbol).strike for leg in trade.legs]
    width = max(max(strikes) - min(strikes), Decimal(1))
    gap = None if now_.natural is None else max(Decimal(0), now_.natural - trade.limit_price) / width * 100
    return _control("price_collar_pct", gap, limits.price_collar_pct, "<=", "% of width below natural")


def _max_loss(legs: Sequence[Leg], credit: Decimal, quantity: int) -> Decimal | None:
    """Dollars that can be lost at expiration at this price; None = unlimited, or several expirations."""
    options = [(leg, parse_occ(leg.occ_symbol)) for leg in legs]
    if len({option.expiration for _, option in options}) > 1:
        return None
    payoff = analyse(
        [
            PayoffLeg(option.option_type is OptionType.CALL, option.strike, leg.action.sign * leg.quantity)
            for leg, option in options
        ],
        credit,
    )
    return None if payoff.max_loss is None else -to_cent(-payoff.max_loss * MULTIPLIER * quantity)


def exposure(held: Iterable[Held]) -> Decimal | None:
    """What holdings can lose from their opening prices, summed over underlyings and expirations; None = unlimited."""
    groups: dict[tuple[str, date], list[Held]] = defaultdict(list)
    for each in held:
        groups[each.underlying_symbol, parse_occ(each.occ_symbol).expiration].append(each)
    total = Decimal(0)
    for legs in groups.values():
        options = [parse_occ(each.occ_symbol) for each in legs]
        credit = -sum((each.signed_quantity * each.average_open_price for each in legs), Decimal(0))
        payoff = analyse(
            [
                PayoffLeg(option.option_type is OptionType.CALL, option.strike, each.signed_quantity)
                for each, option in zip(legs, options, strict=True)
            ],
            credit,
        )
        if payoff.max_loss is None:
            return None
        total += payoff.max_loss * MULTIPLIER
    return total


def structures_of(account: Account) -> dict[tuple[str, date], str]:
    """(underlying, expiration) → sector of everything held or being opened."""
    found = {(each.underlying_symbol, parse_occ(each.occ_symbol).expiration): each.sector for each in account.held}
    for order in account.reserved:
        if order.purpose is Purpose.OPEN:
            found.setdefault((order.underlying_symbol, order.expiration), order.sector)
    return found


def gauges(account: Account, spy_price: float | None, limits: Limits) -> tuple[LimitGauge, ...]:
    """Where an account stands against its limits, worst first."""
    opens = [each for each in account.reserved if each.purpose is Purpose.OPEN]
    power = sum((each.buying_power for each in opens), Decimal(0))
    loss = sum((each.max_loss for each in opens), Decimal(0))
    pct, net_liq = _of(account.net_liq), account.net_liq
    conditions = Conditions(GateMode.RUN, True, True, 0, 0, None, None, spy_price, 0.0, 0.0)
    day_loss = _loss_since(account.start_of_day_net_liq, net_liq)
    drawdown = _share(_loss_since(account.high_water_mark, net_liq), account.high_water_mark)
    used = pct(_plus(account.maintenance_requirement, power))
    free = pct(_plus(account.buying_power, -power))
    entries: list[tuple[str, Decimal | float | None, Decimal | float | None, str]] = [
        ("buying_power_used", used, limits.buying_power_used_max_pct, "% of net liq"),
        ("exposure", pct(_plus(exposure(account.held), loss)), limits.exposure_max_pct, "% of net liq"),
        ("positions", len(structures_of(account)), limits.positions_max, "structures"),
        ("daily_loss", day_loss, _scaled(limits.daily_loss_max, net_liq), "$"),
        ("drawdown", drawdown, limits.drawdown_max_pct, "%"),
        ("beta_delta", _delta_pct(account, conditions, 0.0), limits.beta_delta_max_pct, "% of net liq"),
        ("vega", _vega_pct(account, 0.0), limits.vega_max_pct, "% of net liq a point"),
        ("trades_today", account.trades_today, limits.daily_trades_max, "trades"),
        ("automated_trades_today", account.automated_trades_today, limits.daily_trades_automated_max, "trades"),
    ]
    found = [_gauge(*entry) for entry in entries]
    found.append(_reserve_gauge(free, limits.cash_reserve_min_pct))
    return tuple(sorted(found, key=lambda gauge: -(gauge.used_pct if gauge.used_pct is not None else 1e9)))


def automatic_stop(account: Account, limits: Limits) -> str | None:
    """Why the account must stop opening by itself; None while it need not."""
    day_loss = _loss_since(account.start_of_day_net_liq, account.net_liq)
    if day_loss is not None and account.net_liq is not None:
        allowed = min(
            limits.daily_loss_max_pct / 100 * account.net_liq,
            _scaled(limits.daily_loss_max, account.net_liq) or Decimal(0),
        )
        if day_loss >= allowed:
            return f"daily loss ${day_loss:,.2f} reached its limit ${allowed:,.2f}"
    drawdown = _share(_loss_since(account.high_water_mark, account.net_liq), account.high_water_mark)
    if drawdown is not None and drawdown >= limits.drawdown_max_pct:
        return f"drawdown {drawdown:.2f} % reached its limit {limits.drawdown_max_pct} %"
    return None


def _gauge(name: str, value: Decimal | float | None, limit: Decimal | float | None, unit: str) -> LimitGauge:
    if value is None or limit is None:
        shown = None if limit is None else float(limit)
        return LimitGauge(name=name, value=None, limit=shown, unit=unit, level="unknown")
    used = 100 * float(value) / float(limit) if limit else (0.0 if not value else 100.0)
    return LimitGauge(
        name=name, value=float(value), limit=float(limit), unit=unit, used_pct=round(used, 2), level=level(used)
    )


def _reserve_gauge(free: Decimal | None, minimum: Decimal) -> LimitGauge:
    """A floor: 100 % used when only the reserve is left."""
    if free is None:
        return _gauge("cash_reserve", None, minimum, "% of net liq")
    room = 100 - minimum
    used = float((100 - free) / room * 100)
    return LimitGauge(
        name="cash_reserve",
        value=float(free),
        limit=float(minimum),
        unit="% of net liq",
        used_pct=round(used, 2),
        level=level(used),
    )


def level(used_pct: float) -> str:
    """Word for a share of a limit."""
    for bound, word in ((VIOLATION_PCT, "violation"), (CRITICAL_PCT, "critical"), (WARNING_PCT, "warning")):
        if used_pct >= bound:
            return word
    return "ok"


def _control(
    rule: str,
    value: Decimal | float | None,
    limit: Decimal | float | None,
    comparison: Literal[">=", "<="],
    unit: str = "",
    detail: str = "",
) -> RuleResult:
    if value is None or limit is None:
        return RuleResult(
            rule=rule, passed=False, value=None, limit=None if limit is None else float(limit), comparison=comparison,
            margin=None, unit=unit, detail="the fact is missing",
        )  # fmt: skip
    margin = Decimal(str(value)) - Decimal(str(limit))
    if comparison == "<=":
        margin = -margin
    return RuleResult(
        rule=rule, passed=margin >= 0, value=float(value), limit=float(limit), comparison=comparison,
        margin=float(margin), unit=unit, detail=detail,
    )  # fmt: skip


def _flag(value: bool | None) -> int | None:
    return None if value is None else int(value)


def _of(net_liq: Decimal | None) -> _Percent:
    return _Percent(net_liq)


@dataclass(frozen=True, slots=True)
class _Percent:
    net_liq: Decimal | None

    def __call__(self, amount: Decimal | None) -> Decimal | None:
        return _share(amount, self.net_liq)


def _share(amount: Decimal | None, whole: Decimal | None) -> Decimal | None:
    return None if amount is None or whole is None or whole <= 0 else 100 * amount / whole


def _plus(*amounts: Decimal | None) -> Decimal | None:
    total = Decimal(0)
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total


def _loss_since(start: Decimal | None, now: Decimal | None) -> Decimal | None:
    return None if start is None or now is None else max(Decimal(0), start - now)


def _scaled(per_100k: Decimal, net_liq: Decimal | None) -> Decimal | None:
    return None if net_liq is None else per_100k * net_liq / 100_000


def _sum(own: float | None, others: Iterable[float | None]) -> float | None:
    total = own
    for each in others:
        if total is None or each is None:
            return None
        total += each
    return total


def _delta_pct(account: Account, now_: Conditions, delta: float | None) -> float | None:
    opens = (each.delta for each in account.reserved if each.purpose is Purpose.OPEN)
    shares = _sum(account.delta, (delta, *opens))
    if shares is None or now_.spy_price is None or not account.net_liq:
        return None
    return abs(shares) * now_.spy_price / float(account.net_liq) * 100


def _vega_pct(account: Account, vega: float | None) -> float | None:
    opens = (each.vega for each in account.reserved if each.purpose is Purpose.OPEN)
    total = _sum(account.vega, (vega, *opens))
    return None if total is None or not account.net_liq else abs(total) / float(account.net_liq) * 100

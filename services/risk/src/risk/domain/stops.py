"""When an account, or everything, stops by itself. Resuming is a person's act.

A stop needs a known fact beyond its limit: what is not known denies proposals and stops nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from ledger.limits import HardLimits
from risk.domain.case import lost, scaled, share
from risk.domain.facts import Account, Market
from risk.domain.positions import losses
from schemas.account import GateMode


@dataclass(frozen=True, slots=True)
class Stop:
    """What stops and why: the rule's name, then value and limit in words."""

    rule: str
    reason: str
    mode: GateMode = GateMode.REDUCE_ONLY


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """What the executor said last of the broker. None = not known."""

    errors_in_a_row: int | None = None
    rate_limited: bool | None = None
    restrictions: tuple[str, ...] | None = None
    mismatch: str = ""
    """Where broker and ledger have differed for too long."""


@dataclass(frozen=True, slots=True)
class Contact:
    """How long ago each was last seen, seconds; None = never since the start."""

    bus: float | None = None
    database: float | None = None
    feed: float | None = None
    market_open: bool | None = None


def of_account(account: Account, market: Market, broker: BrokerFacts, limits: HardLimits) -> tuple[Stop, ...]:
    """Every reason to stop an account now."""
    return tuple(
        each
        for each in (
            _daily_loss(account, limits),
            _beyond("weekly_loss_max_pct", "loss of the week",
                    share(lost(account.start_of_week_net_liq, account.net_liq), account.net_liq), limits),
            _beyond("drawdown_max_pct", "drawdown",
                    share(lost(account.high_water_mark, account.net_liq), account.high_water_mark), limits),
            _position_loss(account, market, limits),
            *_of_broker(broker, limits),
        )
        if each is not None
    )  # fmt: skip


def of_everything(contact: Contact, limits: HardLimits) -> tuple[Stop, ...]:
    """Every reason to stop all accounts now: stale market data, lost contact."""
    found = []
    longest, feed = limits.of("contact_lost_seconds"), limits.of("feed_stop_seconds")
    for name, age in (("bus", contact.bus), ("database", contact.database)):
        if age is not None and longest is not None and age > longest:
            found.append(
                Stop("contact_lost_seconds", f"lost contact with the {name} for {age:.0f} s, limit {longest} s")
            )
    if contact.market_open and contact.feed is not None and feed is not None and contact.feed > feed:
        found.append(Stop("feed_stop_seconds", f"market data is {contact.feed:.0f} s old, limit {feed} s"))
    return tuple(found)


def strictest(stops: Iterable[Stop]) -> GateMode | None:
    """The strictest mode among stops."""
    return max((each.mode for each in stops), key=lambda mode: mode.severity, default=None)


def in_words(stops: Sequence[Stop]) -> str:
    """Why, for the gate and the audit."""
    return "; ".join(f"{each.rule}: {each.reason}" for each in stops)[:400]


def _daily_loss(account: Account, limits: HardLimits) -> Stop | None:
    """The nearer of the two daily limits, reached or passed: working orders are cancelled."""
    loss = lost(account.start_of_day_net_liq, account.net_liq)
    pct = limits.of("daily_loss_max_pct")
    dollars = scaled(limits.of("daily_loss_max"), account.net_liq)
    if loss is None or account.net_liq is None:
        return None
    bounds = [each for each in (None if pct is None else pct / 100 * account.net_liq, dollars) if each is not None]
    if not bounds or loss < min(bounds) or not loss:
        return None
    return Stop("daily_loss", f"daily loss ${loss:,.2f} reached its limit ${min(bounds):,.2f}", GateMode.REDUCE_ONLY)


def _beyond(name: str, words: str, value: Decimal | None, limits: HardLimits) -> Stop | None:
    limit = limits.of(name)
    if value is None or limit is None or value < limit:
        return None
    return Stop(name, f"{words} {value:.2f} % reached its limit {limit} %")


def _position_loss(account: Account, market: Market, limits: HardLimits) -> Stop | None:
    limit = limits.of("position_loss_max_pct")
    if limit is None:
        return None
    for name, amount in losses(account.held, market).items():
        value = share(amount, account.net_liq)
        if value is not None and value > limit:
            return Stop("position_loss_max_pct", f"{name} lost {value:.2f} % of net liq, limit {limit} %")
    return None


def _of_broker(broker: BrokerFacts, limits: HardLimits) -> list[Stop]:
    found = []
    most = limits.of("broker_errors_max")
    if broker.errors_in_a_row is not None and most is not None and broker.errors_in_a_row > most:
        found.append(Stop("broker_errors_max", f"{broker.errors_in_a_row} broker errors in a row, limit {most}"))
    if broker.rate_limited:
        found.append(Stop("broker_rate_limit", "the broker limits the rate of requests"))
    if broker.restrictions:
        found.append(Stop("account_restricted", f"the broker restricts the account: {', '.join(broker.restrictions)}"))
    if broker.mismatch:
        found.append(Stop("reconciliation_mismatch", broker.mismatch))
    return found

"""Hard limits: versioned rows with a safe range, and no loosening by more than a quarter in a day by one person.

The database refuses what this module must not do; a limit that is missing denies. Percentages are of net liquidating
value unless the name says otherwise. Sources: the product's trading rules, section 7, and its control checklist; where
both give a number, the trading rules'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ledger import audit

D = Decimal
LOOSENED_AT_ONCE_PCT = D(25)
"""How far one person may loosen a limit within a New York day, percent of where the day began."""
COOL_OFF_MINUTES = 10
"""After which the person who asked may confirm alone."""
EVERY_ACCOUNT = ""


@dataclass(frozen=True, slots=True)
class LimitSpec:
    """What a limit may be. `is_floor`: lowering it loosens it."""

    name: str
    unit: str
    default: Decimal
    lowest: Decimal
    highest: Decimal
    is_floor: bool = False


def _spec(name: str, unit: str, default: str, lowest: str, highest: str, *, is_floor: bool = False) -> LimitSpec:
    return LimitSpec(name, unit, D(default), D(lowest), D(highest), is_floor)


_OF_NET_LIQ, _OF_100K, _MESSAGES, _SECONDS = "% of net liq", "$ for each 100,000 of net liq", "messages", "seconds"
SPECS: Mapping[str, LimitSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            _spec("positions_max", "structures", "20", "1", "100"),
            _spec("buying_power_used_max_pct", _OF_NET_LIQ, "50", "1", "100"),
            _spec("cash_reserve_min_pct", _OF_NET_LIQ, "25", "20", "50", is_floor=True),
            _spec("trade_size_max_pct", _OF_NET_LIQ, "10", "5", "20"),
            _spec("exposure_max_pct", _OF_NET_LIQ, "75", "50", "85"),
            _spec("underlying_max_pct", _OF_NET_LIQ, "20", "1", "50"),
            _spec("trade_risk_max_pct", _OF_NET_LIQ, "2", "0.1", "10"),
            _spec("open_order_value_max_pct", _OF_NET_LIQ, "10", "1", "50"),
            _spec("daily_loss_max_pct", _OF_NET_LIQ, "5", "1", "15"),
            _spec("daily_loss_max", _OF_100K, "1000", "100", "15000"),
            _spec("drawdown_max_pct", "% of the high-water mark", "10", "1", "50"),
            _spec("var_max_pct", _OF_NET_LIQ, "2", "0.1", "10"),
            _spec("daily_trades_automated_max", "trades", "20", "0", "200"),
            _spec("daily_trades_max", "trades", "50", "0", "500"),
            _spec("unknown_orders_max", "orders", "1", "0", "5"),
            _spec("messages_per_second", _MESSAGES, "1", "0.1", "10"),
            _spec("messages_burst", _MESSAGES, "3", "1", "30"),
            _spec("messages_per_minute", _MESSAGES, "30", "1", "300"),
            _spec("messages_per_hour", _MESSAGES, "150", "1", "3000"),
            _spec("messages_per_day", _MESSAGES, "400", "1", "10000"),
            _spec("repeated_opens_per_10_minutes", "opens", "2", "1", "100"),
            _spec("repeated_opens_per_day", "opens", "3", "1", "500"),
            _spec("strategy_opens_per_day", "opens", "20", "1", "1000"),
            _spec("legs_max", "legs", "4", "1", "4"),
            _spec("quantity_max", "contracts", "10", "1", "1000"),
            _spec("premium_max_pct", _OF_NET_LIQ, "2.5", "0.1", "20"),
            _spec("price_collar_max_pct", "% of the mid", "5", "0.5", "50"),
            _spec("price_collar_ticks_max", "ticks", "2", "0", "20"),
            _spec("theoretical_gap_max_pct", "% of the model value", "15", "1", "100"),
            _spec("leg_spread_max_pct", "% of its mid", "30", "1", "200"),
            _spec("slippage_ten_minutes_max", _OF_100K, "300", "10", "5000"),
            _spec("slippage_day_max", _OF_100K, "750", "10", "10000"),
            _spec("feed_max_age_seconds", _SECONDS, "5", "1", "60"),
            _spec("quote_max_age_at_submit_seconds", _SECONDS, "15", "1", "600"),
            _spec("leg_skew_max_seconds", _SECONDS, "15", "0.1", "600"),
            _spec("underlying_max_age_seconds", _SECONDS, "15", "0.5", "600"),
            _spec("greeks_max_age_seconds", _SECONDS, "30", "1", "600"),
            _spec("underlying_move_max_pct", "% in 60 seconds", "3", "0.5", "20"),
            _spec("rejects_per_minute_max", "refusals", "2", "0", "20"),
            _spec("rejects_per_day_max", "refusals", "9", "0", "100"),
            _spec("working_orders_max", "orders", "6", "1", "100"),
            _spec("sector_positions_max", "structures", "5", "1", "100"),
            _spec("expiration_max_pct", _OF_NET_LIQ, "10", "1", "50"),
            _spec("beta_delta_max_pct", _OF_NET_LIQ, "30", "1", "200"),
            _spec("vega_max_pct", "% of net liq a point", "0.25", "0.01", "5"),
            _spec("weekly_loss_max_pct", _OF_NET_LIQ, "6", "1", "30"),
            _spec("position_loss_max_pct", _OF_NET_LIQ, "2", "0.1", "20"),
            _spec("buying_power_agreement_max_pct", "% of the larger", "15", "1", "100"),
            _spec("expiration_day_minutes_min", "minutes", "60", "0", "390", is_floor=True),
            _spec("session_open_minutes_min", "minutes", "5", "0", "120", is_floor=True),
            _spec("session_close_minutes_min", "minutes", "15", "0", "120", is_floor=True),
            _spec("closing_minutes_min", "minutes", "2", "0", "30", is_floor=True),
            _spec("clock_skew_max_seconds", _SECONDS, "2", "0.1", "10"),
            _spec("broker_errors_max", "errors in a row", "4", "1", "20"),
            _spec("feed_stop_seconds", _SECONDS, "60", "5", "600"),
            _spec("contact_lost_seconds", _SECONDS, "60", "5", "600"),
        )
    }
)
"""Name → what it may be. `unknown_orders_max`: of an account; a strategy stops at its first."""


@dataclass(frozen=True, slots=True)
class HardLimits:
    """The limits in force for an account."""

    values: Mapping[str, Decimal]

    def of(self, name: str) -> Decimal | None:
        """A limit; None = missing, which denies. KeyError for a name that is no limit."""
        return self.values.get(SPECS[name].name)


DEFAULTS = HardLimits(MappingProxyType({name: spec.default for name, spec in SPECS.items()}))


@dataclass(frozen=True, slots=True)
class LimitVersion:
    """One change of a limit. account_number "" = every account without its own."""

    name: str
    account_number: str
    version: int
    value: Decimal
    who: str
    why: str
    confirmed_by: str | None
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class LimitChange:
    """version: now in force, None while the change waits for its confirmation as `request_id`."""

    version: int | None
    request_id: int | None


_IN_FORCE = text(
    "SELECT DISTINCT ON (name) name, value FROM ledger.limit_value WHERE account_number IN ('', :account) "
    "ORDER BY name, account_number DESC, version DESC"
)
_HISTORY = text(
    "SELECT name, account_number, version, value, who, why, confirmed_by, changed_at FROM ledger.limit_value "
    "WHERE name = :name AND account_number = :account ORDER BY version DESC"
)
_LOOSENED = text("SELECT ledger.limit_loosened_pct(:name, :account, :value)")
_INSERT = text(
    "INSERT INTO ledger.limit_value (name, account_number, version, value, who, why, confirmed_by, request_id) "
    "VALUES (:name, :account, (SELECT coalesce(max(version), 0) + 1 FROM ledger.limit_value "
    "WHERE name = :name AND account_number = :account), :value, :who, :why, :confirmed_by, :request) RETURNING version"
)
_ASK = text(
    "INSERT INTO ledger.limit_request (name, account_number, value, who, why) "
    "VALUES (:name, :account, :value, :who, :why) RETURNING id"
)
_CONFIRM = text(
    "UPDATE ledger.limit_request SET confirmed_by = :who, confirmed_at = clock_timestamp() "
    "WHERE id = :id AND confirmed_by IS NULL RETURNING name, account_number, value, who, why"
)


async def current(session: AsyncSession, account_number: str) -> HardLimits:
    """The limits in force for an account: its own where it has one, else everybody's."""
    rows = (await session.execute(_IN_FORCE, {"account": account_number})).all()
    return HardLimits(MappingProxyType({row.name: row.value for row in rows}))


async def history(session: AsyncSession, name: str, account_number: str = EVERY_ACCOUNT) -> Sequence[LimitVersion]:
    """Every version of a limit, newest first."""
    rows = (await session.execute(_HISTORY, {"name": name, "account": account_number})).all()
    return [LimitVersion(*row) for row in rows]


async def change(
    session: AsyncSession,
    name: str,
    value: Decimal,
    who: str,
    why: str,
    producer: str,
    *,
    account_number: str = EVERY_ACCOUNT,
) -> LimitChange:
    """Set a limit, or ask for it where it would be loosened by more than a quarter today.

    ValueError for a value outside the safe range, a name that is no limit, or a reason below 8 characters.
    """
    spec = _checked(name, value, why)
    values = {"name": name, "account": account_number, "value": value, "who": who, "why": why}
    await _serialize(session)
    loosened = (await session.execute(_LOOSENED, values)).scalar_one()
    if loosened > LOOSENED_AT_ONCE_PCT:
        request = int((await session.execute(_ASK, values)).scalar_one())
        _note(session, producer, who, "ask for limit", spec, account_number, value, why)
        return LimitChange(None, request)
    version = int((await session.execute(_INSERT, values | {"confirmed_by": None, "request": None})).scalar_one())
    _note(session, producer, who, "set limit", spec, account_number, value, why)
    return LimitChange(version, None)


async def confirm(session: AsyncSession, request_id: int, who: str, producer: str) -> LimitChange:
    """Put a change in force that waited: by another person, or by the same one after the cool-off.

    LookupError for one that is not waiting. The database refuses a confirmation by the same person too soon.
    """
    await _serialize(session)
    row = (await session.execute(_CONFIRM, {"id": request_id, "who": who})).one_or_none()
    if row is None:
        raise LookupError(f"no change of a limit waits as {request_id}")
    spec = _checked(row.name, row.value, row.why)
    values = {
        "name": row.name, "account": row.account_number, "value": row.value, "who": row.who, "why": row.why,
        "confirmed_by": who, "request": request_id,
    }  # fmt: skip
    version = int((await session.execute(_INSERT, values)).scalar_one())
    _note(session, producer, who, "confirm limit", spec, row.account_number, row.value, row.why)
    return LimitChange(version, request_id)


def _checked(name: str, value: Decimal, why: str) -> LimitSpec:
    spec = SPECS.get(name)
    if spec is None:
        raise ValueError(f"{name} is no limit; limits: {', '.join(sorted(SPECS))}")
    if not spec.lowest <= value <= spec.highest:
        raise ValueError(f"{name} may be {spec.lowest} to {spec.highest} {spec.unit}, not {value}")
    if len(why.strip()) < 8:
        raise ValueError("a reason of at least 8 characters is needed to change a limit")
    return spec


async def _serialize(session: AsyncSession) -> None:
    """One change of limits at a time."""
    await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('ledger.limits', 0))"))


def _note(
    session: AsyncSession, producer: str, who: str, action: str, spec: LimitSpec, account: str, value: Decimal, why: str
) -> None:
    detail = {"value": str(value), "unit": spec.unit, "account": account or "every", "why": why}
    audit.record(session, producer, who, action, target=spec.name, detail=detail)

"""What the ledger knows of an account, as facts for a decision. Reads only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ledger import balances, fills, intents, throttles
from ledger.exposure import Holdings
from ledger.tables import Intent
from risk.domain.facts import AUTOMATED, Account, Activity, Held, Order, option_of
from risk.domain.worst_case import worst_case
from schemas.orders import IntentState
from schemas.trade import Purpose

_NEVER = datetime.max.replace(tzinfo=UTC)
WRONG = "wrong in itself: "
"""Begins the reason of a denial that counts against its strategy."""
_ACTIVITY = text(
    "SELECT "
    "count(*) FILTER (WHERE opens AND sent) AS trades, "
    "count(*) FILTER (WHERE opens AND sent AND source = :automated) AS automated, "
    "count(*) FILTER (WHERE bad AND strategy_id = :strategy AND source = :automated "
    "AND updated_at > clock_timestamp() - interval '1 minute') AS rejects_minute, "
    "count(*) FILTER (WHERE bad AND strategy_id = :strategy AND source = :automated) AS rejects_day, "
    "coalesce(sum(given_up) FILTER (WHERE updated_at > clock_timestamp() - interval '10 minutes'), 0) AS slip_ten, "
    "coalesce(sum(given_up), 0) AS slip_day FROM ("
    "SELECT source, strategy_id, updated_at, walk_step = 0 AND purpose = 'open' AS opens, "
    "state NOT IN ('proposed', 'denied', 'expired', 'withdrawn') AS sent, "
    "state IN ('rejected', 'venue_rejected') OR (state = 'denied' AND reason LIKE :wrong) AS bad, "
    "CASE WHEN purpose = 'open' AND filled_quantity > 0 "
    "THEN (decision_mid - average_fill_price) * 100 * filled_quantity END AS given_up "
    "FROM ledger.intent WHERE account_number = :account AND created_at >= ledger.day_start()) today"
)
_WEEK = text(
    "SELECT start_of_day_net_liq FROM ledger.balance_day WHERE account_number = :account "
    "AND market_date >= date_trunc('week', CAST(:today AS timestamp)) ORDER BY market_date LIMIT 1"
)


async def read(session: AsyncSession, account_number: str, sector_of: Callable[[str], str], now: datetime) -> Account:
    """Balances, holdings and everything reserved."""
    row = await balances.latest(session, account_number)
    held = tuple(
        Held(
            each.occ_symbol, each.underlying_symbol, each.signed_quantity, each.average_open_price,
            sector_of(each.underlying_symbol),
        )
        for each in await fills.positions(session, account_number)
    )  # fmt: skip
    orders = tuple(order_of(each, now) for each in await intents.reserved(session, account_number))
    account = Account(held=held, orders=orders, frozen=await fills.frozen(session, account_number))
    if row is None:
        return account
    week = (await session.execute(_WEEK, {"account": account_number, "today": row.market_date})).scalar()
    return replace(
        account,
        net_liq=row.net_liq,
        buying_power=row.buying_power,
        maintenance_requirement=row.maintenance_requirement,
        start_of_day_net_liq=row.start_of_day_net_liq,
        start_of_week_net_liq=week if week is not None else row.start_of_day_net_liq,
        high_water_mark=row.high_water_mark,
    )


async def activity(
    session: AsyncSession, account_number: str, *, strategy_id: str = "", underlying: str = "", spread_type: str = ""
) -> Activity:
    """What the account, and the strategy where one is named, did today."""
    names = {"account": account_number, "strategy": strategy_id, "automated": AUTOMATED, "wrong": f"{WRONG}%"}
    row = (await session.execute(_ACTIVITY, names)).one()
    like = Intent(  # never added to the session: it only names what is counted
        intent_id="", account_number=account_number, proposal_id="", strategy_id=strategy_id, signal_id="",
        purpose=Purpose.OPEN.value, source=AUTOMATED, underlying_symbol=underlying, spread_type=spread_type, legs=[],
        quantity=0, limit_price=Decimal(0), worst_price=Decimal(0), tick_size=Decimal(0), root_intent_id="",
        state=IntentState.PROPOSED.value, valid_until=_NEVER, created_at=_NEVER, updated_at=_NEVER,
    )  # fmt: skip
    traffic, repeats, lost = await throttles.sent(session, like, Decimal(1))
    return Activity(
        trades_today=row.trades,
        automated_trades_today=row.automated,
        unknown_of_strategy=lost.of_strategy,
        rejects_last_minute=row.rejects_minute,
        rejects_today=row.rejects_day,
        slippage_ten_minutes=Decimal(row.slip_ten),
        slippage_today=Decimal(row.slip_day),
        repeats=repeats,
        traffic=traffic,
    )


def order_of(intent: Intent, now: datetime) -> Order:
    """An intent at its worst: all of it, also where part has filled."""
    return Order(
        underlying_symbol=intent.underlying_symbol,
        legs=tuple((leg.occ_symbol, leg.action.sign * leg.quantity) for leg in intents.legs_of(intent)),
        quantity=intent.quantity,
        worst_price=intent.worst_price,
        purpose=Purpose(intent.purpose),
        strategy_id=intent.strategy_id,
        sector=intent.sector,
        max_loss=intent.reserved_max_loss or Decimal(0),
        buying_power=intent.reserved_buying_power or Decimal(0),
        delta=intent.reserved_delta,
        vega=intent.reserved_vega,
        unknown=intent.state in (IntentState.UNKNOWN.value, IntentState.QUARANTINE.value),
        age_seconds=max(0.0, (now - intent.created_at).total_seconds()),
    )


def holdings(account: Account) -> Holdings:
    """What is held, as the ledger judges reservations beside it."""
    worst = worst_case(account.held, ())
    of = {name: amount for name, amount in worst.of_underlying.items() if amount is not None}
    return Holdings(
        net_liq=account.net_liq,
        max_loss=worst.total,
        buying_power_used=account.maintenance_requirement,
        buying_power_free=account.buying_power,
        max_loss_of=of,
        structures=frozenset(
            f"{each.underlying_symbol} {option_of(each.occ_symbol).expiration.isoformat()}" for each in account.held
        ),
    )

"""Balances of an account, with the start of its day and its high-water mark."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from ledger import outbox
from ledger.tables import BalanceRow
from schemas import subjects
from schemas.account import Balance


async def record(
    session: AsyncSession,
    account_number: str,
    *,
    net_liq: Decimal,
    cash: Decimal,
    buying_power: Decimal,
    maintenance_requirement: Decimal,
    market_date: date,
    at: datetime,
    producer: str,
) -> BalanceRow:
    """Keep the newest balances and promise them; a new market date starts a new day."""
    held = await session.get(BalanceRow, account_number, with_for_update=True, populate_existing=True)
    if held is None:
        held = BalanceRow(account_number=account_number, market_date=market_date, at=at, start_of_day_net_liq=net_liq)
        session.add(held)
    elif held.market_date != market_date:
        # yesterday's last figure is where today begins
        held.start_of_day_net_liq, held.market_date = held.net_liq, market_date
    held.net_liq, held.cash, held.buying_power = net_liq, cash, buying_power
    held.maintenance_requirement, held.at = maintenance_requirement, at
    held.high_water_mark = max(net_liq, held.high_water_mark or net_liq)
    await session.flush()
    subject = subjects.fact_balance(account_number)
    outbox.enqueue(session, producer, subject, balance_of(held), message_id=f"{subject}-{at.timestamp()}")
    return held


async def latest(session: AsyncSession, account_number: str) -> BalanceRow | None:
    """The newest balances; None for an account never read."""
    return await session.get(BalanceRow, account_number)


def balance_of(row: BalanceRow) -> Balance:
    """The state message."""
    start = row.start_of_day_net_liq
    return Balance(
        ts_event=row.at,
        account_number=row.account_number,
        net_liq=row.net_liq,
        cash=row.cash,
        buying_power=row.buying_power,
        buying_power_used=row.maintenance_requirement,
        maintenance_requirement=row.maintenance_requirement,
        day_pnl=row.net_liq - start if row.net_liq is not None and start is not None else None,
        start_of_day_net_liq=start,
        high_water_mark=row.high_water_mark,
    )

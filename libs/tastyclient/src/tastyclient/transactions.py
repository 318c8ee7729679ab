"""Transactions: trades, deliveries, money movements, fees. $ signed as seen from the account: Debit negative."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Literal
from urllib.parse import quote

from tastyclient.http import Transport
from tastyclient.wire import Action, Quantity, Record, Reference, read


class Lot(Record):
    """A lot that a transaction opened or closed."""

    id: str
    transaction_id: int | None = None
    quantity: Quantity
    quantity_direction: str = ""
    price: Decimal
    executed_at: datetime | None = None
    transaction_date: date | None = None


class Transaction(Record):
    """One entry of the account's history. `net_value` is `value` with all fees; fees are negative."""

    id: int
    account_number: str = ""
    transaction_type: str
    """`Trade`, `Receive Deliver`, `Money Movement`, in the broker's words."""
    transaction_sub_type: str = ""
    description: str = ""
    executed_at: datetime
    transaction_date: date
    value: Decimal
    net_value: Decimal
    is_estimated_fee: bool = False
    symbol: str | None = None
    instrument_type: Reference | None = None
    underlying_symbol: str | None = None
    action: Action | None = None
    quantity: Quantity | None = None
    price: Decimal | None = None
    """$ per unit, a magnitude."""
    commission: Decimal | None = None
    clearing_fees: Decimal | None = None
    regulatory_fees: Decimal | None = None
    proprietary_index_option_fees: Decimal | None = None
    other_charge: Decimal | None = None
    other_charge_description: str | None = None
    currency: str = "USD"
    order_id: int | None = None
    exec_id: str | None = None
    ext_exec_id: str | None = None
    ext_group_fill_id: str | None = None
    destination_venue: str | None = None
    leg_count: int | None = None
    reverses_id: int | None = None
    lots: tuple[Lot, ...] = ()


class TotalFees(Record):
    total_fees: Decimal
    """$; fees paid are negative."""


class TransactionsApi:
    """Endpoints of the account's history. Every method raises a BrokerError."""

    transport: Transport

    async def transactions(
        self, account_number: str, *, start_date: date | None = None, end_date: date | None = None,
        start_at: datetime | None = None, end_at: datetime | None = None, types: Sequence[str] = (),
        sub_types: Sequence[str] = (), action: str | None = None, instrument_type: str | None = None,
        symbol: str | None = None, underlying_symbol: str | None = None, futures_symbol: str | None = None,
        sort: Literal["Asc", "Desc"] = "Desc", per_page: int = 250, limit: int | None = None,
    ) -> list[Transaction]:  # fmt: skip
        """Transactions that match, newest first, all pages, at most `limit`. `per_page` 1 to 2,000."""
        asked = {
            "start-date": start_date, "end-date": end_date, "start-at": start_at, "end-at": end_at,
            "types": list(types), "sub-type": list(sub_types), "action": action, "instrument-type": instrument_type,
            "symbol": symbol, "underlying-symbol": underlying_symbol, "futures-symbol": futures_symbol, "sort": sort,
            "per-page": per_page,
        }  # fmt: skip
        pages = self.transport.pages(f"/accounts/{quote(account_number, safe='')}/transactions", asked, limit=limit)
        return [read(Transaction, row) async for row in pages]

    async def transaction(self, account_number: str, transaction_id: int) -> Transaction:
        """One transaction. Raises NotFoundError."""
        path = f"/accounts/{quote(account_number, safe='')}/transactions/{transaction_id}"
        return read(Transaction, await self.transport.get(path))

    async def total_fees(self, account_number: str, day: date | None = None) -> Decimal:
        """Fees of a day (today by default), $; fees paid are negative."""
        path = f"/accounts/{quote(account_number, safe='')}/transactions/total-fees"
        return read(TotalFees, await self.transport.get(path, {"date": day})).total_fees

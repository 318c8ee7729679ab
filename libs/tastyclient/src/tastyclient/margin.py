"""Margin: what positions require, what an order would require, and the parameters behind it. $; Debit negative."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from pydantic import field_validator

from tastyclient.http import Json, Parameters, Transport
from tastyclient.new_orders import NewOrder
from tastyclient.wire import Quantity, Record, read


class MarginPosition(Record):
    """A position inside a margin group. A price the broker calls NaN is None."""

    instrument_symbol: str
    instrument_type: str = ""
    quantity: Quantity
    close_price: Decimal | None = None
    fixing_price: Decimal | None = None


class MarginGroup(Record):
    """An underlying, or a strategy within it. A requirement is a Debit, therefore negative."""

    description: str = ""
    code: str = ""
    underlying_symbol: str | None = None
    underlying_type: str | None = None
    margin_calculation_type: str = ""
    margin_requirement: Decimal | None = None
    initial_requirement: Decimal | None = None
    maintenance_requirement: Decimal | None = None
    buying_power: Decimal | None = None
    includes_working_order: bool | None = None
    expected_price_range_up_percent: Decimal | None = None
    expected_price_range_down_percent: Decimal | None = None
    point_of_no_return_percent: Decimal | None = None
    price_increase_percent: Decimal | None = None
    price_decrease_percent: Decimal | None = None
    groups: tuple[MarginGroup, ...] = ()
    position_entries: tuple[MarginPosition, ...] = ()


class MarginReport(Record):
    """Margin of an account, in total and per underlying. A requirement is a Debit, therefore negative."""

    account_number: str
    description: str = ""
    margin_calculation_type: str = ""
    option_level: str = ""
    margin_requirement: Decimal
    initial_requirement: Decimal | None = None
    maintenance_requirement: Decimal | None = None
    margin_equity: Decimal | None = None
    option_buying_power: Decimal | None = None
    reg_t_margin_requirement: Decimal | None = None
    reg_t_option_buying_power: Decimal | None = None
    maintenance_excess: Decimal | None = None
    groups: tuple[MarginGroup, ...] = ()
    last_state_timestamp: datetime | None = None

    @field_validator("groups", mode="before")
    @classmethod
    def _not_empty(cls, groups: Any) -> Any:
        """The broker sends `{}` for a group that has nothing to say."""
        return [each for each in groups if each] if isinstance(groups, list) else groups


class MarginResult(Record):
    """Margin of an underlying with or without the order. Signed: a requirement is negative."""

    code: str = ""
    underlying_symbol: str = ""
    underlying_price: Decimal | None = None
    margin_requirement: Decimal | None = None
    maintenance_requirement: Decimal | None = None
    buying_power_impact: Decimal | None = None
    margin_calculation_type: str = ""
    marks: dict[str, Decimal] = {}
    """$ per unit, by symbol."""


class MarginPreview(Record):
    """What the margin engine says about an order: with it (`last`) and its base. The raw orders are kept as sent."""

    orders: tuple[dict[str, Any], ...] = ()
    last_results: MarginResult | None = None
    base_results: MarginResult | None = None


class EffectiveMargin(Record):
    """Rates that apply to an underlying in an account: fractions, except the floor, which is $ per contract."""

    underlying_symbol: str
    long_equity_initial: Decimal | None = None
    long_equity_maintenance: Decimal | None = None
    short_equity_initial: Decimal | None = None
    short_equity_maintenance: Decimal | None = None
    naked_option_standard: Decimal | None = None
    naked_option_minimum: Decimal | None = None
    naked_option_floor: Decimal | None = None
    is_deleted: bool | None = None


class PublicMarginConfiguration(Record):
    risk_free_rate: Decimal
    """Fraction a year."""


class SpanRow(Record):
    """A row of an exchange's risk parameter file, as it stands in the file."""

    file_date: date
    row_index: int
    exchange: str = ""
    row_data: str


class MarginApi:
    """Endpoints about margin. Every method raises a BrokerError."""

    transport: Transport

    async def margin_requirements(self, account_number: str) -> MarginReport:
        """What the positions require, in total and per underlying."""
        path = f"/margin/accounts/{quote(account_number, safe='')}/requirements"
        return read(MarginReport, await self.transport.get(path))

    async def margin_dry_run(self, account_number: str, underlying_symbol: str, order: NewOrder) -> MarginPreview:
        """What the margin would be with an order. Has no effect."""
        path = f"/margin/accounts/{quote(account_number, safe='')}/dry-run"
        return read(
            MarginPreview, await self.transport.send("POST", path, _body(account_number, underlying_symbol, order))
        )

    async def effective_margin(self, account_number: str, underlying_symbol: str) -> EffectiveMargin:
        """The rates that apply to an underlying in this account."""
        account, symbol = quote(account_number, safe=""), quote(underlying_symbol, safe="")
        path = f"/accounts/{account}/margin-requirements/{symbol}/effective"
        return read(EffectiveMargin, await self.transport.get(path))

    async def span_rows(self, day: date, exchange: str, *, limit: int | None = None) -> list[SpanRow]:
        """Risk parameters of CME or CFE on a day: very many rows, all pages, at most `limit`."""
        asked: Parameters = {"date": day, "exchange": exchange, "per-page": 1_000}
        return [read(SpanRow, row) async for row in self.transport.pages("/span/rows", asked, limit=limit)]

    async def risk_free_rate(self) -> Decimal:
        """The broker's risk-free rate, fraction a year."""
        data = await self.transport.get("/margin-requirements-public-configuration")
        return read(PublicMarginConfiguration, data).risk_free_rate


def _body(account_number: str, underlying_symbol: str, order: NewOrder) -> Json:
    found = order.body()
    kept = ("order-type", "time-in-force", "gtc-date", "price", "price-effect", "stop-trigger")
    legs = [{**leg, "quantity": str(leg["quantity"]), "remaining-quantity": str(leg["quantity"])}
            for leg in found["legs"]]  # fmt: skip
    return {
        "account-number": account_number,
        "underlying-symbol": underlying_symbol,
        **{name: found[name] for name in kept if name in found},
        "legs": legs,
    }

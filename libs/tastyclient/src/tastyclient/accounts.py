"""Customer, accounts, trading status, balances, positions, net liquidating value, margin.

Amounts are dollars (or the stated currency) as Decimal, signed as seen from the account: Debit negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal
from urllib.parse import quote

from pydantic import model_validator

from tastyclient.http import Transport
from tastyclient.wire import Quantity, Record, Reference, items, read, rows


class Address(Record):
    street_one: str = ""
    street_two: str = ""
    city: str = ""
    state_region: str = ""
    postal_code: str = ""
    country: str = ""
    is_domestic: bool | None = None
    is_foreign: bool | None = None


class Customer(Record):
    """The person or entity of the login."""

    id: str
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    birth_date: date | None = None
    address: Address | None = None
    mailing_address: Address | None = None
    external_id: str | None = None
    user_id: str | None = None
    usa_citizenship_type: str = ""
    is_foreign: bool = False
    is_professional: bool = False
    has_delayed_quotes: bool = False
    """Quotes of the login are late: no basis for orders."""
    agreed_to_margining: bool | None = None
    created_at: datetime | None = None


class Account(Record):
    account_number: str
    nickname: str = ""
    margin_or_cash: str = ""
    """`Margin` or `Cash`."""
    is_closed: bool = False
    account_type_name: str = ""
    authority_level: str = ""
    """`owner`, `trade-only` or `read-only`; empty when one account was asked for."""
    suitable_options_level: str = ""
    investment_objective: str = ""
    is_futures_approved: bool = False
    is_firm_error: bool = False
    is_firm_proprietary: bool = False
    is_foreign: bool = False
    day_trader_status: bool | str = False
    opened_at: datetime | None = None
    created_at: datetime | None = None
    closed_at: datetime | None = None
    external_id: str | None = None


class TradingStatus(Record):
    """What an account may do. A flag the broker leaves out is None: not known, which is not `False`."""

    account_number: str
    is_closed: bool
    is_closing_only: bool
    is_frozen: bool
    is_risk_reducing_only: bool | None = None
    is_in_margin_call: bool | None = None
    is_pattern_day_trader: bool | None = None
    day_trade_count: int | None = None
    options_level: str = ""
    """`No Restrictions`, `Defined Risk Spreads`, `Covered And Cash Secured`, ... in the broker's words."""
    equities_margin_calculation_type: str = ""
    """`Reg T`, `Portfolio Margin`, `Cash`, `IRA Margin`."""
    fee_schedule_name: str = ""
    short_calls_enabled: bool | None = None
    are_far_otm_net_options_restricted: bool | None = None
    is_aggregated_at_clearing: bool | None = None
    is_cryptocurrency_enabled: bool | None = None
    is_cryptocurrency_closing_only: bool | None = None
    is_futures_enabled: bool | None = None
    is_futures_closing_only: bool | None = None
    is_futures_intra_day_enabled: bool | None = None
    is_full_equity_margin_required: bool | None = None
    is_in_day_trade_equity_maintenance_call: bool | None = None
    is_portfolio_margin_enabled: bool | None = None
    has_intraday_equities_margin: bool | None = None
    futures_margin_rate_multiplier: Decimal | None = None
    small_notional_futures_margin_rate_multiplier: Decimal | None = None
    pdt_reset_on: date | None = None
    updated_at: datetime | None = None


class BalanceSnapshot(Record):
    """Balances of an account at one time of one day, $. Values of what is short are magnitudes, as they are sent."""

    account_number: str
    currency: str = "USD"
    cash_balance: Decimal
    net_liquidating_value: Decimal
    derivative_buying_power: Decimal
    equity_buying_power: Decimal | None = None
    day_trading_buying_power: Decimal | None = None
    maintenance_requirement: Decimal
    margin_equity: Decimal | None = None
    available_trading_funds: Decimal | None = None
    cash_available_to_withdraw: Decimal | None = None
    pending_cash: Decimal | None = None
    """Signed: Debit negative."""
    long_equity_value: Decimal | None = None
    short_equity_value: Decimal | None = None
    long_derivative_value: Decimal | None = None
    short_derivative_value: Decimal | None = None
    long_futures_value: Decimal | None = None
    short_futures_value: Decimal | None = None
    long_futures_derivative_value: Decimal | None = None
    short_futures_derivative_value: Decimal | None = None
    long_margineable_value: Decimal | None = None
    short_margineable_value: Decimal | None = None
    long_cryptocurrency_value: Decimal | None = None
    short_cryptocurrency_value: Decimal | None = None
    long_bond_value: Decimal | None = None
    bond_margin_requirement: Decimal | None = None
    cryptocurrency_margin_requirement: Decimal | None = None
    equity_offering_margin_requirement: Decimal | None = None
    futures_margin_requirement: Decimal | None = None
    used_derivative_buying_power: Decimal | None = None
    unsettled_cryptocurrency_fiat_amount: Decimal | None = None
    """Signed: Debit negative."""
    maintenance_call_value: Decimal | None = None
    reg_t_call_value: Decimal | None = None
    day_trading_call_value: Decimal | None = None
    day_equity_call_value: Decimal | None = None
    day_trade_excess: Decimal | None = None
    snapshot_date: date | None = None
    time_of_day: str | None = None
    """`BOD`, `EOD` or `Intraday`."""


class Balance(BalanceSnapshot):
    """Balances of an account now."""

    reg_t_margin_requirement: Decimal | None = None
    futures_overnight_margin_requirement: Decimal | None = None
    futures_intraday_margin_requirement: Decimal | None = None
    maintenance_excess: Decimal | None = None
    pending_margin_interest: Decimal | None = None
    buying_power_adjustment: Decimal | None = None
    """Signed: Debit negative."""
    effective_cryptocurrency_buying_power: Decimal | None = None
    updated_at: datetime | None = None


class Direction(StrEnum):
    """An unmapped direction fails loudly: the side of a position is never guessed."""

    LONG = "Long"
    SHORT = "Short"
    ZERO = "Zero"


class Position(Record):
    """One position. Prices are $ per share, coin or point; `multiplier` turns them into dollars a unit."""

    symbol: str
    instrument_type: Reference
    underlying_symbol: str
    quantity: Quantity
    """Magnitude; see `signed_quantity`."""
    quantity_direction: Direction
    average_open_price: Decimal
    multiplier: Decimal
    account_number: str = ""
    close_price: Decimal | None = None
    mark: Decimal | None = None
    """Value of the position, with `include_marks` only."""
    mark_price: Decimal | None = None
    """$ per unit, with `include_marks` only."""
    average_daily_market_close_price: Decimal | None = None
    average_yearly_market_close_price: Decimal | None = None
    cost_effect: str = ""
    """What closing at the market would be: `Credit` for long, `Debit` for short."""
    realized_day_gain: Decimal | None = None
    """Signed: a loss (Debit) is negative."""
    realized_today: Decimal | None = None
    """Signed: a loss (Debit) is negative."""
    restricted_quantity: Quantity | None = None
    is_frozen: bool = False
    is_suppressed: bool = False
    expires_at: datetime | None = None
    streamer_symbol: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def signed_amount(self) -> Decimal:
        """Exact, fractions of a share included; short negative, 0 when flat."""
        sign = {Direction.LONG: 1, Direction.SHORT: -1, Direction.ZERO: 0}[self.quantity_direction]
        return Decimal(sign * self.quantity)

    @property
    def signed_quantity(self) -> int:
        """Whole contracts or shares; short negative, 0 when flat. A fraction is cut off: see `signed_amount`."""
        return int(self.signed_amount)


class NetLiq(Record):
    """Net liquidating value over one interval, $; `total_*` includes pending cash."""

    time: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    pending_cash_open: Decimal
    pending_cash_high: Decimal
    pending_cash_low: Decimal
    pending_cash_close: Decimal
    total_open: Decimal
    total_high: Decimal
    total_low: Decimal
    total_close: Decimal

    @model_validator(mode="before")
    @classmethod
    def _spellings(cls, data: Any) -> Any:
        """The specification spells these keys in camel case, the wire with dashes: both are read."""
        if not isinstance(data, dict):
            return data
        return {"".join(f"-{each.lower()}" if each.isupper() else each for each in key): data[key] for key in data}


class PositionLimit(Record):
    """The largest orders and positions of an account, in units; None = the broker did not say."""

    account_number: str
    equity_order_size: int | None = None
    equity_option_order_size: int | None = None
    future_order_size: int | None = None
    future_option_order_size: int | None = None
    underlying_opening_order_limit: int | None = None
    equity_position_size: int | None = None
    equity_option_position_size: int | None = None
    future_position_size: int | None = None
    future_option_position_size: int | None = None


class QuoteToken(Record):
    """Access to DXLink, good for 24 hours."""

    token: str
    dxlink_url: str
    level: str = ""
    issued_at: datetime | None = None
    expires_at: datetime | None = None


TimeOfDay = Literal["BOD", "EOD", "Intraday"]
TimeBack = Literal["1d", "1w", "1m", "3m", "6m", "1y", "all"]


class AccountsApi:
    """Endpoints that read a customer and its accounts. Every method raises a BrokerError."""

    transport: Transport

    async def customer(self) -> Customer:
        """Who logged in."""
        return read(Customer, await self.transport.get("/customers/me"))

    async def accounts(self, *, include_closed: bool = False) -> list[Account]:
        """Accounts of the login, closed ones left out unless asked for."""
        found = []
        for row in rows("Account", await self.transport.get("/customers/me/accounts")):
            own = row.get("account")
            level = {"authority-level": row.get("authority-level")}
            found.append(read(Account, {**own, **level} if isinstance(own, dict) else own))
        return [account for account in found if include_closed or not account.is_closed]

    async def account(self, account_number: str) -> Account:
        """One account. Raises NotFoundError."""
        return read(Account, await self.transport.get(f"/customers/me/accounts/{_part(account_number)}"))

    async def trading_status(self, account_number: str) -> TradingStatus:
        """What the account may do: closed, closing only, frozen, options level."""
        return read(TradingStatus, await self.transport.get(f"/accounts/{_part(account_number)}/trading-status"))

    async def balance(self, account_number: str, currency: str = "USD") -> Balance:
        """Balances now, in one currency."""
        return read(Balance, await self.transport.get(f"/accounts/{_part(account_number)}/balances/{_part(currency)}"))

    async def balances(self, account_number: str) -> list[Balance]:
        """Balances now, one per currency."""
        data = await self.transport.get(f"/accounts/{_part(account_number)}/balances")
        return items(Balance, data if isinstance(data, dict) and "items" in data else {"items": [data]})

    async def balance_snapshots(
        self, account_number: str, time_of_day: TimeOfDay = "EOD", *, snapshot_date: date | None = None,
        start_date: date | None = None, end_date: date | None = None, currency: str = "USD", limit: int | None = None,
    ) -> list[BalanceSnapshot]:  # fmt: skip
        """Balances of past days, all pages, at most `limit`; without a start date a few of the newest."""
        asked = {
            "time-of-day": time_of_day, "snapshot-date": snapshot_date, "start-date": start_date,
            "end-date": end_date, "currency": currency, "per-page": 250,
        }  # fmt: skip
        pages = self.transport.pages(f"/accounts/{_part(account_number)}/balance-snapshots", asked, limit=limit)
        return [read(BalanceSnapshot, row) async for row in pages]

    async def positions(
        self, account_number: str, *, underlying_symbols: Sequence[str] = (), symbol: str | None = None,
        instrument_type: str | None = None, include_closed: bool = False, include_marks: bool = False,
        net: bool = False,
    ) -> list[Position]:  # fmt: skip
        """Positions, not paginated. A closed one is shown as zero until the day rolls, with `include_closed`."""
        asked = {
            "underlying-symbol": list(underlying_symbols), "symbol": symbol, "instrument-type": instrument_type,
            "include-closed-positions": include_closed or None, "include-marks": include_marks or None,
            "net-positions": net or None,
        }  # fmt: skip
        return items(Position, await self.transport.get(f"/accounts/{_part(account_number)}/positions", asked))

    async def net_liq_history(
        self, account_number: str, time_back: TimeBack | None = None, *, start_time: datetime | None = None,
        end_time: datetime | None = None,
    ) -> list[NetLiq]:  # fmt: skip
        """Net liquidating value over time, oldest first; give `time_back` or `start_time`. Not in certification."""
        if (time_back is None) == (start_time is None):
            raise ValueError("give time_back or start_time, one of them")
        asked = {"time-back": time_back, "start-time": start_time, "end-time": end_time}
        return items(NetLiq, await self.transport.get(f"/accounts/{_part(account_number)}/net-liq/history", asked))

    async def position_limit(self, account_number: str) -> PositionLimit:
        """The broker's own limits of size."""
        return read(PositionLimit, await self.transport.get(f"/accounts/{_part(account_number)}/position-limit"))

    async def access_token(self) -> str:
        """Bearer token for the account stream, valid for at least a minute."""
        return await self.transport.tokens.token()

    def forget_access_token(self, token: str) -> None:
        """A stream was refused with this token: the next caller gets a new one, unless somebody has it already."""
        self.transport.tokens.invalidate(token)

    async def quote_token(self) -> QuoteToken:
        """Token and address for DXLink, good for 24 hours."""
        return read(QuoteToken, await self.transport.get("/api-quote-tokens"))

    async def validate_session(self) -> None:
        """Ask the broker whether the access token is good. Raises AuthenticationError when it is not."""
        await self.transport.send("POST", "/sessions/validate")


def _part(text: str) -> str:
    return quote(text, safe="")

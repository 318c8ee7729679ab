"""Instruments: equities, options, futures, coins, warrants, precisions, and the search for symbols.

Reference data is read tolerantly: what the broker leaves out is None, and new words are kept as they are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Literal, TypeVar
from urllib.parse import quote

from tastyclient.http import Json, Parameters, Transport
from tastyclient.wire import Record, Reference, Wire, items, read

SYMBOLS_PER_REQUEST = 100
"""About 400 symbols in one address are refused with 414."""
_PER_PAGE = 1_000
R = TypeVar("R", bound=Record)


class TickSize(Wire):
    """A price step, $; `threshold`: applies to prices below it; without one it is the fallback."""

    value: Decimal
    threshold: Decimal | None = None
    symbol: str | None = None


def tick_size(ticks: Sequence[TickSize], price: Decimal) -> Decimal | None:
    """The step for a price (magnitude, $ per unit); None when the table is empty."""
    below = [each for each in ticks if each.threshold is not None and abs(price) < each.threshold]
    if below:
        return min(below, key=lambda each: each.threshold or Decimal(0)).value
    return next((each.value for each in ticks if each.threshold is None), None)


class Equity(Record):
    """A stock, fund or index (`is_index`)."""

    symbol: str
    instrument_type: Reference = "Equity"
    id: int | None = None
    description: str = ""
    short_description: str | None = None
    active: bool | None = None
    is_closing_only: bool | None = None
    is_options_closing_only: bool | None = None
    is_etf: bool | None = None
    is_index: bool | None = None
    is_illiquid: bool | None = None
    is_fractional_quantity_eligible: bool | None = None
    lendability: str | None = None
    """`Easy To Borrow`, `Locate Required`, `Preborrow`."""
    borrow_rate: Decimal | None = None
    listed_market: str | None = None
    streamer_symbol: str | None = None
    market_time_instrument_collection: str | None = None
    overnight_trading_permitted: bool | None = None
    cusip: str | None = None
    halted_at: datetime | None = None
    stops_trading_at: datetime | None = None
    tick_sizes: tuple[TickSize, ...] = ()
    option_tick_sizes: tuple[TickSize, ...] = ()


class EquityOption(Record):
    """An option contract. `settlement_type` is AM or PM; `option_type` C or P; strike in $."""

    symbol: str
    instrument_type: Reference = "Equity Option"
    underlying_symbol: str
    root_symbol: str
    expiration_date: date
    strike_price: Decimal
    option_type: Literal["C", "P"]
    active: bool | None = None
    days_to_expiration: int | None = None
    exercise_style: str = ""
    expiration_type: str = ""
    expires_at: datetime | None = None
    stops_trading_at: datetime | None = None
    option_chain_type: str = ""
    settlement_type: str = ""
    shares_per_contract: int = 100
    is_closing_only: bool | None = None
    streamer_symbol: str | None = None


class FutureEtfEquivalent(Record):
    symbol: str
    share_quantity: int


class FutureProduct(Record):
    """What a future is a contract of."""

    root_symbol: str
    code: str
    description: str = ""
    exchange: str = ""
    product_type: str = ""
    listed_months: tuple[str, ...] = ()
    active_months: tuple[str, ...] = ()
    notional_multiplier: Decimal | None = None
    tick_size: Decimal | None = None
    display_factor: Decimal | None = None
    streamer_exchange_code: str | None = None
    small_notional: bool | None = None
    cash_settled: bool | None = None
    first_notice: bool | None = None
    market_sector: str | None = None
    security_group: str | None = None
    supported: bool | None = None
    option_products: tuple[FutureOptionProduct, ...] = ()


class Future(Record):
    """A futures contract; `notional_multiplier`: $ per point."""

    symbol: str
    instrument_type: Reference = "Future"
    product_code: str
    product_group: str | None = None
    exchange: str | None = None
    tick_size: Decimal | None = None
    notional_multiplier: Decimal | None = None
    contract_size: Decimal | None = None
    display_factor: Decimal | None = None
    expiration_date: date | None = None
    last_trade_date: date | None = None
    expires_at: datetime | None = None
    stops_trading_at: datetime | None = None
    active: bool | None = None
    active_month: bool | None = None
    next_active_month: bool | None = None
    is_closing_only: bool | None = None
    is_tradeable: bool | None = None
    streamer_symbol: str | None = None
    streamer_exchange_code: str | None = None
    roll_target_symbol: str | None = None
    tick_sizes: tuple[TickSize, ...] = ()
    option_tick_sizes: tuple[TickSize, ...] = ()
    spread_tick_sizes: tuple[TickSize, ...] = ()
    future_etf_equivalent: FutureEtfEquivalent | None = None
    future_product: FutureProduct | None = None


class FutureOptionProduct(Record):
    root_symbol: str
    code: str = ""
    exchange: str = ""
    product_type: str = ""
    expiration_type: str = ""
    cash_settled: bool | None = None
    display_factor: Decimal | None = None
    market_sector: str | None = None
    settlement_delay_days: int | None = None
    is_rollover: bool | None = None
    clearing_code: str | None = None


class FutureOption(Record):
    """An option on a future. Certification leaves out `streamer_symbol` on some rows."""

    symbol: str
    instrument_type: Reference = "Future Option"
    underlying_symbol: str
    root_symbol: str = ""
    option_root_symbol: str = ""
    product_code: str = ""
    exchange: str = ""
    expiration_date: date
    strike_price: Decimal
    option_type: Literal["C", "P"]
    active: bool | None = None
    days_to_expiration: int | None = None
    exercise_style: str = ""
    settlement_type: str = ""
    multiplier: Decimal | None = None
    notional_value: Decimal | None = None
    display_factor: Decimal | None = None
    strike_factor: Decimal | None = None
    future_price_ratio: Decimal | None = None
    expires_at: datetime | None = None
    stops_trading_at: datetime | None = None
    is_closing_only: bool | None = None
    streamer_symbol: str | None = None
    future_option_product: FutureOptionProduct | None = None


class DestinationVenueSymbol(Record):
    symbol: str
    destination_venue: str = ""
    max_price_precision: int | None = None
    max_quantity_precision: int | None = None
    routable: bool | None = None


class Cryptocurrency(Record):
    symbol: str
    instrument_type: Reference = "Cryptocurrency"
    id: int | None = None
    description: str = ""
    short_description: str | None = None
    active: bool | None = None
    is_closing_only: bool | None = None
    tick_size: Decimal | None = None
    streamer_symbol: str | None = None
    destination_venue_symbols: tuple[DestinationVenueSymbol, ...] = ()


class Warrant(Record):
    symbol: str
    instrument_type: Reference = "Warrant"
    description: str = ""
    listed_market: str | None = None
    active: bool | None = None
    is_closing_only: bool | None = None
    cusip: str | None = None


class QuantityDecimalPrecision(Record):
    """How many decimals a quantity of an instrument may have."""

    instrument_type: Reference
    value: int
    symbol: str | None = None
    minimum_increment_precision: int | None = None


class CurrencyPair(Record):
    symbol: str
    instrument_type: Reference = "Currency Pair"
    description: str = ""
    dx_symbol: str | None = None


class SymbolFound(Record):
    """A hit of the symbol search."""

    symbol: str
    description: str = ""
    listed_market: str | None = None
    instrument_type: Reference | None = None
    price_increments: str | None = None
    trading_hours: str | None = None
    options: bool | None = None


class InstrumentFound(Record):
    """A hit of the instrument search."""

    symbol: str
    description: str = ""
    instrument_type: Reference | None = None
    category: str | None = None
    exchange: str | None = None
    external_id: str | None = None
    stops_trading_at: datetime | None = None
    underlying_product: str | None = None


FutureProduct.model_rebuild()


class InstrumentsApi:
    """Endpoints of reference data. Every method raises a BrokerError; NotFoundError for one symbol that is unknown."""

    transport: Transport

    async def equities(
        self, symbols: Sequence[str] = (), *, is_index: bool | None = None, is_etf: bool | None = None,
        lendability: str | None = None, limit: int | None = None,
    ) -> list[Equity]:  # fmt: skip
        """Equities by symbol, or all that match; unknown symbols are absent. All pages, at most `limit`."""
        asked = {"is-index": is_index, "is-etf": is_etf, "lendability": lendability}
        return await self._some(Equity, "/instruments/equities", symbols, asked, limit)

    async def active_equities(self, *, lendability: str | None = None, limit: int | None = None) -> list[Equity]:
        """Every active equity: many pages. At most `limit`."""
        return await self._some(Equity, "/instruments/equities/active", (), {"lendability": lendability}, limit)

    async def equity(self, symbol: str) -> Equity:
        return read(Equity, await self.transport.get(f"/instruments/equities/{_part(symbol)}"))

    async def equity_options(
        self, symbols: Sequence[str], *, active: bool | None = None, with_expired: bool | None = None
    ) -> list[EquityOption]:
        """Options by their OCC symbols; unknown ones are absent."""
        asked = {"active": active, "with-expired": with_expired}
        return await self._some(EquityOption, "/instruments/equity-options", symbols, asked, None)

    async def equity_option(self, symbol: str) -> EquityOption:
        return read(EquityOption, await self.transport.get(f"/instruments/equity-options/{_part(symbol)}"))

    async def futures(self, symbols: Sequence[str] = (), *, product_codes: Sequence[str] = ()) -> list[Future]:
        """Futures by symbol (with the slash) or by product code, as `ES`."""
        asked = {"product-code": list(product_codes)}
        return await self._some(Future, "/instruments/futures", symbols, asked, None)

    async def future(self, symbol: str) -> Future:
        """A future by its symbol, with or without the slash."""
        return read(Future, await self.transport.get(f"/instruments/futures/{_part(symbol.lstrip('/'))}"))

    async def future_products(self) -> list[FutureProduct]:
        return items(FutureProduct, await self.transport.get("/instruments/future-products"))

    async def future_product(self, exchange: str, code: str) -> FutureProduct:
        """A product of CME, CFE, CBOED or SMALLS."""
        path = f"/instruments/future-products/{_part(exchange)}/{_part(code)}"
        return read(FutureProduct, await self.transport.get(path))

    async def future_option_products(self) -> list[FutureOptionProduct]:
        return items(FutureOptionProduct, await self.transport.get("/instruments/future-option-products"))

    async def future_option_product(self, root_symbol: str, exchange: str | None = None) -> FutureOptionProduct:
        where = f"{_part(exchange)}/" if exchange else ""
        path = f"/instruments/future-option-products/{where}{_part(root_symbol)}"
        return read(FutureOptionProduct, await self.transport.get(path))

    async def future_options(self, symbols: Sequence[str]) -> list[FutureOption]:
        return await self._some(FutureOption, "/instruments/future-options", symbols, {}, None)

    async def future_option(self, symbol: str) -> FutureOption:
        return read(FutureOption, await self.transport.get(f"/instruments/future-options/{_part(symbol)}"))

    async def cryptocurrencies(self, symbols: Sequence[str] = ()) -> list[Cryptocurrency]:
        """Coins; since June 2026 they cannot be traded through the API."""
        return await self._some(Cryptocurrency, "/instruments/cryptocurrencies", symbols, {}, None)

    async def cryptocurrency(self, symbol: str) -> Cryptocurrency:
        return read(Cryptocurrency, await self.transport.get(f"/instruments/cryptocurrencies/{_part(symbol)}"))

    async def warrants(self, symbols: Sequence[str] = ()) -> list[Warrant]:
        return await self._some(Warrant, "/instruments/warrants", symbols, {}, None)

    async def warrant(self, symbol: str) -> Warrant:
        return read(Warrant, await self.transport.get(f"/instruments/warrants/{_part(symbol)}"))

    async def quantity_decimal_precisions(self) -> list[QuantityDecimalPrecision]:
        return items(QuantityDecimalPrecision, await self.transport.get("/instruments/quantity-decimal-precisions"))

    async def currency_pairs(self) -> list[CurrencyPair]:
        return items(CurrencyPair, await self.transport.get("/instruments/currency-pairs"))

    async def search_symbols(self, text: str) -> list[SymbolFound]:
        """Symbols that begin with a text."""
        return items(SymbolFound, await self.transport.get(f"/symbols/search/{_part(text)}"))

    async def search_instruments(self, text: str, *, limit: int = 25, category: str | None = None,
                                 exchange: str | None = None) -> list[InstrumentFound]:  # fmt: skip
        """Instruments of every kind that match a text."""
        asked: Parameters = {"query": text, "limit": limit, "category": category, "exchange": exchange}
        return items(InstrumentFound, await self.transport.get("/instruments/search", asked))

    async def _some(
        self, model: type[R], path: str, symbols: Sequence[str], asked: Parameters, limit: int | None
    ) -> list[R]:
        """All pages, the symbols split over as many requests as the length of an address allows."""
        found: list[R] = []
        for start in range(0, max(1, len(symbols)), SYMBOLS_PER_REQUEST):
            wanted = list(symbols[start : start + SYMBOLS_PER_REQUEST])
            left = None if limit is None else limit - len(found)
            pages: AsyncIterator[Json] = self.transport.pages(
                path, {**asked, "symbol": wanted, "per-page": _PER_PAGE}, limit=left
            )
            found += [read(model, row) async for row in pages]
        return found


def _part(text: str) -> str:
    return quote(text, safe="")

"""Option chains: flat, nested and compact, of equities and of futures."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from urllib.parse import quote

from tastyclient.http import Transport
from tastyclient.instruments import EquityOption, FutureOption, TickSize
from tastyclient.wire import Record, Wire, items, read


class Strike(Wire):
    """A call and a put, by their symbols; strike in $."""

    strike_price: Decimal
    call: str
    put: str
    call_streamer_symbol: str
    put_streamer_symbol: str


class Expiration(Wire):
    """`days_to_expiration`: calendar days, 0 on the day itself; `settlement_type`: AM or PM."""

    expiration_date: date
    days_to_expiration: int
    expiration_type: str
    settlement_type: str
    strikes: tuple[Strike, ...]


class Deliverable(Record):
    """What one contract delivers."""

    deliverable_type: str = ""
    description: str = ""
    amount: Decimal | None = None
    symbol: str | None = None
    instrument_type: str | None = None
    percent: Decimal | None = None


class NestedChain(Wire):
    """The chain of one root."""

    underlying_symbol: str
    root_symbol: str
    shares_per_contract: int
    option_chain_type: str = ""
    tick_sizes: tuple[TickSize, ...] = ()
    deliverables: tuple[Deliverable, ...] = ()
    expirations: tuple[Expiration, ...]


class CompactChain(Wire):
    """Symbols of one root and kind of expiration, and their streamer symbols in the same order."""

    underlying_symbol: str
    root_symbol: str
    option_chain_type: str = ""
    settlement_type: str = ""
    expiration_type: str = ""
    shares_per_contract: int = 100
    symbols: tuple[str, ...]
    streamer_symbols: tuple[str, ...] = ()


class ChainFuture(Record):
    """A future that a chain's options deliver."""

    symbol: str
    root_symbol: str = ""
    streamer_symbol: str | None = None
    expiration_date: date | None = None
    days_to_expiration: int | None = None
    active_month: bool | None = None
    next_active_month: bool | None = None
    stops_trading_at: datetime | None = None
    expires_at: datetime | None = None


class FutureStrike(Wire):
    """A call and a put on a future. Certification leaves out streamer symbols now and then."""

    strike_price: Decimal
    call: str
    put: str
    call_streamer_symbol: str | None = None
    put_streamer_symbol: str | None = None


class FutureExpiration(Record):
    underlying_symbol: str
    root_symbol: str = ""
    option_root_symbol: str = ""
    option_contract_symbol: str = ""
    asset: str = ""
    expiration_date: date
    days_to_expiration: int
    expiration_type: str = ""
    settlement_type: str = ""
    notional_value: Decimal | None = None
    display_factor: Decimal | None = None
    strike_factor: Decimal | None = None
    stops_trading_at: datetime | None = None
    expires_at: datetime | None = None
    tick_sizes: tuple[TickSize, ...] = ()
    strikes: tuple[FutureStrike, ...] = ()


class FutureRootChain(Record):
    underlying_symbol: str
    root_symbol: str = ""
    exercise_style: str = ""
    expirations: tuple[FutureExpiration, ...] = ()


class NestedFuturesChain(Record):
    """All futures of a product and the options on them."""

    futures: tuple[ChainFuture, ...] = ()
    option_chains: tuple[FutureRootChain, ...] = ()


class ChainsApi:
    """Endpoints of option chains. Every method raises a BrokerError."""

    transport: Transport

    async def nested_chain(self, symbol: str) -> list[NestedChain]:
        """One chain per root, strikes within expirations. Raises NotFoundError."""
        return items(NestedChain, await self.transport.get(f"/option-chains/{quote(symbol, safe='')}/nested"))

    async def option_chain(self, symbol: str) -> list[EquityOption]:
        """Every contract in full; empty for an unknown symbol."""
        return items(EquityOption, await self.transport.get(f"/option-chains/{quote(symbol, safe='')}"))

    async def compact_chain(self, symbol: str) -> list[CompactChain]:
        """Symbols only, one list per root and kind of expiration."""
        return items(CompactChain, await self.transport.get(f"/option-chains/{quote(symbol, safe='')}/compact"))

    async def futures_option_chain(self, product_code: str) -> list[FutureOption]:
        """Every option on the futures of a product, as `ES`."""
        return items(
            FutureOption, await self.transport.get(f"/futures-option-chains/{quote(product_code.lstrip('/'), safe='')}")
        )

    async def nested_futures_chain(self, product_code: str) -> NestedFuturesChain:
        """Futures of a product, as `ES`, and the options on them by expiration and strike."""
        path = f"/futures-option-chains/{quote(product_code.lstrip('/'), safe='')}/nested"
        return read(NestedFuturesChain, await self.transport.get(path))

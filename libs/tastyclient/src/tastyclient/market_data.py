"""Market data by type, metrics, dividends and earnings. Prices in $ per unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from urllib.parse import quote

from tastyclient.http import Json, Transport
from tastyclient.wire import Record, Reference, items, read, rows

SYMBOLS_MAX = 100
"""The broker answers for no more symbols in one request."""


class MarketData(Record):
    """What is known of one instrument now, $ per unit; None = not known."""

    symbol: str
    instrument_type: Reference
    updated_at: datetime | None = None
    bid: Decimal | None = None
    bid_size: Decimal | None = None
    ask: Decimal | None = None
    ask_size: Decimal | None = None
    mid: Decimal | None = None
    mark: Decimal | None = None
    last: Decimal | None = None
    last_mkt: Decimal | None = None
    last_ext: Decimal | None = None
    open: Decimal | None = None
    close: Decimal | None = None
    """Only after the session's close."""
    close_price_type: str | None = None
    prev_close: Decimal | None = None
    prev_close_price_type: str | None = None
    prev_close_date: date | None = None
    summary_date: date | None = None
    day_high_price: Decimal | None = None
    day_low_price: Decimal | None = None
    year_high_price: Decimal | None = None
    year_low_price: Decimal | None = None
    low_limit_price: Decimal | None = None
    high_limit_price: Decimal | None = None
    volume: Decimal | None = None
    open_interest: Decimal | None = None
    beta: Decimal | None = None
    dividend_amount: Decimal | None = None
    dividend_frequency: Decimal | None = None
    is_trading_halted: bool | None = None
    halt_start_time: int | None = None
    halt_end_time: int | None = None


class ExpirationVolatility(Record):
    """Implied volatility of one expiration, a fraction a year."""

    expiration_date: date
    option_chain_type: str = ""
    settlement_type: str = ""
    implied_volatility: Decimal | None = None


class NextEarnings(Record):
    visible: bool | None = None
    expected_report_date: date | None = None
    estimated: bool | None = None
    late_flag: int | None = None
    quarter_end_date: date | None = None
    actual_eps: Decimal | None = None
    consensus_estimate: Decimal | None = None
    time_of_day: str | None = None
    """`BTO` before the open, `AMC` after the close."""


class MarketMetrics(Record):
    """Metrics of an underlying. The index, its ranks and percentiles are fractions; `*_30_day` and the like percent."""

    symbol: str
    updated_at: datetime | None = None
    implied_volatility_index: Decimal | None = None
    implied_volatility_index_5_day_change: Decimal | None = None
    implied_volatility_index_rank: Decimal | None = None
    implied_volatility_percentile: Decimal | None = None
    implied_volatility_30_day: Decimal | None = None
    """Percent."""
    historical_volatility_30_day: Decimal | None = None
    """Percent."""
    historical_volatility_60_day: Decimal | None = None
    """Percent."""
    historical_volatility_90_day: Decimal | None = None
    """Percent."""
    iv_hv_30_day_difference: Decimal | None = None
    """Percentage points."""
    liquidity_value: Decimal | None = None
    liquidity_rank: Decimal | None = None
    liquidity_rating: int | None = None
    """1 to 4; 5 in older data."""
    beta: Decimal | None = None
    corr_spy_3month: Decimal | None = None
    market_cap: Decimal | None = None
    """$."""
    dividend_yield: Decimal | None = None
    """Fraction a year."""
    dividend_rate_per_share: Decimal | None = None
    annual_dividend_per_share: Decimal | None = None
    dividend_ex_date: date | None = None
    dividend_next_date: date | None = None
    dividend_pay_date: date | None = None
    earnings: NextEarnings | None = None
    earnings_per_share: Decimal | None = None
    price_earnings_ratio: Decimal | None = None
    listed_market: str | None = None
    lendability: str | None = None
    borrow_rate: Decimal | None = None
    sector: str | None = None
    industry: str | None = None
    option_expiration_implied_volatilities: tuple[ExpirationVolatility, ...] = ()


class Dividend(Record):
    occurred_date: date
    amount: Decimal
    """$ per share."""


class Earnings(Record):
    occurred_date: date
    eps: Decimal
    """$ per share."""


class MarketDataApi:
    """Endpoints of market data. Every method raises a BrokerError; an unknown symbol of a list is absent."""

    transport: Transport

    async def market_data(self, instrument_type: str, symbol: str) -> MarketData:
        """One instrument, by its type (as `Equity Option`) and symbol. Raises NotFoundError."""
        path = f"/market-data/{quote(str(instrument_type), safe='')}/{quote(symbol, safe='')}"
        return read(MarketData, await self.transport.get(path))

    async def market_data_by_type(
        self, *, equities: Sequence[str] = (), equity_options: Sequence[str] = (), indices: Sequence[str] = (),
        futures: Sequence[str] = (), future_options: Sequence[str] = (), cryptocurrencies: Sequence[str] = (),
    ) -> list[MarketData]:  # fmt: skip
        """Any number of instruments: split into requests of 100 symbols, the broker's limit."""
        wanted = {
            "equity": equities, "equity-option": equity_options, "index": indices, "future": futures,
            "future-option": future_options, "cryptocurrency": cryptocurrencies,
        }  # fmt: skip
        found: list[MarketData] = []
        for asked in _hundreds([(kind, symbol) for kind, symbols in wanted.items() for symbol in symbols]):
            found += items(MarketData, await self.transport.get("/market-data/by-type", asked))
        return found

    async def market_metrics(self, symbols: Sequence[str]) -> list[Json]:
        """Metrics as the broker sends them; many fields are absent for many symbols."""
        asked = {"symbols": ",".join(symbols)}
        return list(rows("MarketMetrics", await self.transport.get("/market-metrics", asked)))

    async def metrics(self, symbols: Sequence[str]) -> list[MarketMetrics]:
        """Metrics, typed."""
        return [read(MarketMetrics, row) for row in await self.market_metrics(symbols)]

    async def dividends(self, symbol: str) -> list[Dividend]:
        """Past dividends."""
        path = f"/market-metrics/historic-corporate-events/dividends/{quote(symbol, safe='')}"
        return items(Dividend, await self.transport.get(path))

    async def earnings(self, symbol: str, start_date: date, end_date: date | None = None) -> list[Earnings]:
        """Past earnings reports."""
        path = f"/market-metrics/historic-corporate-events/earnings-reports/{quote(symbol, safe='')}"
        return items(Earnings, await self.transport.get(path, {"start-date": start_date, "end-date": end_date}))


def _hundreds(pairs: list[tuple[str, str]]) -> Iterator[dict[str, list[str]]]:
    for start in range(0, len(pairs), SYMBOLS_MAX):
        asked: dict[str, list[str]] = {}
        for kind, symbol in pairs[start : start + SYMBOLS_MAX]:
            asked.setdefault(kind, []).append(symbol)
        yield asked

"""A seeded market: correlated prices, stochastic volatility, skewed smiles, quotes, sizes, volume and open interest.

One market factor drives every underlying by its beta; volatility reverts to its level and rises when prices fall.
The same seed and the same sequence of steps give the same market, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Protocol

import numpy as np
import numpy.typing as npt

from optionmath.blackscholes import Greeks, greeks, price
from optionmath.sessions import expires_at, is_session
from schemas.symbols import OptionSymbol, OptionType
from tastysim.corporate_events import CorporateEvents

Floats = npt.NDArray[np.float64]
RATE = 0.04
YEAR_SECONDS = 365 * 86_400
_MARKET_VOLATILITY, _REVERSION, _VOLATILITY_OF_VOLATILITY, _LEVERAGE = 0.15, 6.0, 1.2, -0.6
_STRIKES_EACH_WAY = 16
_REQUOTED_WINGS, _REQUOTED_NEAR = 0.05, 0.35
"""Share of the contracts whose quote follows the price in each quarter of a second."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An underlying as the simulator invents it. Prices and figures are plausible, not real."""

    symbol: str
    name: str
    price: float
    beta: float
    volatility: float
    """Long-run implied volatility, fraction a year."""
    sector: str
    step: float
    """Distance of its strikes, dollars."""
    dividend_yield: float = 0.0
    iv_rank: float = 0.35

    @property
    def is_etf(self) -> bool:
        return self.sector == "ETF"


UNIVERSE: tuple[Listed, ...] = (
    Listed("SPY", "S&P 500 ETF", 690.0, 1.00, 0.15, "ETF", 2.0, 0.011, 0.28),
    Listed("QQQ", "Nasdaq 100 ETF", 615.0, 1.20, 0.19, "ETF", 2.0, 0.005, 0.31),
    Listed("IWM", "Russell 2000 ETF", 245.0, 1.15, 0.21, "ETF", 1.0, 0.011, 0.33),
    Listed("DIA", "Dow Jones ETF", 470.0, 0.90, 0.14, "ETF", 2.0, 0.015, 0.27),
    Listed("AAPL", "Apple", 275.0, 1.15, 0.26, "Information Technology", 2.5, 0.004, 0.36),
    Listed("MSFT", "Microsoft", 505.0, 1.05, 0.24, "Information Technology", 5.0, 0.007, 0.34),
    Listed("GOOGL", "Alphabet", 290.0, 1.10, 0.30, "Communication Services", 2.5, 0.003, 0.42),
    Listed("AMZN", "Amazon", 232.0, 1.25, 0.31, "Consumer Discretionary", 2.5, 0.0, 0.38),
    Listed("TSLA", "Tesla", 405.0, 1.90, 0.50, "Consumer Discretionary", 5.0, 0.0, 0.40),
    Listed("NVDA", "NVIDIA", 186.0, 1.80, 0.42, "Information Technology", 2.5, 0.0, 0.37),
    Listed("META", "Meta Platforms", 620.0, 1.25, 0.33, "Communication Services", 5.0, 0.003, 0.41),
    Listed("JPM", "JPMorgan Chase", 308.0, 1.05, 0.23, "Financials", 2.5, 0.019, 0.35),
    Listed("BAC", "Bank of America", 53.0, 1.20, 0.25, "Financials", 1.0, 0.021, 0.34),
    Listed("XLF", "Financial sector ETF", 53.0, 1.00, 0.18, "ETF", 0.5, 0.014, 0.30),
    Listed("XLE", "Energy sector ETF", 90.0, 0.85, 0.23, "ETF", 1.0, 0.033, 0.32),
    Listed("GLD", "Gold ETF", 375.0, 0.10, 0.20, "ETF", 2.0, 0.0, 0.45),
    Listed("SLV", "Silver ETF", 46.0, 0.25, 0.36, "ETF", 0.5, 0.0, 0.50),
    Listed("TLT", "Treasury bond ETF", 90.0, -0.20, 0.14, "ETF", 0.5, 0.042, 0.29),
)


def expirations(today: date) -> list[date]:
    """Seven weeklies, then the monthlies of half a year; a holiday's contracts expire on the session before."""
    friday = today + timedelta(days=(4 - today.weekday()) % 7)
    weeklies = [friday + timedelta(weeks=week) for week in range(1, 8)]
    later = (friday + timedelta(weeks=week) for week in range(8, 27))
    monthlies = [day for day in later if 15 <= day.day <= 21]
    found = []
    for day in [*weeklies, *monthlies]:
        while not is_session(day):
            day -= timedelta(days=1)
        found.append(day)
    return found


class Market(Protocol):
    """Columns over all contracts of all underlyings. Rows of one underlying are contiguous: `rows[symbol]`.

    Prices in $ per share; NaN = not known. `quoted_at` and `traded_at` say in which step a contract last changed.
    """

    now: datetime
    listed: tuple[Listed, ...]
    steps: int
    listing: int
    """Grows whenever rows change their meaning (contracts listed or gone): who keeps row numbers reads them anew."""
    is_open: bool
    """Whether orders trade now. A market without hours is always open."""
    rows: dict[str, slice]
    options: list[OptionSymbol]
    row_of: dict[str, int]
    row_of_streamer: dict[str, int]
    spot: Floats
    previous_close: Floats
    volatility: Floats
    day_volume: Floats
    strike: Floats
    bid: Floats
    ask: Floats
    bid_size: Floats
    ask_size: Floats
    open_interest: Floats
    volume: Floats
    theoretical: Floats
    iv: Floats
    greeks: Greeks
    quoted_at: npt.NDArray[np.int64]
    traded_at: npt.NDArray[np.int64]

    def step(self, seconds: float) -> None:
        """Let market time pass."""

    def index_of(self, symbol: str) -> int | None:
        """Index of an underlying by its symbol."""

    def spot_quote(self, index: int) -> tuple[float, float]:
        """Bid and ask of an underlying."""

    def events(self, first: date, last: date) -> CorporateEvents:
        """Dividends by ex-date, splits by effective day and earnings by day, `first` and `last` included."""

    def settlement(self, symbol: str, day: date) -> Decimal | None:
        """Official closing price of an underlying on a day that has ended, on the cent; None when it is not known."""


class ModelMarket:
    """The seeded market."""

    def __init__(self, seed: int, now: datetime) -> None:
        self.generator = np.random.default_rng(seed)
        self.now = now
        self.listed = UNIVERSE
        count = len(UNIVERSE)
        self.spot = np.array([each.price for each in UNIVERSE])
        self.previous_close = self.spot.copy()
        self.volatility = np.array([each.volatility for each in UNIVERSE])
        self._beta = np.array([each.beta for each in UNIVERSE])
        self._level = self.volatility.copy()
        self._list_contracts(now.astimezone(UTC).date())
        self.day_volume = np.zeros(count)
        self.steps = 0
        self.listing = 0
        self.is_open = True
        self.quoted_at = np.zeros(len(self.strike), dtype=np.int64)
        self.traded_at = np.zeros(len(self.strike), dtype=np.int64)
        self.bid, self.ask = np.zeros(len(self.strike)), np.zeros(len(self.strike))
        self.bid_size = np.ones(len(self.strike))
        self.ask_size = np.ones(len(self.strike))
        self._reprice(np.ones(len(self.strike), dtype=np.bool_))

    def _list_contracts(self, today: date) -> None:
        self.expirations = expirations(today)
        parts: list[tuple[int, date, float, bool]] = []
        self.rows: dict[str, slice] = {}
        for index, each in enumerate(self.listed):
            start = len(parts)
            middle = round(each.price / each.step) * each.step
            for day in self.expirations:
                for k in range(-_STRIKES_EACH_WAY, _STRIKES_EACH_WAY + 1):
                    parts += [(index, day, middle + k * each.step, call) for call in (True, False)]
            self.rows[each.symbol] = slice(start, len(parts))
        self.underlying = np.array([part[0] for part in parts])
        self.expiration = [part[1] for part in parts]
        self.strike = np.array([part[2] for part in parts])
        self.is_call = np.array([part[3] for part in parts])
        self.options = [
            OptionSymbol(
                self.listed[index].symbol, day, OptionType.CALL if call else OptionType.PUT, Decimal(str(round(k, 3)))
            )
            for index, day, k, call in parts
        ]
        self.row_of = {option.occ: row for row, option in enumerate(self.options)}
        self.row_of_streamer = {option.streamer: row for row, option in enumerate(self.options)}
        self._ends = np.array([expires_at(day).timestamp() for day in self.expiration])
        near = np.abs(np.log(self.strike / np.array([self.listed[i].price for i in self.underlying])))
        crowd = np.exp(-((near / 0.08) ** 2)) * np.where(self.strike % (5 * self._steps()) == 0, 3.0, 1.0)
        noise = self.generator.lognormal(0, 0.5, len(parts))
        self.open_interest = np.round(40 + 9000 * crowd * noise)
        self.volume = np.round(4 + 1500 * crowd * self.generator.lognormal(0, 0.5, len(parts)))

    def _steps(self) -> Floats:
        return np.array([self.listed[index].step for index in self.underlying])

    def step(self, seconds: float) -> None:
        """Let market time pass. `quoted_at` and `traded_at` say in which step a contract last changed."""
        self.steps += 1
        self.now += timedelta(seconds=seconds)
        # trading years: overnight moves are squeezed out, so a minute moves as a minute of the session does
        years = seconds / (252 * 6.5 * 3600)
        common = self.generator.standard_normal()
        own = self.generator.standard_normal(len(self.spot))
        shock = self.generator.standard_normal(len(self.spot))
        market = self._beta * _MARKET_VOLATILITY * 0.85
        rest = np.sqrt(np.maximum((0.9 * self.volatility) ** 2 - market**2, 1e-4))
        move = market * common + rest * own
        self.spot = self.spot * np.exp(move * np.sqrt(years))
        mixed = _LEVERAGE * common + np.sqrt(1 - _LEVERAGE**2) * shock
        drift = _REVERSION * (np.log(self._level) - np.log(self.volatility)) * years
        self.volatility = np.clip(
            self.volatility * np.exp(drift + _VOLATILITY_OF_VOLATILITY * np.sqrt(years) * mixed), 0.05, 2.0
        )
        busy = self.generator.random(len(self.strike)) < min(0.5, 0.002 * seconds)
        self.traded_at[busy] = self.steps
        self.volume += np.where(busy, np.round(self.generator.exponential(8, len(self.strike))), 0)
        # makers requote what trades most: near the money often, the wings now and then, and more as time runs faster
        near = np.abs(self.strike / self.spot[self.underlying] - 1)
        share = (_REQUOTED_WINGS + _REQUOTED_NEAR * np.exp(-((near / 0.03) ** 2))) * max(1.0, seconds / 0.25)
        self._reprice(self.generator.random(len(self.strike)) < share)

    def _reprice(self, requoted: npt.NDArray[np.bool_]) -> None:
        """Quotes around the theoretical value, on the cent; the smile rises towards low strikes."""
        spot, level = self.spot[self.underlying], self.volatility[self.underlying]
        dividend = np.array([each.dividend_yield for each in self.listed])[self.underlying]
        self.years = np.maximum((self._ends - self.now.timestamp()) / YEAR_SECONDS, 0.0)
        root = np.sqrt(np.maximum(self.years, 1 / 365))
        x = np.clip(np.log(self.strike / spot) / (level * root), -3, 3)
        term = 1 + 0.06 * np.tanh(self.years * 4 - 0.4)
        self.iv = level * term * (1 - 0.075 * x + 0.022 * x * x)
        value = price(spot, self.strike, self.years, self.iv, RATE, dividend, self.is_call)
        self.greeks = greeks(spot, self.strike, self.years, self.iv, RATE, dividend, self.is_call)
        etf = np.array([each.is_etf for each in self.listed])[self.underlying]
        half = 0.006 + np.where(etf, 0.004, 0.010) * value + np.where(etf, 0.0, 0.01)
        self.theoretical = value
        bid: Floats = np.floor(np.maximum(value - half, 0.0) * 100 + 1e-9) / 100
        ask: Floats = np.maximum(np.ceil((value + half) * 100 - 1e-9) / 100, bid + 0.01)
        bid, ask = np.round(bid, 2).astype(np.float64), np.round(ask, 2).astype(np.float64)
        changed = requoted & ((bid != self.bid) | (ask != self.ask))
        moved = int(changed.sum())
        self.quoted_at[changed] = self.steps
        self.bid, self.ask = np.where(changed, bid, self.bid), np.where(changed, ask, self.ask)
        self.bid_size[changed] = np.round(self.generator.exponential(60, moved)) + 1
        self.ask_size[changed] = np.round(self.generator.exponential(60, moved)) + 1

    def index_of(self, symbol: str) -> int | None:
        """Index of an underlying by its symbol."""
        return next((i for i, each in enumerate(self.listed) if each.symbol == symbol), None)

    def spot_quote(self, index: int) -> tuple[float, float]:
        """Bid and ask of an underlying, a cent or two around its price."""
        middle, half = float(self.spot[index]), 0.01 if self.spot[index] < 300 else 0.02
        return round(middle - half, 2), round(middle + half, 2)

    def events(self, first: date, last: date) -> CorporateEvents:
        """None are known."""
        return CorporateEvents()

    def settlement(self, symbol: str, day: date) -> Decimal | None:
        """Closing prices are not kept."""
        return None

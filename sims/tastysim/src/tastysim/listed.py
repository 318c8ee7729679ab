"""The underlyings that the simulator lists: a default set, invented ones by the number, and an index on request."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from optionmath.ticks import OTHER_CLASS, PENNY, PENNY_CLASS, TickGrid
from tastysim.counters import stream

RATE = 0.04
"""Continuous, a year."""
TickClass = Literal["penny", "penny class", "other"]
_GRIDS: dict[TickClass, TickGrid] = {"penny": PENNY, "penny class": PENNY_CLASS, "other": OTHER_CLASS}
_TEXT = re.compile(r"^(default|(?P<count>[1-9]\d{0,3})(x(?P<contracts>[1-9]\d{0,4}))?)(?P<extras>(\+index|\+daily)*)$")
_SECTORS = (
    "Information Technology", "Communication Services", "Consumer Discretionary", "Consumer Staples", "Energy",
    "Financials", "Health Care", "Industrials", "Materials", "Real Estate", "Utilities",
)  # fmt: skip
COUNT_MAX = 2500


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
    """At the start."""
    tier: int = 1
    """Liquidity of its options: 0 the best, 3 the least."""
    tick_class: TickClass = "penny"
    skew: float = -0.30
    """ρ of its surface: how much dearer low strikes are."""
    curvature: float = 0.60
    """η of its surface."""
    follows: str = ""
    """Fund whose path it takes, multiplied by the ratio of their prices: an index and its fund never disagree."""

    @property
    def is_etf(self) -> bool:
        return self.sector == "ETF"

    @property
    def is_index(self) -> bool:
        """Options of an index are European and settle in cash."""
        return self.sector == "Index"

    @property
    def is_company(self) -> bool:
        """Reports earnings and may split its shares."""
        return not self.is_etf and not self.is_index

    @property
    def penny_class(self) -> bool:
        """Member of the Penny Interval Program."""
        return self.tick_class != "other"

    @property
    def option_grid(self) -> TickGrid:
        """Valid prices of its options."""
        return _GRIDS[self.tick_class]


def _fund(
    symbol: str, name: str, price: float, beta: float, volatility: float, step: float, paid: float, rank: float,
    tier: int = 1, skew: float = -0.40,
) -> Listed:  # fmt: skip
    return Listed(symbol, name, price, beta, volatility, "ETF", step, paid, rank, tier, "penny", skew)


UNIVERSE: tuple[Listed, ...] = (
    _fund("SPY", "S&P 500 ETF", 690.0, 1.00, 0.15, 2.0, 0.011, 0.28, 0, -0.50),
    _fund("QQQ", "Nasdaq 100 ETF", 615.0, 1.20, 0.19, 2.0, 0.005, 0.31, 0, -0.48),
    _fund("IWM", "Russell 2000 ETF", 245.0, 1.15, 0.21, 1.0, 0.011, 0.33, 0, -0.45),
    _fund("DIA", "Dow Jones ETF", 470.0, 0.90, 0.14, 2.0, 0.015, 0.27),
    Listed("AAPL", "Apple", 275.0, 1.15, 0.26, "Information Technology", 2.5, 0.004, 0.36),
    Listed("MSFT", "Microsoft", 505.0, 1.05, 0.24, "Information Technology", 5.0, 0.007, 0.34),
    Listed("GOOGL", "Alphabet", 290.0, 1.10, 0.30, "Communication Services", 2.5, 0.003, 0.42),
    Listed("AMZN", "Amazon", 232.0, 1.25, 0.31, "Consumer Discretionary", 2.5, 0.0, 0.38),
    Listed("TSLA", "Tesla", 405.0, 1.90, 0.50, "Consumer Discretionary", 5.0, 0.0, 0.40),
    Listed("NVDA", "NVIDIA", 186.0, 1.80, 0.42, "Information Technology", 2.5, 0.0, 0.37),
    Listed("META", "Meta Platforms", 620.0, 1.25, 0.33, "Communication Services", 5.0, 0.003, 0.41),
    Listed("JPM", "JPMorgan Chase", 308.0, 1.05, 0.23, "Financials", 2.5, 0.019, 0.35),
    Listed("BAC", "Bank of America", 53.0, 1.20, 0.25, "Financials", 1.0, 0.021, 0.34),
    _fund("XLF", "Financial sector ETF", 53.0, 1.00, 0.18, 0.5, 0.014, 0.30),
    _fund("XLE", "Energy sector ETF", 90.0, 0.85, 0.23, 1.0, 0.033, 0.32),
    _fund("GLD", "Gold ETF", 375.0, 0.10, 0.20, 2.0, 0.0, 0.45, 1, 0.05),
    _fund("SLV", "Silver ETF", 46.0, 0.25, 0.36, 0.5, 0.0, 0.50, 1, 0.05),
    _fund("TLT", "Treasury bond ETF", 90.0, -0.20, 0.14, 0.5, 0.042, 0.29, 1, -0.05),
)
INDEX = Listed("XSP", "Mini-SPX index", 690.0, 1.00, 0.15, "Index", 2.0, 0.0, 0.28, 0, "penny", -0.50, follows="SPY")


@dataclass(frozen=True, slots=True)
class Universe:
    """What is listed, and how much of each."""

    listed: tuple[Listed, ...] = UNIVERSE
    strikes: int = 33
    """Strikes of an expiration when it is listed."""
    daily: bool = False
    """Whether the most traded funds and the index list every session of the next two weeks."""

    @classmethod
    def parse(cls, text: str, seed: int) -> Universe:
        """`default`, or `500` or `500x2000` (underlyings × contracts of each); `+index` and `+daily` add to it.

        The default names come first; the others are invented from the seed. Raises ValueError.
        """
        found = _TEXT.match(text)
        if found is None or int(found["count"] or 1) > COUNT_MAX:
            raise ValueError(f"{text!r} is not a universe: write default, 500 or 500x2000, then +index or +daily")
        extras = found["extras"]
        listed = UNIVERSE if found["count"] is None else _with_invented(int(found["count"]), seed)
        if "+index" in extras:
            listed = (*listed, INDEX)
        strikes = 33 if found["contracts"] is None else max(3, round(int(found["contracts"]) / (2 * EXPIRATIONS)))
        return cls(listed, strikes, "+daily" in extras)


EXPIRATIONS = 10
"""Expirations of an underlying, about: seven weeklies and the monthlies of half a year are ten to twelve."""


def strike_step(price: float) -> float:
    """Usual distance of strikes at a price, dollars."""
    for below, step in ((30, 0.5), (100, 1.0), (400, 2.5), (1000, 5.0)):
        if price < below:
            return step
    return 10.0


def _with_invented(count: int, seed: int) -> tuple[Listed, ...]:
    """The first `count` names: the default ones, then tickers of ZX and three consonants, which no share has."""
    generator = stream(seed, "universe")
    found = list(UNIVERSE[:count])
    letters = "BCDGHJKLMNPRST"
    for number in range(len(found), count):
        ticker = "ZX" + "".join(letters[number // 14**place % 14] for place in (2, 1, 0))
        price = round(float(np.clip(np.exp(generator.normal(4.3, 0.8)), 8, 900)), 2)
        tier = int(generator.choice((1, 2, 3), p=(0.2, 0.5, 0.3)))
        beta = round(float(np.clip(generator.normal(1.05, 0.35), 0.2, 2.2)), 2)
        volatility = round(float(np.clip(0.15 * beta + np.exp(generator.normal(-1.7, 0.4)), 0.16, 0.9)), 3)
        sector = _SECTORS[int(generator.integers(len(_SECTORS)))]
        paid = round(float(max(0.0, generator.normal(0.012, 0.015))), 4)
        found.append(
            Listed(
                ticker, f"Invented {ticker}", price, beta, volatility, sector, strike_step(price), paid,
                round(float(generator.uniform(0.1, 0.8)), 2), tier, "penny class" if tier < 3 else "other",
                round(float(generator.uniform(-0.45, -0.15)), 3), round(float(generator.uniform(0.5, 0.7)), 3),
            )
        )  # fmt: skip
    return tuple(found)


def split(each: Listed, ratio: float) -> Listed:
    """An underlying after a split: strikes lie closer."""
    return replace(each, step=max(0.5, each.step / ratio) if each.step / ratio >= 0.5 else 0.5)

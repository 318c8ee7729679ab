"""A market and what follows it: indices, futures, coins and names without options, priced from its underlyings.

Every price here is a function of the market it wraps and of nothing else, so that it is as reproducible as that
market, and so that an index, its fund and its future never disagree. What has no source in the market is not listed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from optionmath.blackscholes import Greeks
from optionmath.sessions import market_date
from schemas.symbols import OptionSymbol
from tastysim.corporate_events import CorporateEvents
from tastysim.futures import FutureContract, contracts
from tastysim.market import RATE, UNIVERSE, YEAR_SECONDS, Floats, Listed, Market, ModelMarket
from tastysim.products import COINS, FROM_VOLATILITY, NAMES, PRODUCTS

EQUITY, INDEX, FUTURE, COIN = "Equity", "Index", "Future", "Cryptocurrency"
_OPENING = {each.symbol: each for each in UNIVERSE}
_PULL = 3.0
"""How fast volatility is expected to return to its level, a year."""
_WIDTH = {INDEX: 0.0005, COIN: 0.0004}
"""Half of a spread, of the price, where no tick says it."""


@dataclass(frozen=True, slots=True)
class Follower:
    """One instrument that follows. symbol: as the REST interface writes it; streamer: as the feed does.

    Its price is level × (price of its source ÷ that one's opening price) ^ power, futures with their carry.
    """

    symbol: str
    streamer: str
    name: str
    kind: str
    source: int
    """Place of its source among the underlyings of the market."""
    opening: Listed
    """The source at its opening."""
    level: float
    power: float
    tick: float
    from_volatility: bool = False
    future: FutureContract | None = None

    @property
    def carry(self) -> float:
        """Rate at which a future's price exceeds its source's, a year."""
        carried = self.future is not None and self.future.product.rule in ("index", "metal")
        return RATE - self.opening.dividend_yield if carried else 0.0

    def quote(self, price: float) -> tuple[float, float]:
        """Bid and ask around a price, on its tick."""
        half = max(self.tick / 2, _WIDTH.get(self.kind, 0.0) * price)
        bid = math.floor((price - half) / self.tick + 1e-9) * self.tick
        ask = max(math.ceil((price + half) / self.tick - 1e-9) * self.tick, bid + self.tick)
        return round(bid, 6), round(ask, 6)


def followers(market: Market, today: date) -> list[Follower]:
    """Everything that has its source in a market and is not one of its underlyings."""
    own = {each.symbol: place for place, each in enumerate(market.listed) if each.symbol in _OPENING}
    found = [
        Follower(
            each.symbol, each.symbol, each.description, INDEX if each.is_index else EQUITY, own[each.source],
            _OPENING[each.source], each.level, each.power, 0.01, each.symbol in FROM_VOLATILITY,
        )
        for each in NAMES if each.source in own and market.index_of(each.symbol) is None
    ]  # fmt: skip
    for product in PRODUCTS:
        if product.source in own:
            found += [
                Follower(
                    each.symbol, each.streamer, f"{product.description} {each.month:%b %y}", FUTURE,
                    own[product.source], _OPENING[product.source], product.level, product.power, float(product.tick),
                    product.code in FROM_VOLATILITY, each,
                )
                for each in contracts(product, today)
            ]  # fmt: skip
    return found + [
        Follower(
            each.symbol, each.streamer, each.name, COIN, own[each.source], _OPENING[each.source], each.level,
            each.power, 0.01,
        )
        for each in COINS if each.source in own
    ]  # fmt: skip


class FollowedMarket:
    """A market with its followers behind its underlyings. Everything else is the wrapped market's own."""

    now: datetime
    steps: int
    is_open: bool
    rows: dict[str, slice]
    options: list[OptionSymbol]
    row_of: dict[str, int]
    row_of_streamer: dict[str, int]
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

    def __init__(self, market: Market) -> None:
        self.own, self._relisted = market, 0
        self._list()

    def __getattr__(self, name: str) -> object:
        """What is not followed is asked of the wrapped market, when it is asked for."""
        return getattr(self.own, name)

    def _list(self) -> None:
        own = self.own
        self._day, self._own_listed, self._count = market_date(own.now), own.listed, len(own.listed)
        # beside recorded and live quotes nothing is invented
        self.followers = followers(own, self._day) if isinstance(own, ModelMarket) else []
        self.listed = (*own.listed, *(_listed(each) for each in self.followers))
        places = list(enumerate(self.followers, self._count))
        self._place = {each.symbol: at for at, each in places} | {each.streamer: at for at, each in places}
        self._source = np.array([each.source for each in self.followers], dtype=np.intp)
        self._opening = np.array([each.opening.price for each in self.followers], dtype=np.float64)
        self._usual = np.array([each.opening.volatility for each in self.followers], dtype=np.float64)
        self._level = np.array([each.level for each in self.followers], dtype=np.float64)
        self._power = np.array([each.power for each in self.followers], dtype=np.float64)
        self._carry = np.array([each.carry for each in self.followers], dtype=np.float64)
        self._wild = np.array([each.from_volatility for each in self.followers], dtype=np.bool_)
        ends = [own.now if each.future is None else each.future.ends_at for each in self.followers]
        self._ends = np.array([each.timestamp() for each in ends], dtype=np.float64)
        self._follow()

    def step(self, seconds: float) -> None:
        """Let market time pass."""
        self.own.step(seconds)
        if market_date(self.own.now) != self._day or self.own.listed is not self._own_listed:
            self._relisted += 1
            self._list()
        else:
            self._follow()

    def _follow(self) -> None:
        own, source = self.own, self._source
        self.listing = own.listing + self._relisted
        years = np.maximum(self._ends - own.now.timestamp(), 0.0) / YEAR_SECONDS
        expected = own.volatility[source] + (self._usual - own.volatility[source]) * (1 - np.exp(-_PULL * years))
        carried = self._level * np.exp(self._carry * years)
        now = carried * (own.spot[source] / self._opening) ** self._power
        before = carried * (own.previous_close[source] / self._opening) ** self._power
        self.spot = np.concatenate([own.spot, np.where(self._wild, self._level * expected, now)])
        self.previous_close = np.concatenate([own.previous_close, np.where(self._wild, np.nan, before)])
        spread = np.where(self._wild, np.nan, own.volatility[source] * np.abs(self._power))
        self.volatility = np.concatenate([own.volatility, spread])
        self.day_volume = np.concatenate([own.day_volume, np.full(len(source), np.nan)])

    def index_of(self, symbol: str) -> int | None:
        """Place of an underlying or a follower, by its symbol in either spelling."""
        found = self._place.get(symbol)
        return self.own.index_of(symbol) if found is None else found

    def follower(self, symbol: str) -> Follower | None:
        """A follower by its symbol in either spelling."""
        place = self._place.get(symbol)
        return None if place is None else self.followers[place - self._count]

    def spot_quote(self, index: int) -> tuple[float, float]:
        """Bid and ask of an underlying or a follower."""
        if index < self._count:
            return self.own.spot_quote(index)
        price = float(self.spot[index])
        return self.followers[index - self._count].quote(price) if math.isfinite(price) else (price, price)

    def events(self, first: date, last: date) -> CorporateEvents:
        """Those of the underlyings; followers have none."""
        return self.own.events(first, last)

    def settlement(self, symbol: str, day: date) -> Decimal | None:
        """Official close: of an underlying its own, of a name from that of its source; None when it is not known."""
        each = self.follower(symbol)
        if each is None:
            return self.own.settlement(symbol, day)
        source = self.own.settlement(each.opening.symbol, day)
        if source is None or each.from_volatility or each.future is not None:
            return None
        return Decimal(str(round(each.level * (float(source) / each.opening.price) ** each.power, 2)))


def _listed(each: Follower) -> Listed:
    opening, unknown = each.opening, float("nan")
    beta, volatility = opening.beta * each.power, opening.volatility * abs(each.power)
    if each.from_volatility:
        beta = volatility = unknown
    return Listed(each.streamer, each.name, each.level, beta, volatility, each.kind, 0.0)

"""What risk sees of the market, as facts for a decision. What is missing stays missing."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from chassis.settings import Mode
from optionmath.sessions import market_date, years_to_expiration
from risk.domain.facts import Contract, Market, Quotes, option_of
from risk.domain.revaluation import MARKET, model_price
from risk.domain.worst_case import EUROPEAN_ROOTS
from risk.settings import RiskSettings
from schemas.columns import ColumnKind
from schemas.market import FeedStatus, MarketMetrics, MarketSession, SessionPhase
from schemas.money import price_from_float
from schemas.trade import ProposeTrade
from strategies.live_chain import RATE, LegQuote, LiveChain, LiveMarket, instant

STANDARD_MULTIPLIER = 100
MOVE_SECONDS = 60.0
_FAR_FROM_THE_BELL = 240.0
"""Minutes: what a simulated market that never closes says of its open and close."""


@dataclass(slots=True)
class MarketView:
    """Chains, metrics, session and feed, and where prices stood a minute ago."""

    settings: RiskSettings
    live: LiveMarket = field(default_factory=LiveMarket)
    metrics_of: dict[str, MarketMetrics] = field(default_factory=dict)
    session: MarketSession | None = None
    feed: FeedStatus | None = None
    _spots: dict[str, deque[tuple[float, float]]] = field(default_factory=dict)

    def note_spots(self, monotonic: float) -> None:
        """Remember where every underlying stands; what is older than a minute is forgotten."""
        for symbol, chain in self.live.chains.items():
            spot = chain.spot
            kept = self._spots.setdefault(symbol, deque())
            if math.isfinite(spot) and spot > 0:
                kept.append((monotonic, spot))
            while kept and monotonic - kept[0][0] > MOVE_SECONDS:
                kept.popleft()

    def market(self, symbols: Iterable[str], underlyings: Iterable[str], now: datetime) -> Market:
        """Facts of contracts and underlyings; the market's own always among them."""
        at = self.settings.market_time(now)
        years: dict[object, float] = {}
        contracts: dict[str, Contract] = {}
        deltas: dict[str, float] = {}
        vegas: dict[str, float] = {}
        marks: dict[str, Decimal] = {}
        names = {MARKET, *underlyings}
        for symbol in set(symbols):
            chain = self.live.chain_of(symbol)
            if chain is None:
                continue
            names.add(chain.chain.underlying_symbol)
            option = option_of(symbol)
            if option.expiration not in years:
                years[option.expiration] = years_to_expiration(at, option.expiration)
            sigma, spot = chain.greek("iv", symbol), chain.spot
            if sigma is not None and sigma > 0 and spot > 0:
                known = self.metrics_of.get(chain.chain.underlying_symbol)
                contracts[symbol] = Contract(
                    spot, sigma, years[option.expiration], RATE, (known.dividend_yield if known else None) or 0.0,
                    option.root_symbol not in EUROPEAN_ROOTS,
                )  # fmt: skip
            for name, into in (("delta", deltas), ("vega", vegas)):
                value = chain.greek(name, symbol)
                if value is not None:
                    into[symbol] = value
            quote = chain.quote(symbol)
            if quote is not None and 0 <= quote.bid < quote.ask:
                marks[symbol] = quote.mid
        spots = {name: price for name in names if (price := self.spot(name)) is not None}
        return Market(contracts, self._betas(names), self._volatility(names), deltas, vegas, spots, marks)

    def quotes(self, trade: ProposeTrade, market: Market, now: datetime) -> Quotes:
        """Facts of the quotes that an order would meet."""
        signed = [(leg.occ_symbol, leg.action.sign * leg.quantity) for leg in trade.legs]
        chain = self.live.chains.get(trade.underlying_symbol)
        found = {symbol: self.live.quote(symbol) for symbol, _ in signed}
        known = [each for each in found.values() if each is not None]
        ages = [max(0.0, (now - each.at).total_seconds()) for each in known]
        complete = len(known) == len(found)
        book = self.live.net_book(signed)
        fair = model_price(signed, market)
        since, left = self._minutes(now)
        today = market_date(self.settings.market_time(now))
        return Quotes(
            market_open=None if self.session is None else self.session.phase is SessionPhase.OPEN,
            minutes_since_open=since,
            minutes_to_close=left,
            expires_today=any(option_of(symbol).expiration == today for symbol, _ in signed),
            feed_age_seconds=self.feed_age(now),
            quote_age_seconds=max(ages) if complete else None,
            leg_skew_seconds=max(ages) - min(ages) if complete else None,
            underlying_age_seconds=_age(chain, ColumnKind.QUOTE, [0], now),
            greeks_age_seconds=self._greeks_age([symbol for symbol, _ in signed], now),
            underlying_move_pct=self._move_pct(trade.underlying_symbol),
            mid=book.mid if book else None,
            natural=book.natural if book else None,
            theoretical=None if fair is None else price_from_float(fair),
            unsound_legs=sum(each is None or not each.usable for each in found.values()),
            sold_without_bid=sum(count < 0 and _no_bid(found[symbol]) for symbol, count in signed),
            widest_spread_pct=max((_spread_pct(each) for each in known), default=None) if complete else None,
            listed=self._listed(trade.underlying_symbol),
            unlisted_contracts=_unlisted(chain, [symbol for symbol, _ in signed]),
            tick=trade.candidate.tick_size if trade.candidate else Decimal("0.01"),
            sector=self.sector(trade.underlying_symbol),
        )

    def spot(self, underlying_symbol: str) -> float | None:
        """$ per share."""
        chain = self.live.chains.get(underlying_symbol)
        return chain.spot if chain is not None and chain.spot > 0 else None

    def sector(self, underlying_symbol: str) -> str:
        """GICS sector, or ETF."""
        known = self.metrics_of.get(underlying_symbol)
        return (known.sector if known else None) or "Unknown"

    def feed_age(self, now: datetime) -> float | None:
        """Seconds since the feed brought anything; None while it is not connected or was never heard of."""
        if self.feed is None or not self.feed.connected or self.feed.last_event_at is None:
            return None
        # the status itself may have stopped coming
        oldest = min(self.feed.last_event_at, self.feed.ts_event)
        return max(0.0, (now - oldest).total_seconds())

    def silence(self, now: datetime) -> float | None:
        """As `feed_age`, but counted on while the feed is away: how long there was nothing."""
        if self.feed is None or self.feed.last_event_at is None:
            return None
        return max(0.0, (now - min(self.feed.last_event_at, self.feed.ts_event)).total_seconds())

    def _listed(self, underlying_symbol: str) -> bool:
        allowed = self.settings.allowed_underlyings
        return underlying_symbol in allowed if allowed else underlying_symbol in self.live.chains

    def _minutes(self, now: datetime) -> tuple[float | None, float | None]:
        """Minutes since the open and to the close."""
        session = self.session
        if session is None or session.opens_at is None or session.closes_at is None:
            simulated = session is not None and self.settings.mode is Mode.SIM
            return (_FAR_FROM_THE_BELL, _FAR_FROM_THE_BELL) if simulated else (None, None)
        at = self.settings.market_time(now)
        since = (at - session.opens_at).total_seconds() / 60
        left = (session.closes_at - at).total_seconds() / 60
        if self.settings.mode is Mode.SIM and session.phase is SessionPhase.OPEN and not (since >= 0 and left >= 0):
            return _FAR_FROM_THE_BELL, _FAR_FROM_THE_BELL  # open at hours when no exchange is: there is no bell
        return since, left

    def _greeks_age(self, symbols: Sequence[str], now: datetime) -> float | None:
        worst = 0.0
        for symbol in symbols:
            chain = self.live.chain_of(symbol)
            row = chain.row_of.get(symbol) if chain else None
            age = None if row is None else _age(chain, ColumnKind.GREEKS, [row], now)
            if age is None:
                return None
            worst = max(worst, age)
        return worst

    def _move_pct(self, underlying_symbol: str) -> float | None:
        kept, spot = self._spots.get(underlying_symbol), self.spot(underlying_symbol)
        if not kept or spot is None:
            return None
        prices = [price for _, price in kept]
        return 100 * max(abs(spot / price - 1) for price in (min(prices), max(prices)))

    def _betas(self, names: Iterable[str]) -> dict[str, float]:
        known = {name: self.metrics_of[name].beta for name in names if name in self.metrics_of}
        found = {name: beta for name, beta in known.items() if beta is not None and math.isfinite(beta)}
        return found | {MARKET: 1.0}

    def _volatility(self, names: Iterable[str]) -> dict[str, float]:
        found = {}
        for name in names:
            known = self.metrics_of.get(name)
            value = (known.iv_index or known.historical_volatility_30d) if known else None
            if value is not None and math.isfinite(value) and value > 0:
                found[name] = value
        return found


def _age(chain: LiveChain | None, kind: ColumnKind, rows: Sequence[int], now: datetime) -> float | None:
    if chain is None:
        return None
    stamps = [int(chain.at[kind][row]) for row in rows]
    return None if not all(stamps) else max(0.0, (now - instant(min(stamps))).total_seconds())


def _no_bid(quote: LegQuote | None) -> bool:
    return quote is None or quote.bid <= 0


def _spread_pct(quote: LegQuote) -> float:
    return float(100 * (quote.ask - quote.bid) / quote.mid) if quote.mid > 0 else math.inf


def _unlisted(chain: LiveChain | None, symbols: Sequence[str]) -> int:
    if chain is None or chain.chain.multiplier != STANDARD_MULTIPLIER:
        return len(symbols)
    return sum(symbol not in chain.row_of for symbol in symbols)

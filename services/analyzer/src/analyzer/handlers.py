"""Read the market and the positions; publish readings on time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from faststream.nats import NatsBroker

from analyzer import metrics
from analyzer.domain import portfolio, volatility
from analyzer.settings import AnalyzerSettings
from chassis.bus import PublishError, latest, publish_durable
from chassis.clock import Clock
from chassis.telemetry import get_logger
from schemas import subjects
from schemas.account import Balance, Position
from schemas.analytics import VolatilityReading
from schemas.base import Message
from schemas.market import MarketMetrics
from strategies.chain import Facts
from strategies.live_chain import LiveMarket

log = get_logger("analyzer")


@dataclass(slots=True)
class Analyzer:
    """What the readings are made of."""

    settings: AnalyzerSettings
    broker: NatsBroker
    clock: Clock
    market: LiveMarket = field(default_factory=LiveMarket)
    metrics_of: dict[str, MarketMetrics] = field(default_factory=dict)
    positions: dict[tuple[str, str], Position] = field(default_factory=dict)
    accounts: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for subject, handler in (
            (subjects.md_metrics(), self.on_metrics),
            (subjects.fact_position(), self.on_position),
            (subjects.fact_balance(), self.on_balance),
        ):
            self.broker.subscriber(**latest(subject, subjects.STATE))(handler)

    async def on_metrics(self, message: MarketMetrics) -> None:
        self.metrics_of[message.underlying_symbol] = message

    async def on_position(self, message: Position) -> None:
        self.positions[message.account_number, message.underlying_symbol] = message
        self.accounts.add(message.account_number)

    async def on_balance(self, message: Balance) -> None:
        self.accounts.add(message.account_number)

    async def portfolio_loop(self) -> None:
        """Value every account's book."""
        while True:
            began = time.perf_counter()
            for number in sorted(self.accounts):
                held = [position for (account, _), position in self.positions.items() if account == number]
                reading = portfolio(number, held, self.market, self.metrics_of, self.clock.now())
                metrics.missing_quotes.labels(number).set(reading.missing_quotes)
                await self._publish(subjects.ana("portfolio", number), reading)
            metrics.reading_seconds.labels("portfolio").observe(time.perf_counter() - began)
            await self.clock.sleep(self.settings.portfolio_seconds)

    async def volatility_loop(self) -> None:
        """Read the volatility of every underlying, in a thread."""
        while True:
            began = time.perf_counter()
            for symbol in list(self.market.chains):
                reading = await asyncio.to_thread(self._volatility, symbol)
                if reading is not None:
                    await self._publish(subjects.ana("volatility", symbol), reading)
            metrics.reading_seconds.labels("volatility").observe(time.perf_counter() - began)
            await self.clock.sleep(self.settings.volatility_seconds)

    def _volatility(self, symbol: str) -> VolatilityReading | None:
        chain, now = self.market.chains[symbol], self.clock.now()
        if chain.quoted_share < 0.5:
            return None
        return volatility(
            chain.snapshot(now, Facts(), self.settings.market_time(now)), self.metrics_of.get(symbol), now
        )

    async def _publish(self, subject: str, message: Message) -> None:
        try:
            await publish_durable(self.broker, subject, message, message_id=f"{subject}@{message.ts_event.isoformat()}")
        except PublishError as error:
            log.warning("reading.not_published", error=str(error))

    async def probe(self) -> str | None:
        """Ready once chains are known."""
        return None if self.market.chains else "no chain received yet"

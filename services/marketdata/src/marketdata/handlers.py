"""Between the broker's feed and the bus: receive, conflate, publish; read reference data and publish its state."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import nats
import redis.asyncio as redis
from faststream.nats import NatsBroker
from redis.exceptions import RedisError

from chassis.bus import PublishError, publish_durable, raw_client
from chassis.clock import Clock
from chassis.telemetry import get_logger
from marketdata import metrics
from marketdata.domain import EVENT_TYPES, Board, chain_revision, market_metrics, market_session
from marketdata.settings import MarketdataSettings
from optionmath.sessions import market_date
from schemas import subjects
from schemas.base import Message
from schemas.columns import ColumnKind, encode
from schemas.market import FeedStatus, MarketMetrics, MarketSession, OptionChain, TickSize
from tastyclient import BrokerError, Columns, EquitySession, MarketStream, NestedChain, TastyClient

CACHE_SECONDS, STATUS_SECONDS, RETRY_SECONDS = 60, 1.0, 30.0
METRICS_PER_REQUEST = 20
log = get_logger("marketdata")


@dataclass(slots=True)
class Marketdata:
    """State of the service: the board, what the feed says of itself, and where the data goes."""

    settings: MarketdataSettings
    broker: NatsBroker
    client: TastyClient
    cache: redis.Redis | None
    clock: Clock
    stream: MarketStream = field(init=False)
    board: Board = field(default_factory=lambda: Board(()))
    metrics_of: dict[str, MarketMetrics] = field(default_factory=dict)
    connected: bool = False
    reason: str = "not connected yet"
    _last_event: int = 0
    _events: int = 0

    def __post_init__(self) -> None:
        self.stream = MarketStream(self._token, self.on_columns, self.on_status)

    async def _token(self) -> tuple[str, str]:
        token = await self.client.quote_token()
        return token.token, token.dxlink_url

    def on_columns(self, columns: Columns, received: int) -> None:
        """Take the events of one frame."""
        self.board.update(columns.event_type, columns.symbols, columns.values, received)
        self._last_event = received
        self._events += len(columns)
        metrics.events.labels(columns.event_type).inc(len(columns))

    def on_status(self, connected: bool, reason: str) -> None:
        """Remember whether the feed streams and why not."""
        if connected != self.connected:
            log.info("feed.status", connected=connected, reason=reason)
        self.connected, self.reason = connected, reason
        metrics.connected.set(connected)

    async def reference_loop(self) -> None:
        """Read sessions, metrics and chains when due; what fails is skipped alone and read again soon."""
        wanted = [symbol.strip().upper() for symbol in self.settings.universe.split(",") if symbol.strip()]
        due = dict.fromkeys(wanted, 0.0)
        metrics_due = 0.0
        while True:
            await self._guarded("session", self._session)
            if self.clock.monotonic() >= metrics_due:
                await self._guarded("metrics", partial(self._metrics, wanted))
                metrics_due = self.clock.monotonic() + self.settings.metrics_seconds
            late = [symbol for symbol in wanted if self.clock.monotonic() >= due[symbol]]
            chains = {}
            for symbol in late:
                found = await self._chain(symbol)
                pause = self.settings.chains_seconds if found else RETRY_SECONDS
                due[symbol] = self.clock.monotonic() + pause
                if found:
                    chains[symbol] = found
            if chains:
                await self._guarded("chains", partial(self._take_chains, chains))
            await self.clock.sleep(min(RETRY_SECONDS, self.settings.metrics_seconds))

    async def _guarded(self, what: str, read: Callable[[], Awaitable[None]]) -> None:
        try:
            await read()
        except (BrokerError, PublishError, KeyError, ValueError) as error:
            metrics.reference_failures.labels(what).inc()
            log.warning("reference.failed", what=what, error=f"{type(error).__name__}: {error}"[:300])

    async def _session(self) -> None:
        found = await self.client.market_session()
        await self._state(subjects.MD_SESSION, self._session_of(found))

    def _session_of(self, found: EquitySession) -> MarketSession:
        today = market_date(self._market_time())
        return market_session(found.state, found.open_at, found.close_at, self.clock.now(), today)

    def _market_time(self) -> datetime:
        return self.settings.market_time(self.clock.now())

    async def _metrics(self, symbols: list[str]) -> None:
        for start in range(0, len(symbols), METRICS_PER_REQUEST):
            for row in await self.client.market_metrics(symbols[start : start + METRICS_PER_REQUEST]):
                found = market_metrics(row, self.clock.now(), market_date(self._market_time()))
                self.metrics_of[found.underlying_symbol] = found
                await self._state(subjects.md_metrics(found.underlying_symbol), found)

    async def _chain(self, symbol: str) -> OptionChain | None:
        try:
            roots = await self.client.nested_chain(symbol)
        except BrokerError as error:
            metrics.reference_failures.labels("chain").inc()
            log.warning("chain.failed", underlying=symbol, error=str(error)[:300])
            return None
        return self._as_chain(symbol, roots)

    def _as_chain(self, symbol: str, roots: list[NestedChain]) -> OptionChain:
        today = market_date(self._market_time())
        standard = [root for root in roots if root.shares_per_contract == 100]
        rows = [
            (occ, expiration.settlement_type)
            for root in standard
            for expiration in root.expirations
            if 0 <= (expiration.expiration_date - today).days <= self.settings.dte_max
            for strike in expiration.strikes
            for occ in (strike.call, strike.put)
        ]
        symbols = tuple(occ for occ, _ in rows)
        known = self.metrics_of.get(symbol)
        ticks = standard[0].tick_sizes if standard else ()
        return OptionChain(
            ts_event=self.clock.now(),
            underlying_symbol=symbol,
            revision=chain_revision(symbols),
            sector=(known.sector if known else None) or "Unknown",
            tick_sizes=tuple(TickSize(threshold=tick.threshold, value=tick.value) for tick in ticks),
            occ_symbols=symbols,
            settlement_types=tuple(settlement for _, settlement in rows),
        )

    async def _take_chains(self, chains: dict[str, OptionChain]) -> None:
        """Publish chains, then stream them: a reader knows a row before its first value comes."""
        for symbol, chain in chains.items():
            await self._state(subjects.md_chain(symbol), chain)
        board = Board((self.board.chains | chains).values())
        board.keep_values_of(self.board)
        self.board = board
        names = board.streamer_symbols()
        for event_type in EVENT_TYPES:
            self.stream.want(event_type, names)
        metrics.symbols.set(len(names))
        log.info("chains.streamed", underlyings=len(board.chains), symbols=len(names))

    async def flush_loop(self) -> None:
        """Publish what changed; one underlying after the other also in full."""
        interval, full_due = self.settings.flush_ms / 1000, dict[str, float]()
        while True:
            began = self.clock.monotonic()
            for position, symbol in enumerate(list(self.board.chains)):
                spread = position / max(1, len(self.board.chains)) * self.settings.full_batch_seconds
                full = began >= full_due.setdefault(symbol, began + spread)
                if full:
                    full_due[symbol] = began + self.settings.full_batch_seconds
                await self._flush(symbol, full)
            took = self.clock.monotonic() - began
            metrics.flush_seconds.observe(took)
            metrics.conflated.inc(self.board.conflated)
            self.board.conflated = 0
            await self.clock.sleep(max(0.001, interval - took))

    async def _flush(self, symbol: str, full: bool) -> None:
        for kind in ColumnKind:
            batch = self.board.take(symbol, kind, time.time_ns(), full=full)
            if batch is None:
                continue
            try:
                await raw_client(self.broker).publish(subjects.md_columns(kind, symbol), encode(batch))
                metrics.batches.inc()
            except nats.errors.Error:
                metrics.batch_failures.inc()

    async def cache_loop(self) -> None:
        """Keep the last value of everything where a service that starts finds it."""
        while True:
            if self.cache is not None:
                for symbol in list(self.board.chains):
                    await self._keep(self.cache, symbol)
            await self.clock.sleep(self.settings.cache_seconds)

    async def _keep(self, cache: redis.Redis, symbol: str) -> None:
        found = {kind: self.board.everything(symbol, kind, time.time_ns()) for kind in ColumnKind}
        try:
            async with cache.pipeline(transaction=False) as pipe:
                for kind, batch in found.items():
                    if batch is not None:
                        pipe.set(subjects.columns_cache_key(kind, symbol), encode(batch), ex=CACHE_SECONDS)
                await pipe.execute()
        except (RedisError, OSError):
            metrics.batch_failures.inc()

    async def status_loop(self) -> None:
        """Say once a second how the feed is."""
        while True:
            events, self._events = self._events, 0
            last = self._last_event
            status = FeedStatus(
                ts_event=self.clock.now(),
                connected=self.connected,
                reason=self.reason,
                symbols=len(self.board.row_of),
                events_per_second=events / STATUS_SECONDS,
                last_event_at=_instant(last) if last else None,
                reconnects=self.stream.statistics.reconnects,
            )
            try:
                await self._state(subjects.MD_FEED, status)
            except PublishError as error:
                log.warning("feed.status_not_published", error=str(error))
            await self.clock.sleep(STATUS_SECONDS)

    async def _state(self, subject: str, message: Message) -> None:
        identity = f"{subject}@{message.ts_event.isoformat()}"
        await publish_durable(self.broker, subject, message, message_id=identity)

    async def probe(self) -> str | None:
        """Ready when the feed streams and every chain that could be read is subscribed."""
        if not self.board.chains:
            return "no chain read yet"
        return None if self.connected else self.reason

    async def close(self) -> None:
        """Close the broker session and the cache."""
        await self.client.__aexit__()
        if self.cache is not None:
            await self.cache.aclose()


def _instant(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)

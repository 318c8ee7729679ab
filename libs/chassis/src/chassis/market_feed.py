"""Read the market from the bus: chains as state, column batches as they come, the last full ones from the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import redis.asyncio as redis
from faststream.nats import NatsBroker
from nats.aio.msg import Msg
from redis.exceptions import RedisError

from chassis.bus import latest, raw_client
from chassis.telemetry import get_logger
from schemas import subjects
from schemas.columns import ColumnBatch, ColumnError, ColumnKind, decode
from schemas.market import OptionChain
from schemas.symbols import from_token

log = get_logger("chassis.market_feed")


class MarketSink(Protocol):
    """What keeps the columns."""

    def set_chain(self, chain: OptionChain) -> bool:
        """Take a chain; True when it is new."""

    def apply(self, underlying_symbol: str, batch: ColumnBatch) -> None:
        """Take a batch."""


class MarketFeed:
    """Feeds a sink. Add `start` to the service's on_start and `stop` to its on_stop."""

    def __init__(
        self,
        broker: NatsBroker,
        sink: MarketSink,
        redis_url: str | None,
        kinds: Iterable[ColumnKind] = ColumnKind,
        on_batch: Callable[[str, ColumnBatch], None] | None = None,
    ) -> None:
        self._broker, self._sink, self._kinds, self._on_batch = broker, sink, tuple(kinds), on_batch
        self._redis = redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=2) if redis_url else None
        broker.subscriber(**latest(subjects.md_chain(), subjects.STATE))(self._chain)

    async def start(self) -> None:
        """Subscribe to the column batches."""
        client = raw_client(self._broker)
        for kind in self._kinds:
            await client.subscribe(subjects.md_columns(kind), cb=self._columns)

    async def stop(self) -> None:
        """Close the cache's connections."""
        if self._redis is not None:
            await self._redis.aclose()

    async def _chain(self, chain: OptionChain) -> None:
        if self._sink.set_chain(chain):
            await self._warm(chain)

    async def _warm(self, chain: OptionChain) -> None:
        """Take the last full batches from the cache; without a cache the next full ones come within seconds."""
        if self._redis is None:
            return
        try:
            kept = await self._redis.mget([subjects.columns_cache_key(k, chain.underlying_symbol) for k in self._kinds])
        except (RedisError, OSError) as error:
            log.warning("market_feed.cache_unavailable", error=type(error).__name__)
            return
        for data in kept:
            if isinstance(data, bytes):
                self._take(chain.underlying_symbol, data)

    async def _columns(self, message: Msg) -> None:
        self._take(from_token(message.subject.rsplit(".", 1)[1]), message.data)

    def _take(self, underlying_symbol: str, data: bytes) -> None:
        try:
            batch = decode(data)
        except ColumnError as error:
            log.warning("market_feed.bad_batch", underlying=underlying_symbol, error=str(error))
            return
        self._sink.apply(underlying_symbol, batch)
        if self._on_batch is not None:
            self._on_batch(underlying_symbol, batch)

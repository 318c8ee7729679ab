"""A market of live quotes: what `marketdata` publishes on the bus, for orders that trade on paper.

Chains, metrics, the session and the health of the feed are read as state from the stream, quotes as column batches as
they come. Underlyings are listed as they become known; what is not known is NaN. Time is the machine's.

A feed sends what changes. So a quote holds as long as the feed is known to be alive: its age counts from its own time
or, when that is later, from the last moment at which the feed had events and the underlying's batches arrived. When the
feed freezes, every quote grows old and no order fills on it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import nats
import numpy as np
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext
from pydantic import ValidationError

from optionmath.blackscholes import Greeks
from optionmath.sessions import is_open, market_date, previous_session
from schemas import subjects
from schemas.base import Message
from schemas.columns import COLUMNS, ColumnBatch, ColumnError, ColumnKind, decode
from schemas.market import FeedStatus, MarketMetrics, MarketSession, OptionChain, SessionPhase
from schemas.symbols import OptionSymbol, SymbolError, from_token, parse_occ
from strategies.chainfile import ChainFileError
from tastysim.market import Floats, Listed
from tastysim.outside import OutsideMarket, cents, unknown

_RETRY_SECONDS = 1.0
_COLUMNS = {
    ColumnKind.QUOTE: ("bid", "ask", "bid_size", "ask_size"), ColumnKind.TRADE: ("last", "size", "day_volume"),
    ColumnKind.SUMMARY: ("open_interest", "previous_close"),
    ColumnKind.GREEKS: ("iv", "delta", "gamma", "theta", "vega", "rho"),
}  # fmt: skip
_OWN_NAMES = {"day_volume": "volume", "size": "last_size", "previous_close": "previous_close_of"}
M = TypeVar("M", bound=Message)
log = logging.getLogger("tastysim.bus")


@dataclass(slots=True)
class _Book:
    """What is known of one underlying, row 0, and its contracts."""

    chain: OptionChain
    options: list[OptionSymbol]
    columns: dict[ColumnKind, dict[str, Floats]] = field(init=False)
    event_at: Floats = field(init=False)
    """Epoch seconds of each row's last quote."""
    quoted: set[int] = field(default_factory=set)
    """Rows quoted since the last step."""
    traded: set[int] = field(default_factory=set)
    batch_at: float = float("nan")
    dirty: bool = True

    def __post_init__(self) -> None:
        count = len(self.options) + 1
        self.columns = {
            kind: {name: np.full(count, np.nan) for name, _ in layout if name not in ("row", "ts_event")}
            for kind, layout in COLUMNS.items()
        }
        self.event_at = np.full(count, np.nan)

    def keep_values_of(self, older: _Book) -> None:
        """Take over what was known of contracts that are still listed."""
        rows = {option: row for row, option in enumerate(older.options, 1)}
        pairs = [(0, 0), *((row, rows[each]) for row, each in enumerate(self.options, 1) if each in rows)]
        own, theirs = np.array(pairs).T
        for kind, columns in self.columns.items():
            for name, values in columns.items():
                values[own] = older.columns[kind][name][theirs]
        self.event_at[own] = older.event_at[theirs]
        self.batch_at = older.batch_at


class BusMarket(OutsideMarket):
    """The columns of the quotes on the bus. `run` reads them until it is cancelled."""

    def __init__(self, text: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._url = text.removeprefix("bus:")
        parts = urlsplit(self._url)
        if parts.scheme not in ("nats", "tls") or not parts.hostname:
            raise ChainFileError("a bus is written bus:nats://host:port, with user:password@ where it asks for a login")
        self.name = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        """Where it listens, without the login."""
        self._clock = clock
        self._books: dict[str, _Book] = {}
        self._metrics: dict[str, MarketMetrics] = {}
        self._session: MarketSession | None = None
        self._alive_at = float("nan")
        """Epoch seconds of the last event of a feed that was connected."""
        self._closes: dict[tuple[str, date], float] = {}
        self._changed = self._told = False
        super().__init__(clock())
        self.is_open = is_open(self.now)

    async def run(self) -> None:
        """Read the bus; whatever is away is waited for."""
        again = asyncio.Event()

        async def reconnected() -> None:
            again.set()

        async def failed(error: Exception) -> None:
            log.warning("bus %s: %s", self.name, type(error).__name__)

        client = await nats.connect(
            self._url, name="tastysim", max_reconnect_attempts=-1, reconnect_time_wait=_RETRY_SECONDS,
            reconnected_cb=reconnected, error_cb=failed, ping_interval=2, max_outstanding_pings=2,
        )  # fmt: skip
        try:
            for kind in ColumnKind:
                await client.subscribe(subjects.md_columns(kind), cb=self._on_batch)
            while True:
                again.clear()
                states = await self._read_states(client)
                await again.wait()  # a server that came back may have forgotten who reads
                for each in states:
                    await each.unsubscribe()
        finally:
            await client.close()

    async def _read_states(self, client: Client) -> list[JetStreamContext.PushSubscription]:
        takers: dict[str, Callable[[Msg], Awaitable[None]]] = {
            subjects.md_chain(): self._on_state(OptionChain, self.take_chain),
            subjects.md_metrics(): self._on_state(MarketMetrics, self.take_metrics),
            subjects.MD_FEED: self._on_state(FeedStatus, self.take_feed),
            subjects.MD_SESSION: self._on_state(MarketSession, self.take_session),
        }
        found: list[JetStreamContext.PushSubscription] = []
        while len(found) < len(takers):
            try:
                for subject, taker in list(takers.items())[len(found) :]:
                    config = ConsumerConfig(
                        deliver_policy=DeliverPolicy.LAST_PER_SUBJECT, ack_policy=AckPolicy.NONE,
                        inactive_threshold=3600.0,
                    )  # fmt: skip
                    jetstream = client.jetstream()
                    found.append(
                        await jetstream.subscribe(subject, stream=subjects.STATE.name, cb=taker, config=config)
                    )
            except (nats.errors.Error, OSError) as error:
                log.warning("bus %s: its state cannot be read yet (%s)", self.name, type(error).__name__)
                await asyncio.sleep(_RETRY_SECONDS)
        return found

    def _on_state(self, kind: type[M], take: Callable[[M], None]) -> Callable[[Msg], Awaitable[None]]:
        async def taker(message: Msg) -> None:
            try:
                take(kind.model_validate_json(message.data))
            except (ValidationError, SymbolError) as error:
                log.warning("bus %s: %s cannot be read: %s", self.name, message.subject, type(error).__name__)

        return taker

    async def _on_batch(self, message: Msg) -> None:
        try:
            self.take_batch(from_token(message.subject.rsplit(".", 1)[1]), decode(message.data))
        except (ColumnError, SymbolError, IndexError) as error:
            log.warning("bus %s: %s cannot be read: %s", self.name, message.subject, type(error).__name__)

    def take_chain(self, chain: OptionChain) -> None:
        """List the contracts of an underlying from the next step on."""
        held = self._books.get(chain.underlying_symbol)
        if held is not None and held.chain.revision == chain.revision:
            held.chain = chain
            return
        book = _Book(chain, [parse_occ(occ) for occ in chain.occ_symbols])
        if held is not None:
            book.keep_values_of(held)
        self._books[chain.underlying_symbol] = book
        self._changed = True

    def take_batch(self, underlying_symbol: str, batch: ColumnBatch) -> None:
        """Take values of the listed rows; a batch of another list of rows is dropped, the next full one comes."""
        book = self._books.get(underlying_symbol)
        if book is None or book.chain.revision != batch.revision:
            return
        rows = batch.columns["row"].astype(np.intp)
        for name, values in book.columns[batch.kind].items():
            values[rows] = batch.columns[name]
        book.batch_at, book.dirty = self._clock().timestamp(), True
        if batch.kind is ColumnKind.QUOTE:
            at = batch.columns["ts_event"] / 1e9
            book.event_at[rows] = np.where(at > 0, at, book.batch_at)
            book.quoted.update(rows[rows > 0].tolist())
        elif batch.kind is ColumnKind.TRADE:
            book.traded.update(rows[rows > 0].tolist())
        elif batch.kind is ColumnKind.SUMMARY and self.is_open:  # before the opening it may be the one before
            day = previous_session(market_date(self._clock()))
            self._closes[underlying_symbol, day] = float(book.columns[ColumnKind.SUMMARY]["previous_close"][0])

    def take_metrics(self, metrics: MarketMetrics) -> None:
        """Take the broker's figures of an underlying."""
        self._metrics[metrics.underlying_symbol] = metrics
        if metrics.underlying_symbol in self._books:
            self._books[metrics.underlying_symbol].dirty = self._told = True

    def take_session(self, session: MarketSession) -> None:
        """Take the market's session."""
        self._session = session

    def take_feed(self, status: FeedStatus) -> None:
        """Note that the feed is alive."""
        if status.connected and status.last_event_at is not None:
            self._alive_at = status.last_event_at.timestamp()

    def step(self, seconds: float) -> None:
        """Show what has come in; time is the machine's, whatever `seconds` says."""
        self.steps += 1
        self.now = max(self.now, self._clock())
        self.is_open = self._opened()
        if self._changed:
            self._changed = False
            self.relist(
                {name: book.options for name, book in self._books.items()},
                {name: self._listed(name) for name in self._books},
            )
            for book in self._books.values():
                book.dirty = True
        if any(book.dirty for book in self._books.values()):
            for index, name in enumerate(self.rows):
                if self._books[name].dirty:
                    self._show(index, name, self._books[name])
        if self._told:
            self._told = False
            self.listed = tuple(self._listed(name) for name in self.rows)

    def _show(self, index: int, name: str, book: _Book) -> None:
        span, greeks = self.rows[name], {}
        for kind, columns in _COLUMNS.items():
            for column in columns:
                values = book.columns[kind][column][1:]
                if hasattr(self.greeks, column):
                    greeks[column] = values
                else:
                    getattr(self, _OWN_NAMES.get(column, column))[span] = values
        mine = {each: getattr(self.greeks, each).copy() for each in greeks}
        for column, values in greeks.items():
            mine[column][span] = values
        self.greeks = Greeks(**mine)
        self.theoretical[span] = (self.bid[span] + self.ask[span]) / 2
        quote = book.columns[ColumnKind.QUOTE]
        mid, last = (quote["bid"][0] + quote["ask"][0]) / 2, book.columns[ColumnKind.TRADE]["last"][0]
        self.spot[index] = mid if np.isfinite(mid) else last
        self.previous_close[index] = book.columns[ColumnKind.SUMMARY]["previous_close"][0]
        self.day_volume[index] = book.columns[ColumnKind.TRADE]["day_volume"][0]
        known = self._metrics.get(name)
        self.volatility[index] = np.nan if known is None or known.iv_index is None else known.iv_index
        for rows, changed_at in ((book.quoted, self.quoted_at), (book.traded, self.traded_at)):
            changed_at[span.start - 1 + np.fromiter(rows, dtype=np.intp, count=len(rows))] = self.steps
            rows.clear()
        book.dirty = False

    def _listed(self, name: str) -> Listed:
        book, known = self._books[name], self._metrics.get(name)
        index = self.index_of(name)
        price = float("nan") if index is None else float(self.spot[index])
        found = replace(unknown(name), name=book.chain.description, price=price, sector=book.chain.sector)
        if known is None:
            return found
        return replace(
            found, beta=known.beta or 0, volatility=known.historical_volatility_30d or 0,
            sector=known.sector or found.sector, dividend_yield=known.dividend_yield or 0.0,
            iv_rank=known.iv_rank if known.iv_rank is not None else float("nan"),
        )  # fmt: skip

    def _opened(self) -> bool:
        """As the broker says; by the calendar while it has said nothing."""
        if self._session is None:
            return is_open(self.now)
        closes = self._session.closes_at
        return self._session.phase is SessionPhase.OPEN and (closes is None or self.now < closes)

    def spot_quote(self, index: int) -> tuple[float, float]:
        """Bid and ask of an underlying; NaN where they are not known."""
        quote = self._books[self.listed[index].symbol].columns[ColumnKind.QUOTE]
        return float(quote["bid"][0]), float(quote["ask"][0])

    def quote_age(self, symbol: str) -> float:
        """Seconds since the quote was last known to hold; NaN when it never was."""
        row = self.row_of.get(symbol)
        name = symbol if row is None else self.listed[int(self.underlying[row])].symbol
        book = self._books.get(name)
        if book is None:
            return float("nan")
        own = float(book.event_at[0 if row is None else row - self.rows[name].start + 1])
        confirmed = min(self._alive_at, book.batch_at) if np.isfinite(self._alive_at) else float("nan")
        return float(self.now.timestamp() - np.fmax(own, confirmed)) if np.isfinite(own) else float("nan")

    def settlement(self, symbol: str, day: date) -> Decimal | None:
        """The close that the feed names once the next session has opened."""
        return cents(self._closes.get((symbol, day), float("nan")))

    def waits_for(self, symbols: Iterable[str]) -> str | None:
        """Which of these has no price yet; None when all have one."""
        for symbol in symbols:
            row = self.row_of.get(symbol)
            index = self.index_of(symbol) if row is None else int(self.underlying[row])
            if row is None and index is None:
                index = self.index_of(symbol[:6].rstrip())
            quoted = row is not None and np.isfinite(self.theoretical[row])
            if not quoted and (index is None or not np.isfinite(self.spot[index])):
                return symbol
        return None

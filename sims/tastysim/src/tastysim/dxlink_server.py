"""DXLink, server side: every connection of the simulator. A slow reader gets the newest values, never a backlog."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Protocol

import numpy as np
import orjson
from fastapi import WebSocketDisconnect

from tastysim.dxlink_candles import CandleBook
from tastysim.dxlink_columns import FeedColumns, Ints
from tastysim.dxlink_events import BY_COLUMN, FIELDS, EventEncoder, events_body, frame
from tastysim.dxlink_session import Answer, Channel, FeedLimits, Session, Wrong, config
from tastysim.dxlink_tape import Tape
from tastysim.dxlink_underlyings import profile, series, underlying
from tastysim.dxlink_views import (
    CandleReader,
    ChannelState,
    Layouts,
    View,
    fitting,
    rows_of,
    subscribed_rows,
    wanted_candles,
)
from tastysim.market import Market

EVENTS_PER_FRAME = 500
_LOOK_SECONDS = 0.25
_SNAPSHOT_FLAGS = 4 | 8
"""A snapshot of one event begins and ends with it."""
_SLACK = 0.9
"""Share of an aggregation period after which a step of the market is not put off to the next."""


class Socket(Protocol):
    """What is needed of a websocket: starlette's, or one that stands before it."""

    async def accept(self) -> None:
        """Let the client in."""

    async def receive_text(self) -> str:
        """The next text message. WebSocketDisconnect at the end, KeyError for one that is no text."""

    async def send_text(self, data: str) -> None:
        """Send a message."""

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Say goodbye."""


class Feed:
    """All DXLink connections of the simulator.

    until: when a quote token ends, epoch seconds; None = it is refused. limits: what a user may ask for.
    """

    def __init__(self, market: Market, until: Callable[[str], float | None], limits: FeedLimits | None = None) -> None:
        self.columns = FeedColumns(market)
        self.encoder = EventEncoder(self.columns)
        self.candles = CandleBook(self.columns)
        self.tape = Tape(self.columns)
        self.layouts = Layouts(self.columns)
        self._until, self._limits = until, limits or FeedLimits()
        self._connections: set[_Connection] = set()

    def tick(self) -> None:
        """Tell every connection that the market moved."""
        self.columns.refresh()
        self.encoder.refresh()
        self.tape.record()
        self.candles.record()
        for connection in self._connections:
            connection.tick()

    def sessions(self) -> int:
        """Connections whose token was accepted."""
        return sum(each.session.authorized for each in self._connections)

    async def serve(self, socket: Socket) -> None:
        """Speak DXLink with one client until it leaves."""
        await socket.accept()
        connection = _Connection(self, socket, Session(self._until, self._limits, self.sessions))
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            connection.leave()


class _Connection:
    """One client: reads its messages, sends what it is owed, watches for silence."""

    def __init__(self, feed: Feed, socket: Socket, session: Session) -> None:
        self.session = session
        self._feed, self._socket = feed, socket
        self._moved, self._ticked = asyncio.Event(), False
        self._sending = asyncio.Lock()
        """Whoever waits is served in order: a frame in old fields never follows the news of new ones."""
        self._states: dict[int, tuple[Channel, ChannelState]] = {}
        self._heard = self._told = time.monotonic()

    def tick(self) -> None:
        """The market moved."""
        self._ticked = True
        self._moved.set()

    async def run(self) -> None:
        """Until the client leaves or is sent away."""
        tasks = [asyncio.create_task(work()) for work in (self._read, self._push, self._watch)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for each in ended:
            if isinstance(each, Exception) and not isinstance(each, WebSocketDisconnect | RuntimeError | OSError):
                raise each

    def leave(self) -> None:
        """Nobody reads the candles any more."""
        for number in list(self._states):
            self._forget(number)

    async def _read(self) -> None:
        while self.session.closing is None:
            try:
                text: object = await self._socket.receive_text()
            except KeyError:
                text = None
            self._heard = time.monotonic()
            for answer in self.session.take(text):
                await self._say(answer)
            self._moved.set()
        await self._close()

    async def _watch(self) -> None:
        """Send signs of life, end a connection that is silent or whose token has ended."""
        session = self.session
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            silent = now - self._heard
            if silent > session.patience_seconds:
                text = f"The timeout has been reached. The message was last received {silent:.0f} seconds ago."
                await self._send_away(Wrong("TIMEOUT", text, closes=True))
                return
            if time.time() >= session.token_ends:
                await self._send_away(Wrong("UNAUTHORIZED", "the token has expired", closes=True))
                return
            if now - self._told > session.client_patience_seconds / 3 and session.set_up:
                await self._say({"type": "KEEPALIVE", "channel": 0})

    async def _send_away(self, wrong: Wrong) -> None:
        for answer in self.session.refuse(wrong):
            await self._say(answer)
        await self._close()

    async def _close(self) -> None:
        with suppress(WebSocketDisconnect, RuntimeError, OSError):
            await self._socket.close(1000, (self.session.closing or "")[:100])

    async def _say(self, answer: Answer) -> None:
        await self._send(orjson.dumps(answer).decode())

    async def _send(self, text: str) -> None:
        async with self._sending:
            await self._socket.send_text(text)
            self._told = time.monotonic()

    async def _push(self) -> None:
        while True:
            await self._moved.wait()
            self._moved.clear()
            ticked, self._ticked = self._ticked, False
            for closed in self._states.keys() - self.session.channels.keys():
                self._forget(closed)
            for number, channel in list(self.session.channels.items()):
                state = self._state(number, channel)
                now = time.monotonic()
                due = ticked and now >= state.next_at
                if due:
                    state.next_at = now + _SLACK * channel.period_seconds
                for kind, body in self._owed(channel, state, due):
                    if self.session.channels.get(number) is not channel:
                        break
                    if kind not in channel.announced:
                        channel.announced.add(kind)
                        await self._say(config(channel, {kind: list(channel.names(kind))}))
                    await self._send(frame(number, body))
                    await asyncio.sleep(0)  # others have their turn between the frames of a snapshot

    def _state(self, number: int, channel: Channel) -> ChannelState:
        """What is kept of a channel; of one that was closed and opened again, nothing."""
        found = self._states.get(number)
        if found is None or found[0] is not channel:
            self._forget(number)
            found = self._states[number] = channel, ChannelState(tape_page=self._feed.tape.number)
        return found[1]

    def _forget(self, number: int) -> None:
        _, state = self._states.pop(number, (None, ChannelState()))
        for reader in state.candles.values():
            self._feed.candles.leave(reader.running)

    def _owed(self, channel: Channel, state: ChannelState, due: bool) -> Iterator[tuple[str, bytes]]:
        """Bodies to send now, by event type: what was subscribed just now, and what is due."""
        fresh, channel.fresh = channel.fresh, []
        kinds = {kind for kind, _ in fresh} | (set(channel.symbols) if due else set())
        kinds |= {"Candle"} if state.candles else set()
        for kind in [each for each in FIELDS if each in kinds]:
            names = [symbol for each, symbol in fresh if each == kind]
            if kind == "Candle":
                yield from self._owed_candles(channel, state, names, due)
            elif kind == "TimeAndSale":
                yield from self._owed_trades(channel, state, names, due)
            else:
                yield from self._owed_rows(channel, state, kind, names, due)

    def _owed_rows(
        self, channel: Channel, state: ChannelState, kind: str, names: list[str], due: bool
    ) -> Iterator[tuple[str, bytes]]:
        columns = self._feed.columns
        flags = _SNAPSHOT_FLAGS if channel.has_snapshots(kind) else 0
        if names:
            wild = "*" in names
            rows = subscribed_rows(channel, kind, columns) if wild else fitting(kind, rows_of(names, columns), columns)
            yield from self._bodies(channel, kind, rows, flags)
        if not due:
            return
        held = state.views.get(kind)
        if held is None or (held.version, held.generation) != (channel.version, columns.generation):
            layout, relisted = self._feed.layouts.of(channel, kind), held is not None
            if held is not None and held.generation == columns.generation:
                last, relisted = held.last_step, False
            else:
                last = columns.market.steps
            held = state.views[kind] = View(layout, channel.version, columns.generation, last)
            if relisted:
                yield from self._bodies(channel, kind, layout.rows, flags)
        yield from self._bodies(channel, kind, held.due(columns), 0)

    def _bodies(self, channel: Channel, kind: str, rows: Ints, flags: int) -> Iterator[tuple[str, bytes]]:
        generation = self._feed.columns.generation
        for start in range(0, len(rows), EVENTS_PER_FRAME):
            if self._feed.columns.generation != generation:
                return  # rows have a new meaning: the next view owes what appeared
            part, names = rows[start : start + EVENTS_PER_FRAME], channel.names(kind)
            if kind in BY_COLUMN:
                yield kind, self._feed.encoder.rows(kind, names, part, compact=channel.compact, flags=flags)
            else:
                yield from self._told_one_by_one(channel, kind, part, flags)

    def _told_one_by_one(self, channel: Channel, kind: str, rows: Ints, flags: int) -> Iterator[tuple[str, bytes]]:
        columns, at = self._feed.columns, int(time.time() * 1000)
        events = []
        for row in rows.tolist():
            if kind == "Series":
                events += series(columns, row, at, snapshot=bool(flags))
            else:
                event = profile(columns, row) if kind == "Profile" else underlying(columns, row, at)
                events += [] if event is None else [event | ({"eventFlags": flags} if flags else {})]
        yield from self._given(channel, kind, events)

    def _given(self, channel: Channel, kind: str, events: list[dict[str, object]]) -> Iterator[tuple[str, bytes]]:
        for start in range(0, len(events), EVENTS_PER_FRAME):
            part = events[start : start + EVENTS_PER_FRAME]
            yield kind, events_body(kind, channel.names(kind), part, compact=channel.compact)

    def _owed_trades(
        self, channel: Channel, state: ChannelState, names: list[str], due: bool
    ) -> Iterator[tuple[str, bytes]]:
        tape, columns = self._feed.tape, self._feed.columns
        symbols = channel.symbols.get("TimeAndSale", {})
        for name in names if channel.contract == "HISTORY" else ():
            row, since = columns.row(name), symbols.get(name)
            if row is not None and since is not None:
                past = tape.since(int(since), row)
                if past:
                    past[0]["eventFlags"] |= 4
                    past[-1]["eventFlags"] |= 8
                yield from self._given(channel, "TimeAndSale", past)
        if not due:
            return
        if state.tape_wanted is None or (state.tape_version, state.tape_generation) != (
            channel.version, columns.generation
        ):  # fmt: skip
            wanted = np.zeros(columns.size, np.bool_)
            wanted[subscribed_rows(channel, "TimeAndSale", columns)] = True
            state.tape_wanted, state.tape_version = wanted, channel.version
            state.tape_generation = columns.generation
        page, state.tape_page = state.tape_page, tape.number
        yield from self._given(channel, "TimeAndSale", list(tape.after(page, state.tape_wanted)))

    def _owed_candles(
        self, channel: Channel, state: ChannelState, names: list[str], due: bool
    ) -> Iterator[tuple[str, bytes]]:
        book, wanted = self._feed.candles, wanted_candles(channel)
        for gone in [each for each in state.candles if each not in wanted]:
            book.leave(state.candles.pop(gone).running)
        events = []
        for canonical, (symbol, from_ms) in wanted.items():
            reader = state.candles.get(canonical)
            if reader is None or reader.from_ms != from_ms:
                if reader is not None:
                    book.leave(reader.running)
                reader = state.candles[canonical] = CandleReader(symbol, book.follow(symbol), from_ms)
                bar = reader.running.bar
                if channel.has_snapshots("Candle"):
                    since = from_ms if from_ms is not None else float(bar.start) if bar is not None else 0.0
                    yield from self._given(channel, "Candle", book.snapshot(reader.running, since))
                    reader.seen = None if bar is None else (bar.start, bar.version)
            if due:
                changes = book.update(reader.running, reader.seen)
                events += changes
                if changes and (bar := reader.running.bar) is not None:
                    reader.seen = bar.start, bar.version
        yield from self._given(channel, "Candle", events)

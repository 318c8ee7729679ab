"""DXLink and the account stream, server side. A slow reader gets the newest values, never a backlog."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from fastapi import WebSocket, WebSocketDisconnect

from tastysim.market import Market

EVENTS_PER_FRAME = 500
RESEND_STEPS = 24
"""An unchanged value is sent again after so many steps, so that a reader can tell quiet from stale."""
PACE_STEPS = {"Quote": 1, "Greeks": 8, "Trade": 4, "Summary": 240}
"""Least number of steps between two values of one symbol."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Subscribed contracts as rows, in the order of their symbols; and symbols that are no contract."""

    rows: npt.NDArray[np.int64]
    symbols: list[str]
    others: list[str]


@dataclass(slots=True)
class _Channel:
    """One feed channel: what it subscribes to and how it wants its data."""

    compact: bool = True
    fields: dict[str, list[str]] = field(default_factory=dict)
    symbols: dict[str, set[str]] = field(default_factory=dict)
    fresh: list[tuple[str, str]] = field(default_factory=list)
    """Subscribed since the last frame: their current value is due at once."""
    layout: dict[str, _Layout] = field(default_factory=dict)
    """Rows of what is subscribed, per event type; made anew after a change."""


class Feed:
    """All DXLink connections of the simulator."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._ticks: set[asyncio.Event] = set()

    def tick(self) -> None:
        """Tell every connection that the market moved."""
        for event in self._ticks:
            event.set()

    async def serve(self, socket: WebSocket) -> None:
        """Speak DXLink with one client until it leaves."""
        await socket.accept()
        channels: dict[int, _Channel] = {}
        moved = asyncio.Event()
        self._ticks.add(moved)
        pushing = asyncio.create_task(self._push(socket, channels, moved))
        try:
            while True:
                message = orjson.loads(await socket.receive_text())
                try:
                    answers = list(self._answer(message, channels, moved))
                except (AttributeError, KeyError, TypeError, ValueError):
                    answers = [_error(0, "INVALID_MESSAGE", "the message cannot be read")]
                for answer in answers:
                    await socket.send_text(orjson.dumps(answer).decode())
        except (WebSocketDisconnect, orjson.JSONDecodeError, RuntimeError):
            pass
        finally:
            self._ticks.discard(moved)
            pushing.cancel()

    def _answer(
        self, message: dict[str, Any], channels: dict[int, _Channel], moved: asyncio.Event
    ) -> Iterable[dict[str, Any]]:
        kind, number = message.get("type"), int(message.get("channel", 0))
        if kind == "SETUP":
            yield {
                "type": "SETUP",
                "channel": 0,
                "keepaliveTimeout": 60,
                "acceptKeepaliveTimeout": 60,
                "version": "1.0-sim",
            }
            yield {"type": "AUTH_STATE", "channel": 0, "state": "UNAUTHORIZED"}
        elif kind == "AUTH":
            known = str(message.get("token", "")).startswith("dx-sim-")
            yield {"type": "AUTH_STATE", "channel": 0, "state": "AUTHORIZED" if known else "UNAUTHORIZED"}
        elif kind == "CHANNEL_REQUEST" and number % 2 == 0:
            yield _error(number, "BAD_ACTION", "the protocol was violated: an even channel was requested")
        elif kind == "CHANNEL_REQUEST":
            channels[number] = _Channel()
            contract = (message.get("parameters") or {}).get("contract", "AUTO")
            yield {"type": "CHANNEL_OPENED", "channel": number, "service": "FEED", "parameters": {"contract": contract}}
        elif kind == "CHANNEL_CANCEL" and channels.pop(number, None) is not None:
            yield {"type": "CHANNEL_CLOSED", "channel": number}
        elif kind == "FEED_SETUP" and number in channels:
            channel = channels[number]
            channel.compact = message.get("acceptDataFormat", "COMPACT") == "COMPACT"
            channel.fields |= message.get("acceptEventFields") or {}
            config = {"type": "FEED_CONFIG", "channel": number, "aggregationPeriod": 0.1}
            yield config | {"dataFormat": "COMPACT" if channel.compact else "FULL", "eventFields": channel.fields}
        elif kind == "FEED_SUBSCRIPTION" and number in channels:
            self._subscribe(channels[number], message)
            moved.set()
        elif kind == "KEEPALIVE":
            yield {"type": "KEEPALIVE", "channel": 0}
        else:
            yield _error(number, "BAD_ACTION", f"{kind} is not known or not allowed now")

    def _subscribe(self, channel: _Channel, message: dict[str, Any]) -> None:
        channel.layout.clear()
        if message.get("reset"):
            channel.symbols.clear()
        for row in message.get("remove") or ():
            channel.symbols.get(row["type"], set()).discard(row["symbol"])
        for row in message.get("add") or ():
            channel.symbols.setdefault(row["type"], set()).add(row["symbol"])
            channel.fresh.append((row["type"], row["symbol"]))

    async def _push(self, socket: WebSocket, channels: dict[int, _Channel], moved: asyncio.Event) -> None:
        sent: dict[tuple[int, str], npt.NDArray[np.int64]] = {}
        while True:
            await moved.wait()
            moved.clear()
            for number, channel in list(channels.items()):
                fresh, channel.fresh = channel.fresh, []
                for kind in list(channel.symbols):
                    steps = sent.setdefault((number, kind), np.full(len(self._market.strike), -1, dtype=np.int64))
                    due = self._due(kind, channel, steps)
                    new = {symbol for each, symbol in fresh if each == kind}
                    events = [event for symbol in {*due, *new} if (event := self._event(kind, symbol)) is not None]
                    for start in range(0, len(events), EVENTS_PER_FRAME):
                        frame = _frame(number, channel, kind, events[start : start + EVENTS_PER_FRAME])
                        await socket.send_text(orjson.dumps(frame).decode())

    def _due(self, kind: str, channel: _Channel, steps: npt.NDArray[np.int64]) -> list[str]:
        """Subscribed symbols whose value changed since it was sent, and those not sent for a while."""
        market, layout = self._market, channel.layout.get(kind)
        if layout is None:
            wanted = sorted(channel.symbols[kind])
            own = [symbol for symbol in wanted if symbol in market.row_of_streamer]
            rows = np.array([market.row_of_streamer[symbol] for symbol in own], dtype=np.int64)
            layout = channel.layout[kind] = _Layout(rows, own, sorted(set(wanted) - set(own)))
        pace, rows = PACE_STEPS.get(kind, 1), layout.rows
        changed = {"Quote": market.quoted_at, "Greeks": market.quoted_at, "Trade": market.traded_at}.get(kind)
        elapsed = market.steps - steps[rows]
        chosen = elapsed >= max(pace, RESEND_STEPS) + rows % RESEND_STEPS
        if changed is not None:
            chosen |= (changed[rows] > steps[rows]) & (elapsed >= pace)
        steps[rows[chosen]] = market.steps
        return layout.others + [layout.symbols[index] for index in np.nonzero(chosen)[0]]

    def _event(self, kind: str, symbol: str) -> dict[str, Any] | None:
        market, at = self._market, int(time.time() * 1000)
        row = market.row_of_streamer.get(symbol)
        if row is not None:
            makers: dict[str, Callable[[], dict[str, Any]]] = {
                "Quote": lambda: _quote(
                    float(market.bid[row]), float(market.ask[row]), market.bid_size[row], market.ask_size[row], at
                ),
                "Greeks": lambda: {
                    "price": _known(market.theoretical[row], 4),
                    "volatility": _known(market.iv[row], 6),
                    **{
                        name: _known(getattr(market.greeks, name)[row], 6)
                        for name in ("delta", "gamma", "theta", "rho", "vega")
                    },
                    "time": at,
                    "index": at << 22,
                    "sequence": 0,
                    "eventTime": 0,
                    "eventFlags": 0,
                },
                "Trade": lambda: _trade(float(market.theoretical[row]), float(market.volume[row]), at),
                "Summary": lambda: _summary(float(market.open_interest[row]), float(market.theoretical[row])),
            }
        else:
            index = market.index_of(symbol)
            if index is None:
                return None
            bid, ask = market.spot_quote(index)
            makers = {
                "Quote": lambda: _quote(bid, ask, 400, 400, at),
                "Trade": lambda: _trade(round((bid + ask) / 2, 2), float(market.day_volume[index]), at),
                "Summary": lambda: _summary(0, float(market.previous_close[index])),
            }
        return {"eventType": kind, "eventSymbol": symbol, **makers[kind]()} if kind in makers else None


def _error(channel: int, kind: str, message: str) -> dict[str, Any]:
    return {"type": "ERROR", "channel": channel, "error": kind, "message": message}


def _known(value: float, digits: int) -> float | str:
    """A number, or the feed's word for a missing one."""
    return round(float(value), digits) if math.isfinite(value) else "NaN"


def _quote(bid: float, ask: float, bid_size: float, ask_size: float, at: int) -> dict[str, Any]:
    return {
        "eventTime": 0, "sequence": 0, "timeNanoPart": 0,
        "bidTime": at, "bidExchangeCode": "Q", "bidPrice": _known(bid, 4), "bidSize": _known(bid_size, 2),
        "askTime": at, "askExchangeCode": "Q", "askPrice": _known(ask, 4), "askSize": _known(ask_size, 2),
    }  # fmt: skip


def _trade(price: float, volume: float, at: int) -> dict[str, Any]:
    return {
        "eventTime": 0, "time": at, "timeNanoPart": 0, "sequence": 0, "exchangeCode": "Q", "price": _known(price, 2),
        "change": 0.0, "size": 1.0, "dayId": 0, "dayVolume": _known(volume, 0), "dayTurnover": "NaN",
        "tickDirection": "ZERO_UP", "extendedTradingHours": False,
    }  # fmt: skip


def _summary(open_interest: float, previous: float) -> dict[str, Any]:
    return {
        "eventTime": 0, "dayId": 0, "dayOpenPrice": "NaN", "dayHighPrice": "NaN", "dayLowPrice": "NaN",
        "dayClosePrice": "NaN", "dayClosePriceType": "REGULAR", "prevDayId": 0,
        "prevDayClosePrice": _known(previous, 2), "prevDayClosePriceType": "REGULAR", "prevDayVolume": "NaN",
        "openInterest": _known(open_interest, 0),
    }  # fmt: skip


def _frame(number: int, channel: _Channel, kind: str, events: list[dict[str, Any]]) -> dict[str, Any]:
    names = channel.fields.get(kind)
    if not channel.compact:
        return {"type": "FEED_DATA", "channel": number, "data": events}
    names = names or list(events[0])
    flat = [event.get(name) for event in events for name in names]
    return {"type": "FEED_DATA", "channel": number, "data": [kind, flat]}


@dataclass(eq=False, slots=True)
class _Listener:
    """One connection to the account stream: what it listens to, and what waits to be sent."""

    accounts: set[str] = field(default_factory=set)
    waiting: asyncio.Queue[dict[str, Any]] = field(default_factory=lambda: asyncio.Queue(1000))


class AccountStream:
    """All account-stream connections; pushes in the broker's shapes."""

    def __init__(self) -> None:
        self._listeners: set[_Listener] = set()

    def push(self, kind: str, data: dict[str, Any]) -> None:
        """Send a notification to everyone who is connected to its account; a full queue loses its oldest."""
        account = data.get("account-number")
        for listener in self._listeners:
            if account is not None and account not in listener.accounts:
                continue
            if listener.waiting.full():
                listener.waiting.get_nowait()
            listener.waiting.put_nowait({"type": kind, "data": data, "timestamp": int(time.time() * 1000)})

    async def serve(self, socket: WebSocket) -> None:
        """Speak with one client until it leaves."""
        await socket.accept()
        listener = _Listener()
        sending = asyncio.create_task(self._send(socket, listener.waiting))
        try:
            while True:
                answer = self._answer(orjson.loads(await socket.receive_text()), listener)
                await socket.send_text(orjson.dumps(answer).decode())
        except (WebSocketDisconnect, orjson.JSONDecodeError, AttributeError, RuntimeError):
            pass
        finally:
            self._listeners.discard(listener)
            sending.cancel()

    def _answer(self, message: dict[str, Any], listener: _Listener) -> dict[str, Any]:
        action, value = str(message.get("action", "")), message.get("value")
        answer = {"action": action, "web-socket-session-id": "sim", "request-id": message.get("request-id")}
        if action in ("connect", "account-subscribe"):
            listener.accounts |= {value} if isinstance(value, str) else set(value or ())
            self._listeners.add(listener)
            return answer | {"status": "ok", "value": value}
        if listener not in self._listeners:
            return answer | {"status": "error", "message": "connect-not-completed"}
        if action not in (
            "heartbeat",
            "public-watchlists-subscribe",
            "quote-alerts-subscribe",
            "user-message-subscribe",
        ):
            return answer | {"status": "error", "message": "not implemented"}
        return answer | {"status": "ok"}

    async def _send(self, socket: WebSocket, queue: asyncio.Queue[dict[str, Any]]) -> None:
        while True:
            await socket.send_text(orjson.dumps(await queue.get()).decode())

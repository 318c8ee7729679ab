"""Faults of REST requests, around the application: what the broker does not see, and what the client does not hear."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tastysim.faults import (
    ErrorAfter,
    ErrorBefore,
    ExpireToken,
    GarbledReply,
    HoldRequest,
    HoldResponse,
    Occasion,
    RefuseLogin,
    ResetAfter,
    ResetBefore,
    SkewClock,
    Throttle,
)
from tastysim.faults_frames import FrameFaults, reset, transport_of
from tastysim.faults_installed import Faults, Installed
from tastysim.faults_orders import OrderFaults, reading
from tastysim.faults_skew import skewed

_ACCOUNT, _ORDER = re.compile(r"/accounts/([^/]+)"), re.compile(r"/accounts/[^/]+/orders/(\d+)$")
_HTML = b"<html><head><title>%d</title></head><body><center><h1>%d</h1></center><hr></body></html>"
_GONE_SECONDS = 0.02
"""Until the server has noticed that a connection is gone and asks for no answer."""
_SUPPORT = "An internal server error occurred. Please contact support. Reference: sim"


@dataclass(slots=True)
class _Answer:
    """What the application answered, held back."""

    start: Message
    body: bytes

    @property
    def status(self) -> int:
        return int(self.start["status"])


class FaultyApi(FastAPI):
    """The application behind its faults. Without faults a request passes with one look."""

    faults: RequestFaults | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        faults = self.faults
        if faults is None or scope["type"] == "lifespan" or (scope["type"] == "http" and not faults.any):
            await super().__call__(scope, receive, send)
        elif scope["type"] == "websocket":
            await faults.frames.serve(super().__call__, scope, receive, send)
        else:
            await faults.serve(super().__call__, scope, receive, send)


class RequestFaults:
    """Faults of requests. `revoke` ends an access token."""

    def __init__(self, faults: Faults, orders: OrderFaults, revoke: Callable[[str], None]) -> None:
        self._faults, self._orders, self._revoke = faults, orders, revoke
        self.frames = FrameFaults(faults)

    @property
    def any(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self._faults.installed) or self._orders.is_busy

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request with everything that strikes it."""
        if scope["path"].startswith("/sim/"):
            await app(scope, receive, send)
            return
        body = await _read(receive) if scope["method"] in ("POST", "PUT", "PATCH") else b""
        occasion = _occasion(scope, body)
        refusal = self._before(occasion)
        if refusal is not None:
            self._faults.flush()
            await refusal(send)
            return
        hold = self._faults.strike(HoldRequest, occasion)
        self._faults.flush()
        if hold is not None:
            await asyncio.sleep(hold.seconds)
        if _ORDER.search(occasion.path) and occasion.method != "GET":
            self._orders.before_change(occasion)
        answer = await self._answer(app, scope, _again(body, receive), occasion)
        await self._after(answer, occasion, receive, send)

    def _before(self, occasion: Occasion) -> Callable[[Send], Awaitable[None]] | None:
        """How a request is refused without the broker; None = it is not."""
        strike = self._faults.strike
        if strike(Throttle, occasion, when=lambda each: _beyond(each, occasion.token)):
            return _error(429, {"code": "too_many_requests", "message": "Too many requests"})
        login = strike(RefuseLogin, occasion)
        if login is not None:
            return _json(401, {"error_code": login.code, "error_description": "Grant revoked"})
        error = strike(ErrorBefore, occasion)
        if error is not None:
            return _failure(error.status, error.content)
        if strike(ResetBefore, occasion):
            return _reset
        expiry = strike(ExpireToken, occasion, when=lambda each: _moment(each) == "before")
        if expiry is not None:
            self._revoke(occasion.token)
        return None

    async def _answer(self, app: ASGIApp, scope: Scope, receive: Receive, occasion: Occasion) -> _Answer:
        """The application's answer; reads see accounts as the faults show them."""
        start: Message = {}
        parts: list[bytes] = []

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                parts.append(message.get("body", b""))

        mark = reading.set(occasion.method == "GET")
        try:
            await app(scope, receive, keep)
        finally:
            reading.reset(mark)
        return _Answer(start, b"".join(parts))

    async def _after(self, answer: _Answer, occasion: Occasion, receive: Receive, send: Send) -> None:
        """Tell the client what it is to hear."""
        strike = self._faults.strike
        occasion, told = _with_order(occasion, answer), {"answer": answer.status}
        if strike(ExpireToken, occasion, told, when=lambda each: _moment(each) == "after"):
            self._revoke(occasion.token)
        hold = strike(HoldResponse, occasion, told)
        error = strike(ErrorAfter, occasion, told)
        cut = strike(ResetAfter, occasion, told)
        skew = strike(SkewClock, occasion, told)
        garbled = strike(GarbledReply, occasion, told)
        self._faults.flush()
        if hold is not None and hold.seconds is None:
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        if hold is not None and hold.seconds is not None:
            await asyncio.sleep(hold.seconds)
        if error is not None:
            await _failure(error.status, error.content)(send)
            return
        if cut is not None:
            await _reset(send)
            return
        if skew is not None:
            answer = _skewed_answer(answer, skew.seconds, send)
        if garbled is not None:
            answer = _resized(answer, answer.body[: len(answer.body) // 2])
        await send(answer.start)
        await send({"type": "http.response.body", "body": answer.body})


def _moment(each: Installed) -> str:
    return each.fault.moment if isinstance(each.fault, ExpireToken) else ""


def _beyond(each: Installed, token: str) -> bool:
    """Whether a token has used up its rate; without a rate every request has."""
    fault = each.fault
    if not isinstance(fault, Throttle) or fault.requests_per_second is None:
        return True
    now = time.monotonic()
    level, at = each.buckets.get(token, (float(fault.burst), now))
    level = min(float(fault.burst), level + (now - at) * fault.requests_per_second)
    beyond = level < 1
    each.buckets[token] = (level if beyond else level - 1, now)
    return beyond


def _occasion(scope: Scope, body: bytes) -> Occasion:
    path = scope["path"]
    account, order = _ACCOUNT.search(path), _ORDER.search(path)
    headers = dict(scope["headers"])
    return Occasion(
        account=account[1] if account else None, method=scope["method"], path=path,
        order_id=int(order[1]) if order else None, external_identifier=_identifier(body),
        token=headers.get(b"authorization", b"").decode(errors="replace").removeprefix("Bearer "),
    )  # fmt: skip


def _identifier(body: bytes) -> str | None:
    try:
        found = orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        return None
    return found.get("external-identifier") if isinstance(found, dict) else None


def _with_order(occasion: Occasion, answer: _Answer) -> Occasion:
    """The occasion with the order that the answer is about."""
    if occasion.order_id is not None or not answer.body or answer.body[:1] != b"{" or occasion.method == "GET":
        return occasion
    data = orjson.loads(answer.body).get("data")
    order = data.get("order", data) if isinstance(data, dict) else None
    number = order.get("id") if isinstance(order, dict) else None
    return replace(occasion, order_id=number) if isinstance(number, int) else occasion


async def _read(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)
    return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body first."""
    given = False

    async def once_more() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once_more


async def _reset(send: Send) -> None:
    reset(transport_of(send))
    await asyncio.sleep(_GONE_SECONDS)


def _error(status: int, error: dict[str, str]) -> Callable[[Send], Awaitable[None]]:
    return _json(status, {"error": error})


def _json(status: int, content: Any) -> Callable[[Send], Awaitable[None]]:
    return _plain(status, b"application/json", orjson.dumps(content))


def _failure(status: int, content: str) -> Callable[[Send], Awaitable[None]]:
    """A server error as a proxy (html), the broker (json) or nobody (empty) words it."""
    if content == "json":
        return _error(status, {"code": "internal_server_error", "message": _SUPPORT})
    return _plain(status, b"text/html", _HTML % (status, status) if content == "html" else b"")


def _plain(status: int, kind: bytes, body: bytes) -> Callable[[Send], Awaitable[None]]:
    async def answer(send: Send) -> None:
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer


def _resized(answer: _Answer, body: bytes) -> _Answer:
    headers = [each for each in answer.start["headers"] if each[0] != b"content-length"]
    return _Answer({**answer.start, "headers": [*headers, (b"content-length", str(len(body)).encode())]}, body)


def _skewed_answer(answer: _Answer, seconds: float, send: Send) -> _Answer:
    """Every time in the answer moved, the one of its `Date` too."""
    if answer.body[:1] == b"{":
        answer = _resized(answer, orjson.dumps(skewed(orjson.loads(answer.body), seconds)))
    cycle: Any = getattr(send, "__self__", None)
    own = getattr(cycle, "default_headers", None)
    if own is not None:  # uvicorn's own Date would be a second one
        cycle.default_headers = [each for each in own if each[0] != b"date"]
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    return _Answer({**answer.start, "headers": [*answer.start["headers"], (b"date", date.encode())]}, answer.body)

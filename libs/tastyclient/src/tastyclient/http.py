"""One way to send a request: token, throttle, envelope, and an error that says whether it had an effect."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Any

import httpx
import orjson

from tastyclient.auth import TokenSource
from tastyclient.errors import (
    AuthenticationError,
    BrokerError,
    MalformedReplyError,
    NotFoundError,
    NotSentError,
    Reason,
    RejectedError,
    ThrottledError,
    UnknownOutcomeError,
)
from tastyclient.settings import ClientSettings

Json = Any
"""Decoded JSON of the broker: untrusted until a model has read it."""
Parameter = str | int | bool | date | Sequence[str] | None
"""None is left out; a list repeats a bracketed key; a date-time without zone is UTC."""
Parameters = Mapping[str, Parameter]

_PROVEN_REFUSALS = frozenset({400, 403, 404, 406, 415, 422})
_BACK_OFF_SECONDS = (0.2, 0.8, 2.0)
PAGES_MAX = 1_000
"""No list is this long: a server that claims more is not believed."""


class Transport:
    """Sends requests for one login. Use as an async context manager."""

    def __init__(self, settings: ClientSettings) -> None:
        self.settings = settings
        headers = {"User-Agent": settings.user_agent, "Accept": "application/json"}
        if settings.accept_version:
            headers["Accept-Version"] = settings.accept_version
        self._http = httpx.AsyncClient(
            base_url=settings.base_url,
            headers=headers,
            timeout=httpx.Timeout(
                settings.read_timeout_seconds,
                connect=settings.connect_timeout_seconds,
                write=settings.write_timeout_seconds,
            ),
            follow_redirects=False,
            trust_env=False,
        )
        self.tokens = TokenSource(settings, self._http)
        self._bucket = _Bucket(settings.requests_per_second, settings.burst)
        self.on_response: Callable[[httpx.Response], None] | None = None
        """Told of every answer before it is read; must not raise."""

    async def __aenter__(self) -> Transport:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self._http.aclose()

    async def get(self, path: str, parameters: Parameters | None = None) -> Json:
        """`data` of a GET. Passing faults are tried again; a refusal is not."""
        return (await self._read(path, parameters))["data"]

    async def pages(
        self, path: str, parameters: Parameters | None = None, *, limit: int | None = None
    ) -> AsyncIterator[Json]:
        """Items of every page of a list, at most `limit`. Raises MalformedReplyError beyond PAGES_MAX pages."""
        left = limit
        for page in range(PAGES_MAX):
            envelope = await self._read(path, {**(parameters or {}), "page-offset": page})
            data = envelope["data"]
            if not isinstance(data, dict) or not isinstance(data.get("items"), list):
                raise MalformedReplyError(f"GET {path}: the page has no `items`")
            for item in data["items"]:
                if left == 0:
                    return
                left = None if left is None else left - 1
                yield item
            if left == 0 or page >= _total_pages(path, envelope.get("pagination")) - 1:
                return
        raise MalformedReplyError(f"GET {path}: more than {PAGES_MAX} pages")

    async def send(self, method: str, path: str, body: Json = None) -> Json:
        """`data` of a request with an effect. Sent once; the error's `outcome` says what is known."""
        return (await self._once(method, path, None, body))["data"]

    async def _read(self, path: str, parameters: Parameters | None) -> Json:
        for attempt in range(self.settings.reads_max_attempts):
            try:
                return await self._once("GET", path, parameters, None)
            except (NotSentError, UnknownOutcomeError):
                if attempt == self.settings.reads_max_attempts - 1:
                    raise
            except AuthenticationError as error:
                if error.status != 401 or attempt:
                    raise
            await asyncio.sleep(_BACK_OFF_SECONDS[min(attempt, len(_BACK_OFF_SECONDS) - 1)])
        raise AssertionError("unreachable")

    async def _once(self, method: str, path: str, parameters: Parameters | None, body: Json) -> Json:
        await self._bucket.take()
        try:
            token = await self.tokens.token()
        except UnknownOutcomeError as error:  # of the login: the request itself has not begun
            raise NotSentError(f"{method} {path} was not sent: {error}") from error
        try:
            response = await self._http.request(
                method,
                path,
                params=_query(parameters),
                json=body,
                headers={"Authorization": f"Bearer {token}"},
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise NotSentError(f"{method} {path} was not sent ({type(error).__name__})") from error
        except httpx.HTTPError as error:
            raise UnknownOutcomeError(f"{method} {path} got no answer ({type(error).__name__})") from error
        if self.on_response is not None:
            self.on_response(response)
        if response.status_code == 401:
            self.tokens.invalidate(token)
        return _envelope(method, path, response)


def _query(parameters: Parameters | None) -> httpx.QueryParams:
    """Lists repeat a bracketed key: symbol[]=AAPL&symbol[]=SPY."""
    pairs: list[tuple[str, str | int | float | bool | None]] = []
    for key, value in (parameters or {}).items():
        if value is None:
            continue
        if isinstance(value, str | int | date):
            pairs.append((key, _text(value)))
        else:
            pairs.extend((f"{key}[]", each) for each in value)
    return httpx.QueryParams(pairs)


def _text(value: str | int | date) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else str(value)


def _total_pages(path: str, pagination: Json) -> int:
    """Pages of a list; one when it is not paginated."""
    if not pagination:
        return 1
    try:
        return int(pagination["total-pages"])
    except (KeyError, TypeError, ValueError):
        raise MalformedReplyError(f"GET {path}: the pagination cannot be read") from None


def _envelope(method: str, path: str, response: httpx.Response) -> Json:
    """The decoded envelope of a success; otherwise the error that the status proves."""
    where = f"{method} {path}"
    status = response.status_code
    try:
        content = orjson.loads(response.content) if response.content else {}
    except orjson.JSONDecodeError:
        content = None
    if 200 <= status < 300:
        if status == 204:
            return {"data": None}
        if not isinstance(content, dict) or "data" not in content:
            raise MalformedReplyError(f"{where}: the answer has no readable `data`", status=status)
        return content
    code, message, reasons = _explanation(content)
    kind: type[BrokerError] = UnknownOutcomeError
    if status == 401 or (status == 403 and content is not None):
        kind = AuthenticationError
    elif status == 404 and content is not None:
        kind = NotFoundError
    elif status == 429:
        kind = ThrottledError
    elif status in _PROVEN_REFUSALS and content is not None:
        kind = RejectedError
    raise kind(f"{where}: {message}", status=status, code=code, reasons=reasons)


def _explanation(content: Json) -> tuple[str, str, list[Reason]]:
    error = content.get("error") if isinstance(content, dict) else None
    if not isinstance(error, dict):
        return "", "no explanation", []
    reasons = [
        Reason(str(each.get("code") or each.get("domain") or ""), str(each.get("message") or each.get("reason") or ""))
        for each in error.get("errors") or []
        if isinstance(each, dict)
    ]
    return str(error.get("code", "")), str(error.get("message", "no explanation")), reasons


class _Bucket:
    """Token bucket: waits its turn instead of being refused."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second, self._burst = per_second, float(burst)
        self._level, self._at = float(burst), time.monotonic()

    async def take(self) -> None:
        now = time.monotonic()
        self._level = min(self._burst, self._level + (now - self._at) * self._per_second)
        self._at = now
        self._level -= 1
        if self._level < 0:
            await asyncio.sleep(-self._level / self._per_second)

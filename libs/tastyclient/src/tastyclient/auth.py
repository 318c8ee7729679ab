"""OAuth access tokens: refreshed early, by one caller at a time, and never in a loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httpx
import orjson

from tastyclient.errors import AuthenticationError, NotSentError, UnknownOutcomeError
from tastyclient.settings import ClientSettings

EARLY_SECONDS = 60.0
ATTEMPTS_MAX = 3


class TokenSource:
    """Access tokens from a refresh token. After three refusals in a row it refuses by itself until `reset`.

    Repeated failed logins get an address blocked for hours, so a wrong secret must never be tried again and again.
    """

    def __init__(
        self, settings: ClientSettings, http: httpx.AsyncClient, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._http = http
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._token = ""
        self._expires = 0.0
        self._refusals = 0

    async def token(self) -> str:
        """A token valid for at least a minute. Raises AuthenticationError, NotSentError or UnknownOutcomeError."""
        if self._monotonic() >= self._expires - EARLY_SECONDS:
            async with self._lock:
                if self._monotonic() >= self._expires - EARLY_SECONDS:
                    await self._refresh()
        return self._token

    def invalidate(self, token: str) -> None:
        """The broker refused this token: the next caller refreshes, unless somebody already has."""
        if token == self._token:
            self._expires = 0.0

    def reset(self) -> None:
        """A person has corrected the credentials: try again."""
        self._refusals = 0

    async def _refresh(self) -> None:
        if self._refusals >= ATTEMPTS_MAX:
            raise AuthenticationError(
                f"{ATTEMPTS_MAX} logins were refused: correct the client secret and the refresh token, then start again"
            )
        body = {
            "grant_type": "refresh_token",
            "client_secret": self._settings.client_secret.get_secret_value(),
            "refresh_token": self._settings.refresh_token.get_secret_value(),
        }
        asked = self._monotonic()
        try:
            response = await self._http.post("/oauth/token", json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise NotSentError(f"{self._settings.base_url} cannot be reached ({type(error).__name__})") from error
        except httpx.HTTPError as error:
            raise UnknownOutcomeError(f"the login got no answer ({type(error).__name__})") from error
        if response.status_code in (400, 401, 403):
            self._refusals += 1
            raise AuthenticationError("the login was refused", status=response.status_code, code=_code(response))
        if response.status_code != 200:
            raise UnknownOutcomeError("the login failed", status=response.status_code)
        try:
            grant = orjson.loads(response.content)
            self._token, lifetime = str(grant["access_token"]), float(grant["expires_in"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise UnknownOutcomeError("the login's answer cannot be read", status=200) from error
        self._expires, self._refusals = asked + lifetime, 0


def _code(response: httpx.Response) -> str:
    try:
        return str(orjson.loads(response.content).get("error_code", ""))
    except (orjson.JSONDecodeError, AttributeError):
        return ""

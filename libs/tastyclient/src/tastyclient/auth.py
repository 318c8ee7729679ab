"""OAuth access tokens: refreshed early, by one caller at a time, and never in a loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson
from pydantic import SecretStr

from tastyclient.errors import AuthenticationError, NotSentError, UnknownOutcomeError
from tastyclient.settings import ClientSettings, Scope

EARLY_SECONDS = 60.0
ATTEMPTS_MAX = 3


@dataclass(frozen=True, slots=True)
class Grant:
    """What a login gives. Only the authorization-code grant gives a refresh token; it never expires."""

    access_token: SecretStr
    expires_in_seconds: float
    refresh_token: SecretStr | None = None
    id_token: SecretStr | None = None


def authorization_url(consent_page: str, client_id: str, redirect_uri: str, scopes: Sequence[Scope], state: str) -> str:
    """Where to send a person who shall allow this client to use the account.

    The broker sends the person back to `redirect_uri` with `code` and `state`; compare `state` before using the code.
    """
    asked = {
        "response_type": "code", "client_id": client_id, "redirect_uri": redirect_uri, "state": state,
        "scope": " ".join(scopes),
    }  # fmt: skip
    return f"{consent_page}?{urlencode(asked)}"


async def exchange_code(
    base_url: str, *, code: str, client_id: str, client_secret: SecretStr, redirect_uri: str,
    user_agent: str = "tastytrades/0.1.0", timeout_seconds: float = 15.0,
) -> Grant:  # fmt: skip
    """Turn the code of a consent into tokens, once: a code is good for one exchange.

    Raises AuthenticationError, NotSentError or UnknownOutcomeError; after the last one ask for a new consent.
    """
    body = {
        "grant_type": "authorization_code", "code": code, "client_id": client_id,
        "client_secret": client_secret.get_secret_value(), "redirect_uri": redirect_uri,
    }  # fmt: skip
    headers = {"User-Agent": user_agent, "Accept": "application/json"}
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=timeout_seconds, trust_env=False) as http:
        return await _grant(http, body)


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
        settings = self._settings
        body = {
            "grant_type": "refresh_token",
            "client_secret": settings.client_secret.get_secret_value(),
            "refresh_token": settings.refresh_token.get_secret_value(),
        }
        if settings.client_id:
            body["client_id"] = settings.client_id
        if settings.scopes:
            body["scope"] = " ".join(settings.scopes)
        asked = self._monotonic()
        try:
            grant = await _grant(self._http, body)
        except AuthenticationError:
            self._refusals += 1
            raise
        self._token = grant.access_token.get_secret_value()
        self._expires, self._refusals = asked + grant.expires_in_seconds, 0


async def _grant(http: httpx.AsyncClient, body: dict[str, str]) -> Grant:
    try:
        response = await http.post("/oauth/token", json=body)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise NotSentError(f"{http.base_url} cannot be reached ({type(error).__name__})") from error
    except httpx.HTTPError as error:
        raise UnknownOutcomeError(f"the login got no answer ({type(error).__name__})") from error
    if response.status_code in (400, 401, 403):
        code, why = _refusal(response)
        raise AuthenticationError(f"the login was refused {why}".rstrip(), status=response.status_code, code=code)
    if response.status_code != 200:
        raise UnknownOutcomeError("the login failed", status=response.status_code)
    try:
        found: Any = orjson.loads(response.content)
        access, lifetime = str(found["access_token"]), float(found["expires_in"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise UnknownOutcomeError("the login's answer cannot be read", status=200) from error
    return Grant(SecretStr(access), lifetime, _secret(found.get("refresh_token")), _secret(found.get("id_token")))


def _secret(value: object) -> SecretStr | None:
    return SecretStr(value) if isinstance(value, str) else None


def _refusal(response: httpx.Response) -> tuple[str, str]:
    """Code and description of an OAuth error: it has no `error` object."""
    try:
        found = orjson.loads(response.content)
        return str(found.get("error_code", "")), str(found.get("error_description", ""))
    except (orjson.JSONDecodeError, AttributeError):
        return "", ""

"""Who may ask: OAuth tokens with their scopes, and codes of the consent page, each good for one exchange."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import orjson

from tastysim.settings import SimSettings

TOKEN_SECONDS = 900
SCOPES = ("read", "trade", "openid")


class LoginRefused(Exception):
    """An OAuth error: its own shape, without an `error` object."""

    def __init__(self, status: int, code: str, description: str) -> None:
        self.status = status
        self.body = {"error_code": code, "error_description": description}
        super().__init__(code)


@dataclass(slots=True)
class Tokens:
    """Access tokens that live, with the scopes they were given."""

    settings: SimSettings
    _live: dict[str, tuple[datetime, frozenset[str]]] = field(default_factory=dict)
    _codes: dict[str, tuple[str, frozenset[str]]] = field(default_factory=dict)
    _quote: dict[str, float] = field(default_factory=dict)

    def scopes(self, token: str) -> frozenset[str] | None:
        """Scopes of a token; None when it is unknown or older than fifteen minutes."""
        ends, scopes = self._live.get(token, (datetime.min.replace(tzinfo=UTC), frozenset[str]()))
        return scopes if ends >= datetime.now(UTC) else None

    def revoke(self, token: str) -> None:
        """End a token before its time."""
        self._live.pop(token, None)

    def quote_token(self) -> tuple[str, datetime, datetime]:
        """A token for the market-data stream, when it was issued and when it ends."""
        issued = datetime.now(UTC)
        ends = issued + timedelta(seconds=self.settings.quote_token_seconds)
        self._quote = {token: until for token, until in self._quote.items() if until > issued.timestamp()}
        token = f"dx-sim-{secrets.token_urlsafe(24)}"
        self._quote[token] = ends.timestamp()
        return token, issued, ends

    def may_stream_until(self, token: str) -> float | None:
        """When a quote token ends, epoch seconds; None when it is unknown or has ended."""
        ends = self._quote.get(token)
        return ends if ends is not None and ends > datetime.now(UTC).timestamp() else None

    def consent(self, redirect_uri: str, scopes: str) -> str:
        """The code that the consent page would hand out."""
        code = secrets.token_urlsafe(16)
        self._codes[code] = (redirect_uri, _known(scopes))
        return code

    def login(self, content: bytes, content_type: str) -> dict[str, Any]:
        """Answer a token request in JSON or form encoding. Raises LoginRefused."""
        body = _decoded(content, content_type)
        kind = body.get("grant_type", "refresh_token")
        if body.get("client_secret") != self.settings.client_secret:
            raise LoginRefused(401, "invalid_client", "Client authentication failed")
        if kind == "refresh_token":
            if body.get("refresh_token") != self.settings.refresh_token:
                raise LoginRefused(401, "invalid_grant", "Grant revoked")
            return self._issue(_known(str(body.get("scope") or " ".join(SCOPES))))
        if kind != "authorization_code":
            raise LoginRefused(400, "unsupported_grant_type", f"{kind} is not supported")
        redirect, scopes = self._codes.pop(str(body.get("code")), ("", frozenset[str]()))
        if not redirect or redirect != body.get("redirect_uri"):
            raise LoginRefused(400, "invalid_grant", "The code is unknown, used or belongs to another redirect")
        more = {"refresh_token": self.settings.refresh_token}
        if "openid" in scopes:
            more["id_token"] = f"id-{secrets.token_urlsafe(16)}"
        return self._issue(scopes) | more

    def _issue(self, scopes: frozenset[str]) -> dict[str, Any]:
        now = datetime.now(UTC)
        self._live = {token: found for token, found in self._live.items() if found[0] >= now}
        token = f"sim-{secrets.token_urlsafe(24)}"
        self._live[token] = (now + timedelta(seconds=TOKEN_SECONDS), scopes)
        return {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS}


def _known(scopes: str) -> frozenset[str]:
    found = frozenset(scopes.split())
    if not found or not found <= set(SCOPES):
        raise LoginRefused(400, "invalid_scope", f"{scopes!r} is not a list of {', '.join(SCOPES)}")
    return found


def _decoded(content: bytes, content_type: str) -> dict[str, Any]:
    if "form-urlencoded" in content_type:
        return dict(parse_qsl(content.decode(errors="replace")))
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise LoginRefused(400, "invalid_request", "not JSON") from None
    if not isinstance(found, dict):
        raise LoginRefused(400, "invalid_request", "not an object")
    return found

"""The broker as the guardian knows it: who I am, what works, and take it away. Nothing here can place an order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from guardian.domain import WorkingOrder, read_order

EARLY_SECONDS = 60.0
REFUSED_MAX = 3
"""Logins refused in a row, after which none is tried for a while: repeated ones get an address blocked."""
REFUSED_PAUSE_SECONDS = 120.0
PAGES_MAX = 200


class BrokerFault(RuntimeError):
    """The broker did not do what it was asked; the text says what is known."""


class CancelOnlyBroker:
    """One login that reads orders and cancels them: GET, DELETE and the login itself are all it ever sends."""

    def __init__(self, base_url: str, secret: SecretStr, token: SecretStr, timeout_seconds: float) -> None:
        self._secret, self._refresh = secret, token
        self._http = httpx.AsyncClient(
            base_url=base_url,
            headers={"User-Agent": "tastytrades-guardian/0.1.0", "Accept": "application/json"},
            timeout=httpx.Timeout(timeout_seconds, connect=2.0),
            trust_env=False,
        )
        self._access, self._expires = "", 0.0
        self._refusals, self._not_before = 0, 0.0
        self._login = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def accounts(self) -> list[str]:
        """Numbers of the open accounts of the login. Raises BrokerFault."""
        data = (await self._ask("GET", "/customers/me/accounts")).get("data")
        rows = [row.get("account") for row in _items(data)]
        return [
            str(row["account-number"]) for row in rows
            if isinstance(row, Mapping) and row.get("account-number") and not row.get("is-closed")
        ]  # fmt: skip

    async def working_orders(self, account_number: str) -> list[WorkingOrder]:
        """Every order that can still fill, all pages. Raises BrokerFault or UnreadableOrderError."""
        found: list[WorkingOrder] = []
        for page in range(PAGES_MAX):
            path = f"{_orders(account_number)}/live?per-page=200&page-offset={page}"
            envelope = await self._ask("GET", path)
            read = (read_order(row, account_number) for row in _items(envelope.get("data")))
            found += [order for order in read if order is not None]
            pages = (envelope.get("pagination") or {}).get("total-pages", 1)
            if page + 1 >= int(pages):
                return found
        raise BrokerFault(f"the list of {account_number} does not end")

    async def cancel(self, account_number: str, order_id: str) -> None:
        """Ask for a cancellation; may be asked again at will. Raises BrokerFault."""
        await self._ask("DELETE", f"{_orders(account_number)}/{order_id}")

    async def _ask(self, method: str, path: str) -> dict[str, Any]:
        response = await self._send(method, path)
        if response.status_code == 401:  # a token may end early, once
            self._expires = 0.0
            response = await self._send(method, path)
        if not response.is_success:
            raise BrokerFault(f"{method} {path.partition('?')[0]}: {response.status_code} {response.text[:200]}")
        try:
            found = response.json() if response.content else {}
        except ValueError:
            raise BrokerFault(f"{method} {path.partition('?')[0]}: the answer cannot be read") from None
        return found if isinstance(found, dict) else {}

    async def _send(self, method: str, path: str) -> httpx.Response:
        token = await self._token()
        try:
            return await self._http.request(method, path, headers={"Authorization": f"Bearer {token}"})
        except httpx.HTTPError as error:
            raise BrokerFault(f"{method} {path.partition('?')[0]}: {type(error).__name__}") from None

    async def _token(self) -> str:
        async with self._login:
            if time.monotonic() < self._expires - EARLY_SECONDS:
                return self._access
            if time.monotonic() < self._not_before:
                raise BrokerFault(f"{REFUSED_MAX} logins were refused: correct the guardian's grant")
            asked = time.monotonic()
            body = {
                "grant_type": "refresh_token",
                "client_secret": self._secret.get_secret_value(),
                "refresh_token": self._refresh.get_secret_value(),
            }
            try:
                response = await self._http.post("/oauth/token", json=body)
                found = response.json() if response.is_success else {}
            except (httpx.HTTPError, ValueError) as error:
                raise BrokerFault(f"the login got no answer ({type(error).__name__})") from None
            if response.status_code in (400, 401, 403):
                self._refusals += 1
                if self._refusals >= REFUSED_MAX:
                    self._refusals, self._not_before = 0, asked + REFUSED_PAUSE_SECONDS
            if not isinstance(found, dict) or "access_token" not in found:
                raise BrokerFault(f"the login failed with {response.status_code}")
            self._access, self._refusals = str(found["access_token"]), 0
            self._expires = asked + float(found.get("expires_in", 900))
            return self._access


def _items(data: object) -> list[Mapping[str, Any]]:
    rows = data.get("items") if isinstance(data, Mapping) else None
    if not isinstance(rows, list):
        raise BrokerFault("the list has no `items`")
    return [row for row in rows if isinstance(row, Mapping)]


def _orders(account_number: str) -> str:
    return f"/accounts/{quote(account_number, safe='')}/orders"

"""The endpoints, typed."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from tastyclient.errors import MalformedReplyError
from tastyclient.http import Json, Transport
from tastyclient.models import (
    Account,
    Balance,
    EquitySession,
    NestedChain,
    NewOrder,
    PlacedOrder,
    Position,
    QuoteToken,
    Wire,
)
from tastyclient.settings import ClientSettings

W = TypeVar("W", bound=Wire)


class TastyClient:
    """One login at the broker. Use as an async context manager.

    Every method raises a `BrokerError`; for those with an effect its `outcome` says whether the effect is ruled out.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self.transport = Transport(settings)

    async def __aenter__(self) -> TastyClient:
        return self

    async def __aexit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.transport.__aexit__(*error)

    async def accounts(self) -> list[Account]:
        """Accounts of the login, closed ones left out."""
        rows = (await self.transport.get("/customers/me/accounts"))["items"]
        return [account for row in rows if not (account := _read(Account, row["account"])).is_closed]

    async def balance(self, account_number: str) -> Balance:
        """Balances in dollars."""
        return _read(Balance, await self.transport.get(f"/accounts/{account_number}/balances/USD"))

    async def positions(self, account_number: str) -> list[Position]:
        rows = (await self.transport.get(f"/accounts/{account_number}/positions"))["items"]
        return [_read(Position, row) for row in rows]

    async def nested_chain(self, symbol: str) -> list[NestedChain]:
        """One chain per root."""
        rows = (await self.transport.get(f"/option-chains/{quote(symbol, safe='')}/nested"))["items"]
        return [_read(NestedChain, row) for row in rows]

    async def market_metrics(self, symbols: Sequence[str]) -> list[Json]:
        """Metrics as the broker sends them; many fields are absent for many symbols."""
        rows: list[Json] = (await self.transport.get("/market-metrics", {"symbols": ",".join(symbols)}))["items"]
        return rows

    async def market_session(self) -> EquitySession:
        """The equities session that runs now, and the next one."""
        return _read(EquitySession, await self.transport.get("/market-time/equities/sessions/current"))

    async def access_token(self) -> str:
        """Bearer token for the account stream, valid for at least a minute."""
        return await self.transport.tokens.token()

    async def quote_token(self) -> QuoteToken:
        """Token and address for DXLink, good for 24 hours."""
        return _read(QuoteToken, await self.transport.get("/api-quote-tokens"))

    async def dry_run(self, account_number: str, order: NewOrder) -> Json:
        """What the broker would say: warnings, fees, effect on buying power. Has no effect."""
        return await self.transport.send("POST", f"/accounts/{account_number}/orders/dry-run", order.body())

    async def submit(self, account_number: str, order: NewOrder) -> PlacedOrder:
        """Send an order, once."""
        data = await self.transport.send("POST", f"/accounts/{account_number}/orders", order.body())
        return _read(PlacedOrder, data.get("order"))

    async def replace(self, account_number: str, order_id: int, order: NewOrder) -> PlacedOrder:
        """Replace a working order; the answer is the new order. Any fill of the old one aborts it."""
        return _read(
            PlacedOrder,
            await self.transport.send("PUT", f"/accounts/{account_number}/orders/{order_id}", order.body()),
        )

    async def cancel(self, account_number: str, order_id: int) -> PlacedOrder:
        """Ask for a cancellation; the order may still fill."""
        return _read(PlacedOrder, await self.transport.send("DELETE", f"/accounts/{account_number}/orders/{order_id}"))

    async def order(self, account_number: str, order_id: int) -> PlacedOrder:
        return _read(PlacedOrder, await self.transport.get(f"/accounts/{account_number}/orders/{order_id}"))

    async def live_orders(self, account_number: str) -> list[PlacedOrder]:
        """Every order created or updated today, in any state, and older working ones; all pages."""
        pages = self.transport.pages(f"/accounts/{account_number}/orders/live", {"per-page": 100})
        return [_read(PlacedOrder, row) async for row in pages]


def _read(model: type[W], data: Json) -> W:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MalformedReplyError(
            f"{model.__name__}.{where}: {first['msg']}, got {first.get('input')!r}"[:500]
        ) from None

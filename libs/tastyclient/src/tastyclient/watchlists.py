"""Watchlists (own, public, pairs) and quote alerts."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import quote

from tastyclient.http import Transport
from tastyclient.wire import Quantity, Record, Reference, Wire, items, read


class WatchlistEntry(Record):
    symbol: str
    instrument_type: Reference | None = None


class Watchlist(Record):
    """A named list of symbols. The broker sends null for an empty one."""

    name: str
    watchlist_entries: tuple[WatchlistEntry, ...] = ()
    group_name: str = "default"
    order_index: int = 9999

    @property
    def symbols(self) -> list[str]:
        """Of every entry, in order."""
        return [each.symbol for each in self.watchlist_entries]


class PairsEquation(Record):
    """Two legs that are watched together."""

    left_action: str
    left_symbol: str
    left_quantity: Quantity
    right_action: str
    right_symbol: str
    right_quantity: Quantity


class PairsWatchlist(Record):
    name: str
    order_index: int = 9999
    pairs_equations: tuple[PairsEquation, ...] = ()


class NewAlert(Wire):
    """Tell when a field of a symbol passes a threshold: $ for prices, a fraction for IV."""

    symbol: str
    field: Literal["Last", "Bid", "Ask", "IV"] = "Last"
    operator: Literal[">", "<"]
    threshold: Decimal
    instrument_type: str = "Equity"
    dx_symbol: str | None = None

    def body(self) -> dict[str, Any]:
        """JSON body."""
        found: dict[str, Any] = {
            "symbol": self.symbol, "field": self.field, "operator": self.operator,
            "threshold": format(self.threshold, "f"), "instrument-type": self.instrument_type,
        }  # fmt: skip
        return found | ({"dx-symbol": self.dx_symbol} if self.dx_symbol else {})


class QuoteAlert(Record):
    """An alert and what became of it."""

    alert_external_id: str
    symbol: str
    field: str
    operator: str
    threshold: Decimal
    instrument_type: Reference | None = None
    dx_symbol: str | None = None
    user_external_id: str | None = None
    created_at: datetime | None = None
    triggered_at: datetime | None = None
    completed_at: datetime | None = None
    dismissed_at: datetime | None = None
    expired_at: datetime | None = None
    expires_at: datetime | None = None


class WatchlistsApi:
    """Endpoints of watchlists and alerts. What has an effect is sent once; its errors carry an `outcome`."""

    transport: Transport

    async def watchlists(self) -> list[Watchlist]:
        """The login's own watchlists."""
        return items(Watchlist, await self.transport.get("/watchlists"))

    async def watchlist(self, name: str) -> Watchlist:
        """One of the login's own. Raises NotFoundError."""
        return read(Watchlist, await self.transport.get(f"/watchlists/{_part(name)}"))

    async def create_watchlist(self, watchlist: Watchlist) -> Watchlist:
        """Raises RejectedError when the name exists."""
        return read(Watchlist, await self.transport.send("POST", "/watchlists", _body(watchlist)))

    async def replace_watchlist(self, name: str, watchlist: Watchlist) -> Watchlist:
        """Replace everything of a watchlist, its name included. Raises NotFoundError."""
        return read(Watchlist, await self.transport.send("PUT", f"/watchlists/{_part(name)}", _body(watchlist)))

    async def delete_watchlist(self, name: str) -> None:
        """Raises NotFoundError."""
        await self.transport.send("DELETE", f"/watchlists/{_part(name)}")

    async def public_watchlists(self, *, counts_only: bool = False) -> list[Watchlist]:
        """Watchlists of the broker; without their entries when only counts are asked for."""
        return items(Watchlist, await self.transport.get("/public-watchlists", {"counts-only": counts_only}))

    async def public_watchlist(self, name: str) -> Watchlist:
        """One watchlist of the broker. Raises NotFoundError."""
        return read(Watchlist, await self.transport.get(f"/public-watchlists/{_part(name)}"))

    async def pairs_watchlists(self) -> list[PairsWatchlist]:
        """Pairs watchlists of the broker."""
        return items(PairsWatchlist, await self.transport.get("/pairs-watchlists"))

    async def pairs_watchlist(self, name: str) -> PairsWatchlist:
        """One pairs watchlist. Raises NotFoundError."""
        return read(PairsWatchlist, await self.transport.get(f"/pairs-watchlists/{_part(name)}"))

    async def quote_alerts(self) -> list[QuoteAlert]:
        """Alerts of the login, triggered ones included."""
        return items(QuoteAlert, await self.transport.get("/quote-alerts"))

    async def create_quote_alert(self, alert: NewAlert) -> QuoteAlert:
        return read(QuoteAlert, await self.transport.send("POST", "/quote-alerts", alert.body()))

    async def delete_quote_alert(self, alert_external_id: str) -> None:
        """Raises NotFoundError."""
        await self.transport.send("DELETE", f"/quote-alerts/{_part(alert_external_id)}")


def _body(watchlist: Watchlist) -> dict[str, Any]:
    return watchlist.model_dump(mode="json", by_alias=True, exclude_none=True)


def _part(text: str) -> str:
    return quote(text, safe="")

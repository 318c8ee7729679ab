"""Watchlists and quote alerts over REST, kept on disk. The simulator publishes no lists of its own."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from tastysim.answers import body_of, many, one
from tastysim.brokerage import Brokerage
from tastysim.orders import Refusal, invalid

_DEFAULTS: dict[str, Any] = {"watchlist-entries": [], "group-name": "default", "order-index": 9999}


def routes(brokerage: Brokerage) -> APIRouter:
    """Every route of lists and alerts."""
    api, store = APIRouter(), brokerage.store

    def known(name: str) -> dict[str, Any]:
        found = store.named("watchlists").get(name)
        if found is None:
            raise Refusal(404, "record_not_found", f"Couldn't find watchlist {name}")
        return found

    @api.get("/watchlists")
    async def watchlists(request: Request) -> Response:
        return many(request, store.named("watchlists").values())

    @api.post("/watchlists")
    async def create(request: Request) -> Response:
        row = _watchlist(await body_of(request))
        if row["name"] in store.named("watchlists"):
            raise Refusal(422, "validation_error", f"A watchlist with the name {row['name']} exists")
        store.put("watchlists", row["name"], row)
        return one(request, row, 201)

    @api.get("/watchlists/{name:path}")
    async def watchlist(request: Request, name: str) -> Response:
        return one(request, known(name))

    @api.put("/watchlists/{name:path}")
    async def replace(request: Request, name: str) -> Response:
        known(name)
        row = _watchlist(await body_of(request))
        store.put("watchlists", name, None)
        store.put("watchlists", row["name"], row)
        return one(request, row)

    @api.delete("/watchlists/{name:path}")
    async def delete(request: Request, name: str) -> Response:
        row = known(name)
        store.put("watchlists", name, None)
        return one(request, row)

    @api.get("/public-watchlists")
    @api.get("/pairs-watchlists")
    async def published(request: Request) -> Response:
        return many(request, [])

    @api.get("/public-watchlists/{name:path}")
    @api.get("/pairs-watchlists/{name:path}")
    async def one_published(name: str) -> Response:
        raise Refusal(404, "record_not_found", f"Couldn't find watchlist {name}")

    @api.get("/quote-alerts")
    async def alerts(request: Request) -> Response:
        return many(request, brokerage.alerts.values())

    @api.post("/quote-alerts")
    async def add_alert(request: Request) -> Response:
        return one(request, brokerage.add_alert(await body_of(request), brokerage.market.now), 201)

    @api.delete("/quote-alerts/{identity}")
    async def delete_alert(identity: str) -> Response:
        brokerage.delete_alert(identity)
        return Response(status_code=204)

    return api


def _watchlist(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict) or not isinstance(body.get("name"), str) or not body["name"]:
        raise invalid("name", "is missing")
    entries = body.get("watchlist-entries") or []
    if not isinstance(entries, list) or not all(isinstance(each, dict) and each.get("symbol") for each in entries):
        raise invalid("watchlist-entries", "symbol is missing")
    kept = {name: body[name] for name in ("group-name", "order-index") if body.get(name) is not None}
    return {"name": body["name"], **_DEFAULTS, **kept, "watchlist-entries": entries}

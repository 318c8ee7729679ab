"""Watchlists and quote alerts over REST, kept on disk; and the lists that the simulator publishes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from tastysim import published
from tastysim.answers import body_of, flag, many, one
from tastysim.brokerage import Brokerage
from tastysim.followers import FollowedMarket
from tastysim.orders import Refusal, invalid

_DEFAULTS: dict[str, Any] = {"watchlist-entries": [], "group-name": "default", "order-index": 9999}


def routes(brokerage: Brokerage, market: FollowedMarket) -> APIRouter:
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
    async def public(request: Request) -> Response:
        rows = published.public(market).values()
        if not flag(request, "counts-only"):
            return many(request, rows)
        return many(
            request, [{**row, "watchlist-entries": None, "count": len(row["watchlist-entries"])} for row in rows]
        )

    @api.get("/public-watchlists/{name:path}")
    async def one_public(request: Request, name: str) -> Response:
        return one(request, _found(published.public(market), name))

    @api.get("/pairs-watchlists")
    async def pairs(request: Request) -> Response:
        return many(request, published.pairs(market).values())

    @api.get("/pairs-watchlists/{name:path}")
    async def one_pairs(request: Request, name: str) -> Response:
        return one(request, _found(published.pairs(market), name))

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


def _found(lists: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    if name not in lists:
        raise Refusal(404, "record_not_found", f"Couldn't find watchlist {name}")
    return lists[name]


def _watchlist(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict) or not isinstance(body.get("name"), str) or not body["name"]:
        raise invalid("name", "is missing")
    entries = body.get("watchlist-entries") or []
    if not isinstance(entries, list) or not all(isinstance(each, dict) and each.get("symbol") for each in entries):
        raise invalid("watchlist-entries", "symbol is missing")
    kept = {name: body[name] for name in ("group-name", "order-index") if body.get(name) is not None}
    return {"name": body["name"], **_DEFAULTS, **kept, "watchlist-entries": entries}

"""Futures, options on futures, coins, warrants and currency pairs over REST: listed and priced, not traded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, Request, Response

from optionmath.sessions import market_date
from tastysim import future_shapes as shapes
from tastysim.answers import many, one, paged, several
from tastysim.followers import FollowedMarket
from tastysim.futures import active, contracts
from tastysim.orders import Refusal
from tastysim.products import BY_CODE, PRODUCTS, Product


def routes(market: FollowedMarket) -> APIRouter:
    """Every route of what follows the market; before those that take any kind of instrument."""
    api = APIRouter()

    @api.get("/instruments/futures")
    async def futures(request: Request) -> Response:
        symbols, codes = several(request, "symbol"), several(request, "product-code")
        wanted = {f"/{each.lstrip('/')}" for each in symbols}
        ids, exchange = several(request, "security-id"), request.query_params.get("exchange")
        today = market_date(market.now)
        rows = [
            shapes.future(market, each) for name, each in shapes.listed_futures(market).items()
            if (name in wanted if wanted else not codes or each.product.code in codes)
            and exchange in (None, each.product.exchange)
            and (request.query_params.get("only-active-futures") != "true"
                 or contracts(each.product, today)[active(each.product, today)] == each)
        ]  # fmt: skip
        return paged(request, [row for row in rows if not ids or row["security-id"] in ids], 1000, 5000)

    @api.get("/instruments/futures/{symbol:path}")
    async def future(request: Request, symbol: str) -> Response:
        found = shapes.listed_futures(market).get(f"/{symbol.lstrip('/')}")
        if found is None:
            raise unknown(symbol)
        return one(request, shapes.future(market, found))

    @api.get("/instruments/future-products")
    async def products(request: Request) -> Response:
        return paged(request, list(PRODUCTS), 1000, 5000, shapes.product)

    @api.get("/instruments/future-products/{exchange}/{code}")
    async def product(request: Request, exchange: str, code: str) -> Response:
        found = BY_CODE.get(code.lstrip("/"))
        if found is None or found.exchange != exchange:
            raise unknown(f"{exchange}/{code}")
        return one(request, shapes.product(found))

    @api.get("/instruments/future-option-products")
    async def option_products(request: Request) -> Response:
        rows = [shapes.option_product(*each, whole=True) for each in shapes.option_products().values()]
        return paged(request, rows, 1000, 5000)

    @api.get("/instruments/future-option-products/{exchange}/{root}")
    async def option_product(request: Request, exchange: str, root: str) -> Response:
        found = shapes.option_products().get(root)
        if found is None or found[1].exchange != exchange:
            raise unknown(f"{exchange}/{root}")
        return one(request, shapes.option_product(*found, whole=True))

    @api.get("/instruments/future-option-products/{root}")
    async def option_product_by_root(request: Request, root: str) -> Response:
        found = shapes.option_products().get(root)
        if found is None:
            raise unknown(root)
        return one(request, shapes.option_product(*found, whole=True))

    @api.get("/instruments/future-options")
    async def future_options(request: Request) -> Response:
        asked = [shapes.find_option(market, each) for each in several(request, "symbol")]
        rows = [shapes.future_option(market, each) for each in asked if each is not None]
        return paged(request, rows, 1000, 5000)

    @api.get("/instruments/future-options/{symbol:path}")
    async def future_option(request: Request, symbol: str) -> Response:
        found = shapes.find_option(market, symbol)
        if found is None:
            raise unknown(symbol)
        return one(request, shapes.future_option(market, found))

    @api.get("/futures-option-chains/{code}/nested")
    async def nested(request: Request, code: str) -> Response:
        return one(request, shapes.nested_chain(market, _product(market, code)))

    @api.get("/futures-option-chains/{code}")
    async def flat(request: Request, code: str) -> Response:
        found = BY_CODE.get(code.lstrip("/"))
        chain = [] if found is None else shapes.chain(market, found)
        return many(request, [shapes.future_option(market, each) for each in chain])

    for path, rows in (("cryptocurrencies", shapes.coins()), ("warrants", shapes.warrants())):
        _listing(api, path, rows)

    @api.get("/instruments/currency-pairs")
    async def pairs(request: Request) -> Response:
        return many(request, shapes.pairs())

    return api


def _listing(api: APIRouter, path: str, rows: dict[str, dict[str, Any]]) -> None:
    """A list of instruments by symbol, and each of them."""

    @api.get(f"/instruments/{path}", name=path)
    async def several_of(request: Request) -> Response:
        wanted = several(request, "symbol")
        return paged(request, _of(rows, wanted), 1000, 5000)

    @api.get(f"/instruments/{path}/{{symbol:path}}", name=f"{path}/symbol")
    async def one_of(request: Request, symbol: str) -> Response:
        if symbol not in rows:
            raise unknown(symbol)
        return one(request, rows[symbol])


def _of(rows: dict[str, dict[str, Any]], wanted: Iterable[str]) -> list[dict[str, Any]]:
    asked = set(wanted)
    return [row for symbol, row in rows.items() if not asked or symbol in asked]


def _product(market: FollowedMarket, code: str) -> Product:
    found = BY_CODE.get(code.lstrip("/"))
    if found is None or market.follower(contracts(found, market_date(market.now))[0].symbol) is None:
        raise Refusal(404, "record_not_found", f"Couldn't find option chain for {code}")
    return found


def unknown(symbol: str) -> Refusal:
    """Answer for what is not listed."""
    return Refusal(404, "record_not_found", f"Couldn't find {symbol}")

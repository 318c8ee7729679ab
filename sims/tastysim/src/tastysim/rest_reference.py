"""Instruments, chains, market data and metrics over REST. What is not listed is answered as unknown."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from optionmath.sessions import market_date
from tastysim import future_shapes, metric_shapes, reference
from tastysim.answers import day, flag, json_response, many, one, paged, several, whole
from tastysim.followers import FollowedMarket
from tastysim.orders import Refusal, invalid
from tastysim.rest_futures import unknown

SYMBOLS_MAX = 100
_KINDS = {
    "equity": "Equity", "equity-option": "Equity Option", "index": "Index", "future": "Future",
    "future-option": "Future Option", "cryptocurrency": "Cryptocurrency",
}  # fmt: skip
_FOUND_MAX = 250


def routes(market: FollowedMarket) -> APIRouter:
    """Every route of equities, their options and what they are worth."""
    api = APIRouter()

    @api.get("/instruments/equities/active")
    async def active(request: Request) -> Response:
        rows = [reference.equity(market, index) for index in reference.equities(market).values()]
        lendability = request.query_params.get("lendability")
        return paged(request, [row for row in rows if lendability in (None, row["lendability"])], 1000, 5000)

    @api.get("/instruments/equities")
    async def equities(request: Request) -> Response:
        wanted, names = several(request, "symbol"), reference.equities(market)
        chosen = [names[each] for each in dict.fromkeys(wanted) if each in names] if wanted else names.values()
        rows = [reference.equity(market, index) for index in chosen]
        for name in ("is-index", "is-etf"):
            if (asked := flag(request, name)) is not None:
                rows = [row for row in rows if row[name] is asked]
        lendability = request.query_params.get("lendability")
        return paged(request, [row for row in rows if lendability in (None, row["lendability"])], 1000, 5000)

    @api.get("/instruments/equities/{symbol:path}")
    async def equity(request: Request, symbol: str) -> Response:
        index = reference.equities(market).get(symbol)
        if index is None:
            raise unknown(symbol)
        return one(request, reference.equity(market, index))

    @api.get("/instruments/equity-options")
    async def options(request: Request) -> Response:
        wanted = several(request, "symbol")
        if not wanted:
            raise invalid("symbol", "is missing")
        rows = [market.row_of[each] for each in dict.fromkeys(wanted) if each in market.row_of]
        return paged(request, rows, 1000, 5000, lambda row: reference.option(market, row, _underlying(market, row)))

    @api.get("/instruments/equity-options/{symbol:path}")
    async def option(request: Request, symbol: str) -> Response:
        if symbol not in market.row_of:
            raise unknown(symbol)
        row = market.row_of[symbol]
        return one(request, reference.option(market, row, _underlying(market, row)))

    @api.get("/instruments/quantity-decimal-precisions")
    async def precisions(request: Request) -> Response:
        return many(request, future_shapes.precisions())

    @api.get("/instruments/search")
    async def search_instruments(request: Request) -> Response:
        text, limit = request.query_params.get("query", "").lower(), whole(request, "limit", 25)
        if not text:
            raise invalid("query", "is missing")
        if not 1 <= limit <= _FOUND_MAX:
            raise invalid("limit", f"is not between 1 and {_FOUND_MAX}")
        rows = [reference.equity(market, index) for index in reference.equities(market).values()]
        rows += [future_shapes.future(market, each) for each in future_shapes.listed_futures(market).values()]
        rows += future_shapes.coins().values()
        asked = request.query_params
        found = [
            {
                "symbol": row["symbol"], "description": _described(row), "instrument-type": row["instrument-type"],
                "category": row["instrument-type"], "exchange": row.get("exchange", row.get("listed-market", "")),
            }
            for row in rows
            if text in f"{row['symbol']} {_described(row)}".lower()
            and asked.get("type", row["instrument-type"]) == row["instrument-type"]
        ]  # fmt: skip
        chosen = [
            row for row in found
            if all(asked.get(name) in (None, row[name]) for name in ("category", "exchange"))
        ]  # fmt: skip
        return many(request, chosen[:limit])

    @api.get("/symbols/search/{text:path}")
    async def search_symbols(request: Request, text: str) -> Response:
        names = reference.equities(market)
        hits = [reference.equity(market, index) for name, index in names.items() if name.startswith(text.upper())]
        shown = ("symbol", "description", "listed-market", "instrument-type")
        return many(
            request, [{name: row[name] for name in shown} | {"options": row["symbol"] in market.rows} for row in hits]
        )

    @api.get("/option-chains/{symbol:path}/nested")
    async def nested(request: Request, symbol: str) -> Response:
        if symbol not in market.rows:
            raise Refusal(404, "record_not_found", f"Couldn't find option chain for {symbol}")
        return many(request, reference.nested_chains(market, symbol))

    @api.get("/option-chains/{symbol:path}/compact")
    async def compact(request: Request, symbol: str) -> Response:
        return many(request, reference.compact_chain(market, symbol) if symbol in market.rows else [])

    @api.get("/option-chains/{symbol:path}")
    async def flat(request: Request, symbol: str) -> Response:
        span = market.rows.get(symbol, slice(0, 0))
        return many(request, [reference.option(market, row, symbol) for row in range(span.start, span.stop)])

    _prices(api, market)
    return api


def _prices(api: APIRouter, market: FollowedMarket) -> None:
    @api.get("/market-data/by-type")
    async def by_type(request: Request) -> Response:
        wanted = [(kind, symbol) for name, kind in _KINDS.items() for symbol in several(request, name)]
        if not wanted:
            raise invalid("symbols", f"none of {', '.join(_KINDS)} is given")
        if len(wanted) > SYMBOLS_MAX:
            raise invalid("symbols", f"at most {SYMBOLS_MAX}")
        rows = [reference.market_data(market, symbol, kind) for kind, symbol in wanted]
        found = {"items": [row for row in rows if row is not None]}
        return json_response({"data": found, "pagination": None, "context": request.url.path})

    @api.get("/market-data/{kind}/{symbol:path}")
    async def market_data(request: Request, kind: str, symbol: str) -> Response:
        if kind not in _KINDS.values():
            raise invalid("instrument-type", "does not have a valid value")
        found = reference.market_data(market, symbol, kind)
        if found is None:
            raise unknown(symbol)
        return one(request, found)

    @api.get("/market-metrics")
    async def metrics(request: Request) -> Response:
        wanted = several(request, "symbols")
        if not wanted:
            raise invalid("symbols", "is missing")
        names = reference.equities(market)
        known = [each for each in dict.fromkeys(wanted) if each in names and each in market.rows]
        return many(request, [metric_shapes.metrics(market, each, names[each]) for each in known])

    @api.get("/market-metrics/historic-corporate-events/dividends/{symbol:path}")
    async def dividends(request: Request, symbol: str) -> Response:
        if symbol not in reference.equities(market):
            raise unknown(symbol)
        today = market_date(market.now)
        rows = [each for each in metric_shapes.dividends(market, symbol) if each.ex <= today]
        return many(request, [{"occurred-date": each.ex.isoformat(), "amount": str(each.amount)} for each in rows])

    @api.get("/market-metrics/historic-corporate-events/earnings-reports/{symbol:path}")
    async def earnings(request: Request, symbol: str) -> Response:
        first, last = day(request, "start-date"), day(request, "end-date")
        if symbol not in reference.equities(market):
            raise unknown(symbol)
        if first is None:
            raise invalid("start-date", "is missing")
        rows = metric_shapes.reports(
            market, symbol, first, min(last or market_date(market.now), market_date(market.now))
        )
        closes = [(each, market.settlement(symbol, each.day)) for each in rows]
        return many(
            request,
            [
                {"occurred-date": each.day.isoformat(), "eps": str(metric_shapes.earned(float(close)))}
                for each, close in closes if close is not None
            ],
        )  # fmt: skip


def _described(row: dict[str, object]) -> str:
    product = row.get("future-product")
    return str(product["description"]) if isinstance(product, dict) else str(row["description"])


def _underlying(market: FollowedMarket, row: int) -> str:
    return next(name for name, rows in market.rows.items() if rows.start <= row < rows.stop)

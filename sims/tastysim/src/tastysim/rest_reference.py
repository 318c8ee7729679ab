"""Instruments, chains, market data, metrics and sessions over REST. What is not listed is answered as unknown."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request, Response

from optionmath.sessions import closes_at, early_closes, holidays, market_date, opens_at, sessions_between
from optionmath.sessions import next_session as session_after
from optionmath.sessions import previous_session as session_before
from tastysim import reference
from tastysim.answers import day, json_response, many, one, paged, several, whole
from tastysim.market import Market
from tastysim.orders import Refusal, invalid, stamp

SYMBOLS_MAX = 100
_EXTENDED = (timedelta(hours=2, minutes=15), timedelta(hours=4))
"""Before the open and after the close."""
_KINDS = {
    "equity": "Equity", "equity-option": "Equity Option", "index": "Index", "future": "Future",
    "future-option": "Future Option", "cryptocurrency": "Cryptocurrency",
}  # fmt: skip
_NOT_LISTED = ("futures", "future-products", "future-option-products", "future-options", "cryptocurrencies", "warrants",
               "currency-pairs")  # fmt: skip


def routes(market: Market) -> APIRouter:
    """Every route of reference data."""
    api = APIRouter()
    names = {name: index for index, name in enumerate(each.symbol for each in market.listed)}

    @api.get("/instruments/equities/active")
    async def active(request: Request) -> Response:
        return paged(request, list(names.values()), 1000, 5000, lambda index: reference.equity(market, index))

    @api.get("/instruments/equities")
    async def equities(request: Request) -> Response:
        wanted, asked = several(request, "symbol"), request.query_params
        rows = [reference.equity(market, index) for name, index in names.items() if not wanted or name in wanted]
        for flag in ("is-index", "is-etf"):
            if asked.get(flag) is not None:
                rows = [row for row in rows if row[flag] is (asked[flag].lower() == "true")]
        if asked.get("lendability") is not None:
            rows = [row for row in rows if row["lendability"] == asked["lendability"]]
        return paged(request, rows, 1000, 5000)

    @api.get("/instruments/equities/{symbol:path}")
    async def equity(request: Request, symbol: str) -> Response:
        if symbol not in names:
            raise _unknown(symbol)
        return one(request, reference.equity(market, names[symbol]))

    @api.get("/instruments/equity-options")
    async def options(request: Request) -> Response:
        rows = [market.row_of[each] for each in several(request, "symbol") if each in market.row_of]
        return paged(request, rows, 1000, 5000, lambda row: reference.option(market, row, _underlying(market, row)))

    @api.get("/instruments/equity-options/{symbol}")
    async def option(request: Request, symbol: str) -> Response:
        if symbol not in market.row_of:
            raise _unknown(symbol)
        row = market.row_of[symbol]
        return one(request, reference.option(market, row, _underlying(market, row)))

    @api.get("/instruments/quantity-decimal-precisions")
    async def precisions(request: Request) -> Response:
        kinds = ("Equity", "Equity Option")
        return many(
            request, [{"instrument-type": each, "value": 0, "minimum-increment-precision": 0} for each in kinds]
        )

    @api.get("/instruments/search")
    async def search_instruments(request: Request) -> Response:
        text = request.query_params.get("query", "").lower()
        rows = [reference.equity(market, index) for index in names.values()]
        hits = [row for row in rows if text and text in f"{row['symbol']} {row['description']}".lower()]
        found = [{name: row[name] for name in ("symbol", "description", "instrument-type")} for row in hits]
        return many(request, found[: whole(request, "limit", 25)])

    @api.get("/symbols/search/{text:path}")
    async def search_symbols(request: Request, text: str) -> Response:
        hits = [reference.equity(market, index) for name, index in names.items() if name.startswith(text.upper())]
        shown = ("symbol", "description", "listed-market", "instrument-type")
        return many(request, [{name: row[name] for name in shown} | {"options": True} for row in hits])

    @api.get("/instruments/{kind}")
    async def none_of(request: Request, kind: str) -> Response:
        if kind not in _NOT_LISTED:
            raise _unknown(kind)
        return paged(request, [], 1000, 5000)

    @api.get("/instruments/{kind}/{symbol:path}")
    async def nothing(kind: str, symbol: str) -> Response:
        raise _unknown(symbol)

    @api.get("/option-chains/{symbol:path}/nested")
    async def nested(request: Request, symbol: str) -> Response:
        if symbol not in market.rows:
            raise Refusal(404, "record_not_found", f"Couldn't find option chain for {symbol}")
        return many(request, [reference.nested_chain(market, symbol)])

    @api.get("/option-chains/{symbol:path}/compact")
    async def compact(request: Request, symbol: str) -> Response:
        return many(request, reference.compact_chain(market, symbol) if symbol in market.rows else [])

    @api.get("/option-chains/{symbol:path}")
    async def flat(request: Request, symbol: str) -> Response:
        span = market.rows.get(symbol, slice(0, 0))
        return many(request, [reference.option(market, row, symbol) for row in range(span.start, span.stop)])

    @api.get("/futures-option-chains/{code}/nested")
    async def futures_nested(code: str) -> Response:
        raise Refusal(404, "record_not_found", f"Couldn't find option chain for {code}")

    @api.get("/futures-option-chains/{code}")
    async def futures_flat(request: Request, code: str) -> Response:
        return many(request, [])

    @api.get("/market-data/by-type")
    async def by_type(request: Request) -> Response:
        wanted = [(kind, symbol) for name, kind in _KINDS.items() for symbol in several(request, name)]
        if len(wanted) > SYMBOLS_MAX:
            raise invalid("symbols", f"at most {SYMBOLS_MAX}")
        rows = [reference.market_data(market, symbol, kind) for kind, symbol in wanted]
        found = {"items": [row for row in rows if row is not None]}
        return json_response({"data": found, "pagination": None, "context": request.url.path})

    @api.get("/market-data/{kind}/{symbol:path}")
    async def market_data(request: Request, kind: str, symbol: str) -> Response:
        found = reference.market_data(market, symbol, kind)
        if found is None:
            raise _unknown(symbol)
        return one(request, found)

    @api.get("/market-metrics")
    async def metrics(request: Request) -> Response:
        wanted = [market.index_of(symbol) for symbol in several(request, "symbols")]
        return many(request, [reference.metrics(market, index) for index in wanted if index is not None])

    @api.get("/market-metrics/historic-corporate-events/{kind}/{symbol:path}")
    async def events(request: Request, kind: str, symbol: str) -> Response:
        if kind not in ("dividends", "earnings-reports") or symbol not in names:
            raise _unknown(symbol)
        if kind == "earnings-reports" and day(request, "start-date") is None:
            raise invalid("start-date", "is missing")
        return many(request, [])

    return api


def session_routes(market: Market) -> APIRouter:
    """Routes of trading hours. The simulated market is open at any hour; the calendar is the exchange's."""
    api = APIRouter()

    def current() -> dict[str, Any]:
        midnight = market.now.replace(hour=0, minute=0, second=0, microsecond=0)
        today, ends = market_date(market.now), (midnight + timedelta(days=1)).isoformat()
        return {
            "state": "Open", "instrument-collection": "Equity", "start-at": midnight.isoformat(),
            "open-at": midnight.isoformat(), "close-at": ends, "close-at-ext": ends,
            "next-session": _session(session_after(today)), "previous-session": _session(session_before(today)),
        }  # fmt: skip

    @api.get("/market-time/equities/sessions/current")
    async def session(request: Request) -> Response:
        return one(request, current())

    @api.get("/market-time/equities/sessions/next")
    async def after(request: Request) -> Response:
        return one(request, _session(session_after(day(request, "date") or market_date(market.now))))

    @api.get("/market-time/equities/sessions/previous")
    async def before(request: Request) -> Response:
        return one(request, _session(session_before(day(request, "date") or market_date(market.now))))

    @api.get("/market-time/sessions/current")
    async def several_sessions(request: Request) -> Response:
        wanted = several(request, "instrument-collections")
        if not wanted:
            raise invalid("instrument-collections", "is missing")
        return many(request, [current()] if "Equity" in wanted else [])

    @api.get("/market-time/sessions")
    async def sessions(request: Request) -> Response:
        last, first = day(request, "to-date"), day(request, "from-date") or market_date(market.now)
        if last is None:
            raise invalid("to-date", "is missing")
        if request.query_params.get("instrument-collection", "Equity") != "Equity":
            return many(request, [])
        last = min(last, first + timedelta(days=366))
        return many(request, [_session(each) for each in sessions_between(first, last)])

    @api.get("/market-time/equities/holidays")
    async def calendar(request: Request) -> Response:
        years = (market_date(market.now).year, market_date(market.now).year + 1)
        closed = sorted(each.isoformat() for year in years for each in holidays(year))
        halves = sorted(each.isoformat() for year in years for each in early_closes(year))
        return one(request, {"market-holidays": closed, "market-half-days": halves})

    @api.get("/market-time/futures/sessions/current")
    async def futures(request: Request) -> Response:
        return many(request, [])

    return api


def _session(its_day: date) -> dict[str, Any]:
    opening, closing = opens_at(its_day), closes_at(its_day)
    assert isinstance(opening, datetime)
    assert isinstance(closing, datetime)
    return {
        "session-date": its_day.isoformat(), "instrument-collection": "Equity", "open-at": stamp(opening),
        "close-at": stamp(closing), "start-at": stamp(opening - _EXTENDED[0]),
        "close-at-ext": stamp(closing + _EXTENDED[1]),
    }  # fmt: skip


def _underlying(market: Market, row: int) -> str:
    return next(name for name, rows in market.rows.items() if rows.start <= row < rows.stop)


def _unknown(symbol: str) -> Refusal:
    return Refusal(404, "record_not_found", f"Couldn't find {symbol}")

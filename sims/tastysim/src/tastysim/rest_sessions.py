"""Trading hours over REST. The simulated market may be open at any hour; the calendar is the exchanges' own."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from fastapi import APIRouter, Request, Response

from optionmath.sessions import (
    NEW_YORK,
    closes_at,
    early_closes,
    easter,
    holidays,
    market_date,
    opens_at,
    sessions_between,
)
from optionmath.sessions import next_session as session_after
from optionmath.sessions import previous_session as session_before
from tastysim.answers import day, many, moment, one, several
from tastysim.market import Market
from tastysim.orders import Refusal, invalid, stamp

COLLECTIONS = ("Equity", "CME", "CFE")
_EXTENDED = (timedelta(hours=2, minutes=15), timedelta(hours=4))
"""Before the open and after the close of equities."""
_FUTURES_OPEN, _FUTURES_CLOSE = time(18), time(17)
"""Of futures, New York: from the evening before to the afternoon."""
_SESSIONS_MAX = timedelta(days=366)


def routes(market: Market) -> APIRouter:
    """Every route of trading hours."""
    api = APIRouter()

    def asked(request: Request) -> date:
        return day(request, "date") or market_date(market.now)

    @api.get("/market-time/equities/sessions/current")
    async def equities(request: Request) -> Response:
        return one(request, _current("Equity", market, moment(request, "current-time")))

    @api.get("/market-time/equities/sessions/next")
    async def after(request: Request) -> Response:
        return one(request, _session("Equity", session_after(asked(request))))

    @api.get("/market-time/equities/sessions/previous")
    async def before(request: Request) -> Response:
        return one(request, _session("Equity", session_before(asked(request))))

    @api.get("/market-time/sessions/current")
    async def several_sessions(request: Request) -> Response:
        wanted = several(request, "instrument-collections")
        if not wanted:
            raise invalid("instrument-collections", "is missing")
        return many(request, [_current(each, market, None) for each in COLLECTIONS if each in wanted])

    @api.get("/market-time/sessions")
    async def sessions(request: Request) -> Response:
        last, first = day(request, "to-date"), day(request, "from-date") or market_date(market.now)
        collection = request.query_params.get("instrument-collection", "Equity")
        if last is None:
            raise invalid("to-date", "is missing")
        if collection not in COLLECTIONS:
            raise invalid("instrument-collection", "does not have a valid value")
        days = _days(collection, first, min(last, first + _SESSIONS_MAX))
        return many(request, [_session(collection, each) for each in days])

    @api.get("/market-time/equities/holidays")
    async def calendar(request: Request) -> Response:
        return one(request, _calendar(market_date(market.now).year, _closed_all_day))

    @api.get("/market-time/futures/sessions/current")
    async def futures(request: Request) -> Response:
        return many(request, [_current(each, market, None) for each in ("CME", "CFE")])

    @api.get("/market-time/futures/sessions/current/{exchange}")
    async def future(request: Request, exchange: str) -> Response:
        return one(request, _current(_known(exchange), market, None))

    @api.get("/market-time/futures/sessions/next/{exchange}")
    async def next_future(request: Request, exchange: str) -> Response:
        first = asked(request) + timedelta(days=1)
        return one(request, _session(_known(exchange), _days(exchange, first, first + timedelta(days=9))[0]))

    @api.get("/market-time/futures/sessions/previous/{exchange}")
    async def previous_future(request: Request, exchange: str) -> Response:
        last = asked(request) - timedelta(days=1)
        return one(request, _session(_known(exchange), _days(exchange, last - timedelta(days=9), last)[-1]))

    @api.get("/market-time/futures/holidays/{exchange}")
    async def futures_calendar(request: Request, exchange: str) -> Response:
        _known(exchange)
        return one(request, _calendar(market_date(market.now).year, _no_futures))

    return api


def _known(exchange: str) -> str:
    if exchange not in ("CME", "CFE"):
        raise Refusal(404, "record_not_found", f"Couldn't find exchange {exchange}")
    return exchange


def _closed_all_day(year: int) -> frozenset[date]:
    return holidays(year)


def _no_futures(year: int) -> frozenset[date]:
    """Futures rest on New Year's Day, Good Friday and Christmas; on the other holidays of shares they end early."""
    good_friday = easter(year) - timedelta(days=2)
    return frozenset(
        each
        for each in holidays(year)
        if each == good_friday or each.month == 12 or (each.day <= 2 and each.month == 1)
    )


def _calendar(year: int, closed: Any) -> dict[str, Any]:
    years = range(year - 1, year + 3)
    full = sorted(each for one_year in years for each in closed(one_year))
    halves = {each for one_year in years for each in early_closes(one_year)}
    halves |= {each for one_year in years for each in holidays(one_year)} - set(full)
    return {
        "market-holidays": [each.isoformat() for each in full],
        "market-half-days": [each.isoformat() for each in sorted(halves)],
    }


def _days(collection: str, first: date, last: date) -> list[date]:
    """Days with a session."""
    if collection == "Equity":
        return sessions_between(first, last)
    days = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return [each for each in days if each.weekday() < 5 and each not in _no_futures(each.year)]


def _session(collection: str, its_day: date) -> dict[str, Any]:
    start, opening, closing, ends = _times(collection, its_day)
    return {
        "session-date": its_day.isoformat(), "instrument-collection": collection, "open-at": stamp(opening),
        "close-at": stamp(closing), "start-at": stamp(start), "close-at-ext": stamp(ends),
    }  # fmt: skip


def _times(collection: str, its_day: date) -> tuple[datetime, datetime, datetime, datetime]:
    """Start of the early hours, open, close, end of the late hours of a day with a session."""
    if collection == "Equity":
        opening, closing = opens_at(its_day), closes_at(its_day)
        assert opening is not None
        assert closing is not None
        return opening - _EXTENDED[0], opening, closing, closing + _EXTENDED[1]
    opening = datetime.combine(its_day - timedelta(days=1), _FUTURES_OPEN, NEW_YORK).astimezone(UTC)
    closing = datetime.combine(its_day, _FUTURES_CLOSE, NEW_YORK).astimezone(UTC)
    return opening, opening, closing, closing


def _current(collection: str, market: Market, at: datetime | None) -> dict[str, Any]:
    """The session of a moment, now unless another is asked for, between the one before and the one after."""
    now = at or market.now
    today = market_date(now)
    around = _days(collection, today - timedelta(days=9), today + timedelta(days=9))
    its = next((each for each in around if _times(collection, each)[0] <= now < _times(collection, each)[3]), None)
    found: dict[str, Any] = {
        "state": "Closed", "instrument-collection": collection,
        "next-session": _session(collection, next(each for each in around if _times(collection, each)[0] > now)),
        "previous-session": _session(collection, [each for each in around if _times(collection, each)[3] <= now][-1]),
    }  # fmt: skip
    if its is not None:
        _, opening, closing, _ = _times(collection, its)
        state = "Pre-market" if now < opening else "Open" if now < closing else "Extended"
        found |= _session(collection, its) | {"state": state}
        del found["session-date"]
    if at is None and market.is_open and found["state"] != "Open":
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        ends = stamp(midnight + timedelta(days=1))
        found |= {
            "state": "Open", "start-at": stamp(midnight), "open-at": stamp(midnight), "close-at": ends,
            "close-at-ext": ends,
        }  # fmt: skip
    return found

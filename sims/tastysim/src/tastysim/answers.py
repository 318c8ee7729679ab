"""The envelope: `data` with its context, lists with their pagination, errors; and how a query is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from typing import Any

import orjson
from fastapi import Request, Response

from tastysim.orders import Refusal, invalid

SORTS = ("Asc", "Desc")


def json_response(content: Any, status: int = 200) -> Response:
    """JSON bytes."""
    return Response(orjson.dumps(content), status, media_type="application/json")


def refused(refusal: Refusal) -> Response:
    """The error envelope."""
    error: dict[str, Any] = {"code": refusal.code, "message": refusal.message}
    if refusal.reasons:
        error["errors"] = refusal.reasons
    return json_response({"error": error}, refusal.status)


def one(request: Request, data: Any, status: int = 200) -> Response:
    """A single object."""
    return json_response({"data": data, "context": request.url.path}, status)


def many(request: Request, items: Iterable[Any]) -> Response:
    """A list without pages."""
    return json_response({"data": {"items": list(items)}, "context": request.url.path})


def paged(
    request: Request, items: list[Any], per_page: int, most: int = 2000, show: Callable[[Any], Any] = lambda each: each
) -> Response:
    """One page of a list, as asked for; only what is on it is turned into its shape. Raises Refusal."""
    size, offset = whole(request, "per-page", per_page), whole(request, "page-offset", 0)
    if not 1 <= size <= most:
        raise invalid("per-page", f"is not between 1 and {most}")
    if offset < 0:
        raise invalid("page-offset", "is negative")
    page = [show(each) for each in items[offset * size : (offset + 1) * size]]
    pagination = {
        "per-page": size, "page-offset": offset, "item-offset": offset * size, "total-items": len(items),
        "total-pages": max(1, -(-len(items) // size)), "current-item-count": len(page), "previous-link": None,
        "next-link": None, "paging-link-template": None,
    }  # fmt: skip
    return json_response({"data": {"items": page}, "context": request.url.path, "pagination": pagination})


def whole(request: Request, name: str, default: int) -> int:
    """A whole number of the query. Raises Refusal."""
    text = request.query_params.get(name)
    try:
        return default if text is None else int(text)
    except ValueError:
        raise invalid(name, "is not a whole number") from None


def several(request: Request, name: str) -> list[str]:
    """Values of a parameter, plain, bracketed or separated by commas."""
    found = [*request.query_params.getlist(name), *request.query_params.getlist(f"{name}[]")]
    return [part for each in found for part in each.split(",") if part]


def choice(request: Request, name: str, known: Iterable[str], default: str | None = None) -> str | None:
    """One of the words of an enumeration; the default when it is not given. Raises Refusal."""
    found = request.query_params.get(name, default)
    if found is not None and found not in known:
        raise invalid(name, "does not have a valid value")
    return found


def flag(request: Request, name: str) -> bool | None:
    """True or false of the query; None when it is not given. Raises Refusal."""
    text = request.query_params.get(name)
    if text is not None and text.lower() not in ("true", "false"):
        raise invalid(name, "is not true or false")
    return None if text is None else text.lower() == "true"


def yes(request: Request, name: str) -> bool:
    """Whether a flag of the query is set. Raises Refusal."""
    return flag(request, name) or False


def day(request: Request, name: str) -> date | None:
    """A date of the query. Raises Refusal."""
    text = request.query_params.get(name)
    try:
        return None if text is None else date.fromisoformat(text[:10])
    except ValueError:
        raise invalid(name, "is not a date") from None


def moment(request: Request, name: str) -> datetime | None:
    """A date-time of the query, with `T` or a space. Raises Refusal."""
    text = request.query_params.get(name)
    try:
        found = None if text is None else datetime.fromisoformat(text.strip())
    except ValueError:
        raise invalid(name, "is not a date-time") from None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found


def span(request: Request) -> Callable[[datetime, date], bool]:
    """Whether a time and its day lie in the range of start-date, end-date, start-at and end-at. Raises Refusal."""
    first, last, since, until = (
        day(request, "start-date"), day(request, "end-date"), moment(request, "start-at"), moment(request, "end-at")
    )  # fmt: skip

    def within(at: datetime, its_day: date) -> bool:
        return (
            (first is None or its_day >= first)
            and (last is None or its_day <= last)
            and (since is None or at >= since)
            and (until is None or at <= until)
        )

    return within


async def object_of(request: Request) -> dict[str, Any]:
    """The decoded body, which is an object. Raises Refusal."""
    found = await body_of(request)
    if not isinstance(found, dict):
        raise Refusal(400, "invalid_request", "The request is not a JSON object")
    return found


async def body_of(request: Request) -> Any:
    """The decoded body. Raises Refusal."""
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        raise Refusal(400, "invalid_request", "The request body is not JSON") from None

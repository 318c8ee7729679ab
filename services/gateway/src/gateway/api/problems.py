"""Errors as application/problem+json (RFC 9457): what is wrong, where, and what to do."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException


class Problem(Exception):
    """An answer that is an error. errors: field, value and advice of each fault."""

    def __init__(self, status: int, title: str, detail: str, errors: list[dict[str, Any]] | None = None) -> None:
        self.status, self.title, self.detail, self.errors = status, title, detail, errors or []
        super().__init__(detail)


def fault(field: str, value: object, advice: str) -> Problem:
    """A request with one wrong field."""
    return Problem(
        422, "Wrong value", f"{field} is {value!r}: {advice}", [{"field": field, "value": value, "advice": advice}]
    )


def answer(status: int, title: str, detail: str, errors: list[dict[str, Any]] | None = None) -> JSONResponse:
    """The response."""
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if errors:
        body["errors"] = errors
    return JSONResponse(body, status, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Answer every error as a problem."""

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> Response:
        return answer(error.status, error.title, error.detail, error.errors)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        errors = [
            {
                "field": ".".join(str(part) for part in each["loc"] if part != "body"),
                "value": _shown(each.get("input")),
                "advice": each["msg"],
            }
            for each in error.errors()
        ]
        first = errors[0]
        return answer(422, "Wrong value", f"{first['field']}: {first['advice']}", errors)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        return answer(error.status_code, "Not possible", str(error.detail))


def _shown(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else None

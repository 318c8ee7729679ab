"""The guardian's own routes: stop, release, and what it is doing. They need no other server."""

from __future__ import annotations

import hmac
import uuid

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import SecretStr, ValidationError

from chassis import kill_file
from guardian.handlers import Guardian
from schemas.account import KillScope
from schemas.commands import parse_kill

BODY_BYTES_MAX = 65_536


def application(guardian: Guardian) -> FastAPI:
    """The routes beside health and metrics."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    token = guardian.settings.token

    @app.post("/kill")
    async def kill(request: Request) -> JSONResponse:
        """Stop: an empty body stops everything, a KillCommand as JSON says more."""
        if not _allowed(request, token):
            return _refused()
        command = parse_kill((await request.body())[:BODY_BYTES_MAX])
        if not command.command_id:
            command = command.model_copy(update={"command_id": str(uuid.uuid4())})
        taken = guardian.stop(command, "http")
        return JSONResponse({"command_id": command.command_id, "new": taken}, status_code=202)

    @app.post("/release")
    async def release(request: Request) -> JSONResponse:
        """The gateway has resumed a scope: stop cancelling there. It opens no gate; only the ledger's does."""
        if not _allowed(request, token):
            return _refused()
        try:
            body = await request.json()
            scope, value = KillScope(body["scope"]), str(body.get("scope_value", ""))
        except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
            return JSONResponse({"detail": 'send {"scope": "all", "scope_value": ""}'}, status_code=422)
        if scope is KillScope.ALL:
            kill_file.remove(guardian.settings.data_dir)
            for stop in guardian.stops.values():
                stop.held = False
        return JSONResponse({"released": guardian.release(scope, value)})

    @app.get("/state")
    async def state() -> JSONResponse:
        return JSONResponse(guardian.state())

    return app


def _allowed(request: Request, token: SecretStr | None) -> bool:
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    return token is not None and hmac.compare_digest(given.encode(), token.get_secret_value().encode())


def _refused() -> JSONResponse:
    return JSONResponse({"detail": "the bearer token is missing or wrong (TT_GUARDIAN_TOKEN)"}, status_code=401)

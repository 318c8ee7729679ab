"""Who is asking: session cookie with CSRF token, or the local bearer token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway import metrics
from gateway.api.problems import Problem
from gateway.auth import COOKIE, CSRF_HEADER, Auth, Principal, TooManyFailuresError
from gateway.domain import Permission

Ask = Callable[[Request], Awaitable[Principal]]


class Login(BaseModel):
    """Name and password."""

    model_config = ConfigDict(extra="forbid")
    username: str = Field(min_length=1, max_length=100)
    password: str = Field(min_length=1, max_length=200)


class Identity(BaseModel):
    """Who is signed in."""

    username: str
    role: str
    csrf_token: str
    mode: str


def requires(auth: Auth, permission: Permission) -> Ask:
    """A dependency that lets only those through who may do this."""

    async def principal(request: Request) -> Principal:
        found = auth.by_bearer(request.headers.get("authorization", ""))
        if found is None:
            token = request.cookies.get(COOKIE)
            found = await auth.by_cookie(token, permission) if token else None
            if found is None:
                raise Problem(401, "Signed out", "sign in first")
            if request.method not in ("GET", "HEAD") and request.headers.get(CSRF_HEADER) != found.csrf_token:
                raise Problem(403, "Refused", f"the header {CSRF_HEADER} is missing or wrong: reload the page")
        if not found.may(permission):
            raise Problem(403, "Refused", f"the role {found.role.value} may not {permission.value}")
        return found

    return principal


def routes(auth: Auth) -> APIRouter:
    """Sign in and out."""
    api = APIRouter(prefix="/auth", tags=["auth"])
    settings = auth.settings
    ask = requires(auth, Permission.READ)

    def identity(principal: Principal) -> Identity:
        return Identity(
            username=principal.username, role=principal.role.value, csrf_token=principal.csrf_token,
            mode=settings.mode.value,
        )  # fmt: skip

    @api.post("/login")
    async def login(body: Login, response: Response) -> Identity:
        try:
            found = await auth.login(body.username, body.password)
        except TooManyFailuresError:
            metrics.logins.labels("throttled").inc()
            raise Problem(429, "Too many attempts", "too many failed logins: wait five minutes") from None
        metrics.logins.labels("ok" if found else "refused").inc()
        if found is None:
            raise Problem(401, "Not signed in", "name or password is wrong")
        token, principal = found
        response.set_cookie(
            COOKIE, token, max_age=int(settings.session_hours * 3600), httponly=True, samesite="strict",
            secure=settings.secure_cookie, path="/",
        )  # fmt: skip
        return identity(principal)

    @api.get("/me")
    async def me(request: Request) -> Identity:
        return identity(await ask(request))

    @api.post("/logout", status_code=204)
    async def logout(request: Request) -> Response:
        await ask(request)
        if token := request.cookies.get(COOKIE):
            await auth.logout(token)
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, path="/")
        return response

    return api

"""Hard limits: what is in force, what was before, and changes of an admin. A great loosening needs a second step."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError

from chassis.database import transaction
from gateway.api.access import requires
from gateway.api.control import Body, Reason
from gateway.api.problems import Problem, fault
from gateway.auth import Auth, Principal
from gateway.domain import Permission
from gateway.handlers import PRODUCER, Gateway
from ledger import limits as hard
from ledger.limits import COOL_OFF_MINUTES, LOOSENED_AT_ONCE_PCT, SPECS
from schemas.money import Money


class LimitView(BaseModel):
    """One limit as it stands for an account. value: None when it is missing, which denies everything it judges."""

    name: str
    unit: str
    value: Decimal | None
    default: Decimal
    lowest: Decimal
    highest: Decimal
    is_floor: bool
    """Whether lowering it loosens it."""


class LimitVersionView(BaseModel):
    """One version of a limit."""

    version: int
    value: Decimal
    who: str
    why: str
    confirmed_by: str | None
    changed_at: datetime


class LimitChangeBody(Body):
    value: Money
    account_number: str = ""
    """Empty: every account without its own."""
    reason: Reason


class LimitChanged(BaseModel):
    version: int | None
    """In force; null while the change waits for its confirmation."""
    request_id: int | None
    advice: str = Field("")


def routes(gateway: Gateway, auth: Auth) -> APIRouter:
    """Every route of limits."""
    api = APIRouter(tags=["limits"])
    reader, admin = Depends(requires(auth, Permission.READ)), Depends(requires(auth, Permission.LIMITS))

    def known(name: str) -> None:
        if name not in SPECS:
            raise fault("name", name, "GET /api/v1/limits lists every limit")

    @api.get("/limits", dependencies=[reader])
    async def current(account_number: str = "") -> list[LimitView]:
        async with transaction(gateway.engine) as session:
            found = await hard.current(session, account_number)
        return [
            LimitView(
                name=spec.name, unit=spec.unit, value=found.of(spec.name), default=spec.default, lowest=spec.lowest,
                highest=spec.highest, is_floor=spec.is_floor,
            )
            for spec in SPECS.values()
        ]  # fmt: skip

    @api.get("/limits/{name}/history", dependencies=[reader])
    async def history(name: str, account_number: str = "") -> list[LimitVersionView]:
        known(name)
        async with transaction(gateway.engine) as session:
            rows = await hard.history(session, name, account_number)
        return [
            LimitVersionView(
                version=row.version, value=row.value, who=row.who, why=row.why, confirmed_by=row.confirmed_by,
                changed_at=row.changed_at,
            )
            for row in rows
        ]  # fmt: skip

    @api.post("/limits/{name}")
    async def change(name: str, body: LimitChangeBody, principal: Principal = admin) -> LimitChanged:
        known(name)
        try:
            async with transaction(gateway.engine) as session:
                changed = await hard.change(
                    session, name, body.value, principal.username, body.reason, PRODUCER,
                    account_number=body.account_number,
                )  # fmt: skip
        except ValueError as error:
            raise fault("value", str(body.value), str(error)) from None
        gateway.relay.wake()
        waits = (
            f"loosened by more than {LOOSENED_AT_ONCE_PCT} % today: another admin confirms request "
            f"{changed.request_id}, or you after {COOL_OFF_MINUTES} minutes"
        )
        return LimitChanged(
            version=changed.version, request_id=changed.request_id, advice=waits if changed.version is None else ""
        )

    @api.post("/limits/requests/{request_id}/confirm")
    async def confirm(request_id: int, principal: Principal = admin) -> LimitChanged:
        try:
            async with transaction(gateway.engine) as session:
                changed = await hard.confirm(session, request_id, principal.username, PRODUCER)
        except LookupError as error:
            raise Problem(404, "Not found", str(error)) from None
        except DBAPIError:
            raise Problem(
                409, "Too soon",
                f"you asked for it: another admin confirms it now, or you {COOL_OFF_MINUTES} minutes after asking",
            ) from None  # fmt: skip
        gateway.relay.wake()
        return LimitChanged(version=changed.version, request_id=changed.request_id)

    return api

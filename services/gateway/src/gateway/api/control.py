"""What can be done: stop, resume, arm, propose, cancel."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from chassis.bus import PublishError
from gateway.api.access import requires
from gateway.api.problems import Problem, fault
from gateway.auth import Auth, Principal
from gateway.domain import Channel, Permission, scope_fault
from gateway.handlers import Gateway
from schemas.account import GateMode, GateState, KillScope
from schemas.orders import TERMINAL_STATES, IntentState

Reason = Annotated[str, Field(min_length=8, max_length=500)]
"""Kept with the act; at least 8 characters."""


class Body(BaseModel):
    """Unknown fields are refused: one may have been meant to limit the effect."""

    model_config = ConfigDict(extra="forbid")


class Kill(Body):
    scope: KillScope = KillScope.ALL
    scope_value: str = ""
    mode: GateMode = GateMode.CANCEL_WORKING
    why: str = Field("", max_length=500)


class KillAccepted(BaseModel):
    command_id: str
    revision: int | None
    """Gate revision that stops; null while the database has not answered: the broadcast went out all the same."""


class Resume(Body):
    scope: KillScope = KillScope.ALL
    scope_value: str = ""
    reason: Reason


class Drill(Body):
    result: str = Field(min_length=2, max_length=20_000)
    """What `tastytrades drill` measured, as JSON."""


class Arm(Body):
    account_number: str = Field(min_length=1)
    reason: Reason


class Cancel(Body):
    reason: str = Field("", max_length=500)


class GiveUp(Body):
    reason: str = Field(min_length=8, max_length=500)
    """What proves that the broker never took the order."""


class Proposal(Body):
    account_number: str = Field(min_length=1)
    candidate_id: str = Field(min_length=1)
    quantity: int | None = Field(None, ge=1, le=1000)
    """Units; null = as the scan sized it."""
    client_id: str | None = Field(None, min_length=8, max_length=100)
    """Sent again with the same value, it is the same proposal."""


class ProposalAccepted(BaseModel):
    proposal_id: str


def routes(gateway: Gateway, auth: Auth) -> APIRouter:
    """Every POST."""
    api = APIRouter()
    stopper = Depends(requires(auth, Permission.STOP))
    resumer = Depends(requires(auth, Permission.RESUME))
    trader = Depends(requires(auth, Permission.TRADE))

    def known_account(number: str) -> None:
        accounts = sorted(gateway.model.items(Channel.BALANCES))
        if number not in accounts:
            raise fault(
                "account_number", number, f"use one of {', '.join(accounts) or 'none, no account is known yet'}"
            )

    @api.post("/control/kill", status_code=202, tags=["control"])
    async def kill(body: Kill, principal: Principal = stopper) -> KillAccepted:
        if body.mode is GateMode.RUN:
            raise fault("mode", "run", "run does not stop anything; POST /api/v1/control/resume trades again")
        if advice := scope_fault(body.scope, body.scope_value):
            raise fault("scope_value", body.scope_value, advice)
        why = body.why or "stopped by hand"
        record = await gateway.kill(body.scope, body.scope_value, body.mode, principal.username, why)
        return KillAccepted(command_id=record.command.command_id, revision=record.revision)

    @api.post("/control/resume", tags=["control"])
    async def resume(body: Resume, principal: Principal = resumer) -> GateState:
        try:
            return await gateway.resume(body.scope, body.scope_value, principal.username, body.reason)
        except LookupError as error:
            raise fault("scope", body.scope.value, str(error)) from None
        except ValueError as error:
            raise fault("reason", body.reason, str(error)) from None

    @api.post("/control/drills", status_code=204, tags=["control"])
    async def keep_drill(body: Drill, principal: Principal = stopper) -> None:
        await gateway.note(principal.username, "drill", "kill switch", {"result": body.result})

    @api.post("/control/arm", tags=["control"])
    async def arm(body: Arm, principal: Principal = trader) -> GateState:
        known_account(body.account_number)
        return await gateway.arm(body.account_number, True, principal.username, body.reason)

    @api.post("/control/disarm", tags=["control"])
    async def disarm(body: Arm, principal: Principal = trader) -> GateState:
        known_account(body.account_number)
        return await gateway.arm(body.account_number, False, principal.username, body.reason)

    @api.post("/orders/{intent_id}/cancel", status_code=202, tags=["orders"])
    async def cancel(intent_id: str, body: Cancel, principal: Principal = trader) -> dict[str, str]:
        item = gateway.model.get(Channel.ORDERS, intent_id)
        if item is None:
            raise Problem(404, "Not found", f"there is no order {intent_id} among the newest 400")
        if IntentState(item["state"]) in TERMINAL_STATES:
            raise Problem(409, "Too late", f"the order is {item['state']}: nothing is left to cancel")
        await _published(gateway.cancel(item["account_number"], intent_id, principal.username, body.reason))
        return {"intent_id": intent_id}

    @api.post("/orders/{intent_id}/give-up", status_code=202, tags=["orders"])
    async def give_up(intent_id: str, body: GiveUp, principal: Principal = resumer) -> dict[str, str]:
        item = gateway.model.get(Channel.ORDERS, intent_id)
        if item is None:
            raise Problem(404, "Not found", f"there is no order {intent_id} among the newest 400")
        if item["state"] != IntentState.QUARANTINE.value:
            raise Problem(409, "Not lost", f"the order is {item['state']}: only one in quarantine can be given up")
        await _published(
            gateway.cancel(item["account_number"], intent_id, principal.username, body.reason, give_up=True)
        )
        return {"intent_id": intent_id}

    @api.post("/proposals", status_code=202, tags=["orders"])
    async def propose(body: Proposal, principal: Principal = trader) -> ProposalAccepted:
        known_account(body.account_number)
        candidate = gateway.candidates.get(body.candidate_id)
        if candidate is None:
            raise fault("candidate_id", body.candidate_id, "it is not in the latest scan: choose one that is")
        proposal_id = await _published(
            gateway.propose(
                candidate, body.account_number, body.quantity or candidate.quantity, principal.username,
                body.client_id or str(uuid.uuid4()),
            )
        )  # fmt: skip
        return ProposalAccepted(proposal_id=str(proposal_id))

    return api


async def _published(act: object) -> object:
    """Await a command; one the bus did not take has an unknown outcome, and the caller must be told so."""
    try:
        return await act  # type: ignore[misc]
    except PublishError as error:
        raise Problem(
            503, "Not sent", f"the bus did not take the command ({error}): look at the orders before trying again"
        ) from None

"""How the simulator itself is steered: its clock, and how orders fill."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from tastysim.answers import body_of, json_response
from tastysim.behaviour import Behaviour
from tastysim.brokerage import Brokerage
from tastysim.clock import Clock, ClockRefusal
from tastysim.fills import FillDesk
from tastysim.orders import Refusal, invalid


def routes(brokerage: Brokerage, clock: Clock) -> APIRouter:
    """The routes under /sim that need no login."""
    api = APIRouter()
    desk = brokerage.desk

    @api.get("/sim/clock")
    async def time() -> Response:
        return json_response(clock.as_wire())

    @api.put("/sim/clock")
    async def steer(request: Request) -> Response:
        """Pause, resume, change the speed; advance by seconds or until a time, answered when that is done."""
        try:
            await clock.set(_object(await body_of(request)))
        except ClockRefusal as refusal:
            raise invalid(refusal.field, str(refusal)) from None
        return json_response(clock.as_wire())

    @api.get("/sim/fills")
    async def fills() -> Response:
        return json_response(_of(desk))

    @api.put("/sim/fills")
    async def fill_by_default(request: Request) -> Response:
        body = _object(await body_of(request))
        if "orders-choose" in body:
            desk.orders_choose = bool(body["orders-choose"])
        if "behavior" in body:
            desk.default = _behaviour(body)
        return json_response(_of(desk))

    @api.put("/sim/accounts/{number}/fills")
    async def fill_account(request: Request, number: str) -> Response:
        """How orders of one account fill; null gives it back to the default."""
        brokerage.broker(number)
        body = _object(await body_of(request))
        if body.get("behavior") is None:
            desk.of_account.pop(number, None)
        else:
            desk.of_account[number] = _behaviour(body)
        return json_response(_of(desk))

    @api.get("/sim/accounts/{number}/orders/{order_id}/fill")
    async def why(number: str, order_id: int) -> Response:
        """What was last decided about a working order, and why."""
        order = brokerage.broker(number).order(order_id)
        decision = desk.last(order_id)
        return json_response(
            {
                "status": order.status, "behavior": str(desk.behaviour(order)), "filled-units": order.filled_units,
                "units": order.units, "why": None if decision is None else decision.why,
            }
        )  # fmt: skip

    return api


def _of(desk: FillDesk) -> dict[str, Any]:
    accounts = {number: str(each) for number, each in desk.of_account.items()}
    return {"behavior": str(desk.default), "accounts": accounts, "orders-choose": desk.orders_choose}


def _behaviour(body: dict[str, Any]) -> Behaviour:
    try:
        return Behaviour.parse(str(body["behavior"]))
    except ValueError as error:
        raise invalid("behavior", str(error)) from None


def _object(body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Refusal(400, "invalid_request", "The request is not a JSON object")
    return body

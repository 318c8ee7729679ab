"""Faults and scenarios over REST: only under `/sim/`, which the broker's own interface does not have."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from tastysim import scenario
from tastysim.answers import json_response
from tastysim.faults import KINDS, FaultError, read_fault
from tastysim.faults_desk import FaultsDesk
from tastysim.orders import Refusal
from tastysim.scenario import ScenarioError


def routes(desk: FaultsDesk) -> APIRouter:
    """Every route of faults and scenarios."""
    api, faults, scenarios = APIRouter(), desk.faults, desk.scenarios

    @api.get("/sim/faults")
    async def installed() -> Response:
        now = faults.times()
        return json_response([each.as_row(now) for each in faults.installed.values()])

    @api.get("/sim/faults/kinds")
    async def kinds() -> Response:
        """What each kind is and the JSON schema of its fields."""
        return json_response({name: kind.model_json_schema() for name, kind in sorted(KINDS.items())})

    @api.get("/sim/faults/log")
    async def log() -> Response:
        return json_response(list(faults.log))

    @api.post("/sim/faults")
    async def install(request: Request) -> Response:
        """One fault or a list of them; of a list all are installed or none."""
        content = _json(await request.body())
        several = content if isinstance(content, list) else [content]
        try:
            read = [read_fault(each) for each in several]
            names = [each.name for each in read if each.name is not None]
            for name in names:
                if name in faults.installed or names.count(name) > 1:
                    raise FaultError("name", name, "a name that no installed fault has")
            rows = [desk.install(each).as_row(faults.times()) for each in read]
        except FaultError as error:
            raise _refusal(error) from None
        return json_response(rows if isinstance(content, list) else rows[0], 201)

    @api.delete("/sim/faults")
    async def clear() -> Response:
        """Remove every fault and end every scenario."""
        return json_response(desk.clear())

    @api.delete("/sim/faults/{name}")
    async def remove(name: str) -> Response:
        found = faults.remove(name)
        if found is None:
            raise Refusal(404, "record_not_found", f"Couldn't find fault {name}")
        return json_response(found.as_row(faults.times()))

    @api.get("/sim/scenarios")
    async def known() -> Response:
        packaged = [scenario.parse(text, name).as_row() for name, text in scenario.packaged().items()]
        return json_response({"packaged": packaged, "running": scenarios.rows()})

    @api.post("/sim/scenarios")
    async def start(request: Request) -> Response:
        """Start `{"name": …}` of the packaged ones, or the TOML that is the body."""
        body = await request.body()
        try:
            if request.headers.get("content-type", "").startswith("application/json"):
                found = _named(_json(body))
            else:
                found = scenario.parse(body.decode(), "posted")
        except (ScenarioError, UnicodeDecodeError) as error:
            raise Refusal(400, "validation_error", str(error)) from None
        return json_response({"run": desk.start(found), **found.as_row()}, 201)

    @api.delete("/sim/scenarios/{run}")
    async def stop(run: str) -> Response:
        if not scenarios.stop(run):
            raise Refusal(404, "record_not_found", f"Couldn't find scenario {run}")
        return json_response({"run": run})

    return api


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, "invalid_request", f"The request is not JSON: {error}") from None


def _named(content: Any) -> scenario.Scenario:
    name = content.get("name") if isinstance(content, dict) else None
    known = scenario.packaged()
    if not isinstance(name, str) or name not in known:
        raise ScenarioError(f"name is {name!r}: one of {', '.join(known)} is allowed")
    return scenario.parse(known[name], name)


def _refusal(error: FaultError) -> Refusal:
    return Refusal(400, "validation_error", str(error), [{"domain": error.field, "reason": error.allowed}])

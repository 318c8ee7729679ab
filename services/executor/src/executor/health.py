"""What an operator sees of the accounts: `GET /state` beside the health routes."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from executor.desk import Desk
from executor.lanes import Lane


def state_of(lane: Lane) -> dict[str, object]:
    """One account: how far it has come, what holds it back, and its newest recovery step by step."""
    return {
        "account_number": lane.account_number,
        "stage": lane.stage.value,
        "reason": lane.reason,
        "opens_held": [hold.value for hold in lane.holds],
        "epoch": lane.epoch,
        "stream": lane.stream_reason or "live",
        "unknown_orders": sorted(lane.lookups),
        "cancelling": sorted(lane.cancels),
        "foreign_orders": lane.foreign,
        "differences": {symbol: list(pair) for symbol, pair in lane.differences.items()},
        "hung": lane.hung,
        "recovery": [
            {
                "number": step.number,
                "step": step.name,
                "outcome": step.outcome,
                "seconds": round(step.seconds, 3),
                "detail": step.detail,
            }
            for step in lane.steps
        ],
    }


def application(desk: Desk) -> FastAPI:
    """The service's own routes."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/state")
    async def state() -> JSONResponse:
        return JSONResponse([state_of(lane) for _, lane in sorted(desk.lanes.items())])

    return app

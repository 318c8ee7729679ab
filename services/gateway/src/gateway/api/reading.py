"""What can be looked at."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel
from sqlmodel import col, select

from chassis.database import transaction
from gateway.api.access import requires
from gateway.api.problems import Problem
from gateway.auth import Auth
from gateway.domain import Channel, Permission
from gateway.handlers import Gateway
from ledger import audit, gate
from ledger.tables import AuditRow
from schemas.account import AuditEntry, Balance, GateState, Position
from schemas.columns import ColumnKind
from schemas.orders import TERMINAL_STATES, Fill, IntentState, OrderEvent, RiskDecision, RiskState
from schemas.trade import Candidate, ScanCycle
from strategies.live_chain import LiveChain, instant

CHAIN_COLUMNS = (
    "bid", "ask", "bid_size", "ask_size", "last", "day_volume", "open_interest", "iv", "delta", "gamma", "theta",
    "vega",
)  # fmt: skip


class Account(BaseModel):
    """An account with its newest balances, and whether automation may open positions in it."""

    account_number: str
    armed: bool
    balance: Balance


class ContractQuote(BaseModel):
    """One contract as streamed; what is not known is null."""

    occ_symbol: str
    expiration: str
    strike: float
    option_type: str
    quoted_at: str | None
    values: dict[str, float | None]


class ChainView(BaseModel):
    """A live chain."""

    underlying_symbol: str
    underlying_price: float | None
    revision: int
    contracts: list[ContractQuote]


class System(BaseModel):
    """The running system."""

    mode: str
    services: list[dict[str, Any]]
    feed: dict[str, Any] | None
    session: dict[str, Any] | None


def routes(gateway: Gateway, auth: Auth) -> APIRouter:
    """Every GET."""
    api = APIRouter(dependencies=[Depends(requires(auth, Permission.READ))])
    model = gateway.model

    @api.get("/system", tags=["system"])
    async def system() -> System:
        feed, session = model.get(Channel.FEED, "feed"), model.get(Channel.FEED, "session")
        return System(
            mode=gateway.settings.mode.value,
            services=[dict(item) for item in model.items(Channel.HEALTH).values()],
            feed=dict(feed) if feed else None,
            session=dict(session) if session else None,
        )

    @api.get("/accounts", tags=["accounts"])
    async def accounts() -> list[Account]:
        return [
            Account(account_number=number, armed=gateway.kill_switch.is_armed(number), balance=Balance(**item))
            for number, item in model.items(Channel.BALANCES).items()
        ]

    @api.get("/positions", tags=["positions"])
    async def positions(account_number: str | None = None) -> list[Position]:
        found = [Position(**item) for item in model.items(Channel.POSITIONS).values()]
        marks = {
            symbol: mark
            for reading in model.items(Channel.PORTFOLIO).values()
            for each in reading["positions"]
            for symbol, mark in each["marks"].items()
        }
        marked = [
            each.model_copy(
                update={"legs": tuple(leg.model_copy(update={"mark": marks.get(leg.occ_symbol)}) for leg in each.legs)}
            )
            for each in found
        ]
        return [each for each in marked if account_number in (None, each.account_number)]

    @api.get("/orders", tags=["orders"])
    async def orders(
        state: str = Query("all", pattern="^(all|working)$"), limit: int = Query(200, ge=1, le=400)
    ) -> list[OrderEvent]:
        found = [OrderEvent(**item) for item in reversed(list(model.items(Channel.ORDERS).values()))]
        if state == "working":
            found = [each for each in found if IntentState(each.state) not in TERMINAL_STATES]
        return found[:limit]

    @api.get("/orders/{intent_id}", tags=["orders"])
    async def order(intent_id: str) -> OrderEvent:
        item = model.get(Channel.ORDERS, intent_id)
        if item is None:
            raise Problem(404, "Not found", f"there is no order {intent_id} among the newest 400")
        return OrderEvent(**item)

    @api.get("/fills", tags=["orders"])
    async def fills(limit: int = Query(200, ge=1, le=800)) -> list[Fill]:
        return [Fill(**item) for item in reversed(list(model.items(Channel.FILLS).values()))][:limit]

    @api.get("/decisions", tags=["risk"])
    async def decisions() -> list[RiskDecision]:
        return [RiskDecision(**item) for item in reversed(list(model.items(Channel.DECISIONS).values()))]

    @api.get("/risk", tags=["risk"])
    async def risk() -> list[RiskState]:
        return [RiskState(**item) for item in model.items(Channel.RISK).values()]

    @api.get("/scans/latest", tags=["scans"])
    async def latest_scan() -> ScanCycle:
        item = model.get(Channel.CYCLE, "latest")
        if item is None:
            raise Problem(404, "Not found", "no scan has finished yet: the first comes once most contracts are quoted")
        return ScanCycle(**{**item, "candidates": tuple(gateway.candidates.values())})

    @api.get("/scans/candidates/{candidate_id}", tags=["scans"])
    async def candidate(candidate_id: str) -> Candidate:
        if candidate_id not in gateway.candidates:
            raise Problem(404, "Not found", f"candidate {candidate_id} is not in the latest scan")
        return gateway.candidates[candidate_id]

    @api.get("/options/chains", tags=["options"])
    async def chains() -> list[str]:
        return sorted(gateway.market.chains)

    @api.get("/options/chains/{symbol}", tags=["options"])
    async def chain(symbol: str, expiration: str | None = None) -> ChainView:
        return _view(_chain(symbol), expiration)

    @api.get("/market_data/{symbol}", tags=["market_data"])
    async def market_data(symbol: str) -> dict[str, Any]:
        _chain(symbol)
        volatility = model.get(Channel.VOLATILITY, symbol)
        return {**gateway.quote(symbol), "volatility": dict(volatility) if volatility else None}

    def _chain(symbol: str) -> LiveChain:
        found = gateway.market.chains.get(symbol)
        if found is None:
            raise Problem(404, "Not found", f"{symbol} is not streamed: GET /api/v1/options/chains lists what is")
        return found

    @api.get("/control/gate", tags=["control"])
    async def gate_state() -> GateState:
        async with transaction(gateway.engine) as session:
            return await gate.read(session)

    @api.get("/control/kill/{command_id}", tags=["control"])
    async def kill(command_id: str) -> dict[str, Any]:
        record = gateway.kills.get(command_id)
        if record is None:
            raise Problem(404, "Not found", f"no stop {command_id} since the gateway started")
        return dict(record.item(gateway.expected()))

    @api.get("/control/drills", tags=["control"])
    async def drills(limit: int = Query(20, ge=1, le=200)) -> list[dict[str, Any]]:
        """Drills of the kill switch, newest first, as they were measured."""
        statement = select(AuditRow).where(col(AuditRow.action) == "drill").order_by(col(AuditRow.id).desc())
        async with transaction(gateway.engine) as session:
            rows = (await session.execute(statement.limit(limit))).scalars().all()
        return [{"kept_at": row.at.isoformat(), "who": row.who, **_decoded(row.detail)} for row in rows]

    @api.get("/audit", tags=["audit"])
    async def entries(limit: int = Query(100, ge=1, le=1000)) -> list[AuditEntry]:
        async with transaction(gateway.engine) as session:
            rows = await audit.recent(session, limit)
        return [
            AuditEntry(
                ts_event=row.at, who=row.who, action=row.action, target=row.target, detail=row.detail,
                outcome=row.outcome,
            )
            for row in rows
        ]  # fmt: skip

    return api


def _decoded(detail: Mapping[str, str]) -> dict[str, Any]:
    try:
        found = json.loads(detail.get("result", ""))
    except ValueError:
        return {"unreadable": True}
    return found if isinstance(found, dict) else {"unreadable": True}


def _view(chain: LiveChain, expiration: str | None) -> ChainView:
    def known(value: float) -> float | None:
        return None if math.isnan(value) else value

    contracts = []
    for row, symbol in enumerate(chain.chain.occ_symbols, 1):
        day = str(chain.expiration[row - 1])
        if expiration not in (None, day):
            continue
        at = int(chain.at[ColumnKind.QUOTE][row])
        contracts.append(
            ContractQuote(
                occ_symbol=symbol,
                expiration=day,
                strike=float(chain.strike[row - 1]),
                option_type="C" if chain.is_call[row - 1] else "P",
                quoted_at=instant(at).isoformat() if at else None,
                values={name: known(float(chain.column[name][row])) for name in CHAIN_COLUMNS},
            )
        )
    return ChainView(
        underlying_symbol=chain.chain.underlying_symbol,
        underlying_price=known(chain.spot),
        revision=chain.chain.revision,
        contracts=contracts,
    )

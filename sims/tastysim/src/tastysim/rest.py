"""The REST interface in the broker's shapes: envelopes, dasherized keys, decimals as text."""

from __future__ import annotations

import math
import secrets
from datetime import datetime, timedelta
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from schemas.symbols import OptionType
from tastysim.broker import Broker, Refusal
from tastysim.market import Market
from tastysim.settings import SimSettings

TOKEN_SECONDS = 900


def json_response(content: Any, status: int = 200) -> Response:
    """JSON bytes."""
    return Response(orjson.dumps(content), status, media_type="application/json")


def refused(refusal: Refusal) -> Response:
    """The error envelope."""
    error: dict[str, Any] = {"code": refusal.code, "message": refusal.message}
    if refusal.reasons:
        error["errors"] = refusal.reasons
    return json_response({"error": error}, refusal.status)


def routes(settings: SimSettings, market: Market, broker: Broker, tokens: dict[str, datetime]) -> APIRouter:
    """Every REST route."""
    api = APIRouter()

    def one(request: Request, data: Any, status: int = 200) -> Response:
        return json_response({"data": data, "context": request.url.path}, status)

    def many(request: Request, items: list[Any], *, paged: bool = False) -> Response:
        body: dict[str, Any] = {"data": {"items": items}, "context": request.url.path}
        if paged:
            offset = int(request.query_params.get("page-offset", 0))
            size = int(request.query_params.get("per-page", 100))
            body["data"]["items"] = items[offset * size : (offset + 1) * size]
            body["pagination"] = {
                "per-page": size, "page-offset": offset, "item-offset": offset * size, "total-items": len(items),
                "total-pages": max(1, -(-len(items) // size)), "current-item-count": len(body["data"]["items"]),
                "previous-link": None, "next-link": None, "paging-link-template": None,
            }  # fmt: skip
        return json_response(body)

    @api.post("/oauth/token")
    async def login(request: Request) -> Response:
        try:
            body = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            return json_response({"error_code": "invalid_request", "error_description": "not JSON"}, 400)
        known = (settings.client_secret, settings.refresh_token)
        if (body.get("client_secret"), body.get("refresh_token")) != known:
            return json_response({"error_code": "invalid_grant", "error_description": "Grant revoked"}, 401)
        token = f"sim-{secrets.token_urlsafe(24)}"
        tokens[token] = datetime.now(market.now.tzinfo) + timedelta(seconds=TOKEN_SECONDS)
        return json_response({"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS})

    @api.get("/customers/me/accounts")
    async def accounts(request: Request) -> Response:
        return many(request, [{"account": _account(broker.account), "authority-level": "owner"}])

    @api.get("/customers/me/accounts/{number}")
    async def account(request: Request, number: str) -> Response:
        _own(broker, number)
        return one(request, _account(broker.account))

    @api.get("/accounts/{number}/balances")
    async def balances(request: Request, number: str) -> Response:
        _own(broker, number)
        return many(request, [_balance(broker)])

    @api.get("/accounts/{number}/balances/{currency}")
    async def balance(request: Request, number: str, currency: str) -> Response:
        _own(broker, number)
        return one(request, _balance(broker))

    @api.get("/accounts/{number}/positions")
    async def positions(request: Request, number: str) -> Response:
        _own(broker, number)
        return many(request, [_position(broker, symbol) for symbol in broker.positions])

    @api.get("/option-chains/{symbol}/nested")
    async def chain(request: Request, symbol: str) -> Response:
        if symbol not in market.rows:
            raise Refusal(404, "record_not_found", f"Couldn't find option chain for {symbol}")
        return many(request, [_nested(market, symbol)])

    @api.get("/market-metrics")
    async def metrics(request: Request, symbols: str) -> Response:
        wanted = [market.index_of(symbol) for symbol in symbols.split(",")]
        return many(request, [_metrics(market, index) for index in wanted if index is not None])

    @api.get("/market-time/equities/sessions/current")
    async def session(request: Request) -> Response:
        day = market.now.replace(hour=0, minute=0, second=0, microsecond=0)
        return one(
            request,
            {
                "state": "Open", "instrument-collection": "Equity", "start-at": day.isoformat(),
                "open-at": day.isoformat(), "close-at": (day + timedelta(days=1)).isoformat(),
                "close-at-ext": (day + timedelta(days=1)).isoformat(),
            },
        )  # fmt: skip

    @api.get("/api-quote-tokens")
    async def quote_token(request: Request) -> Response:
        token = f"dx-{next(iter(tokens), 'none')}"
        issued = datetime.now(market.now.tzinfo)
        address = f"ws://{request.headers.get('host')}/dxlink"
        return one(
            request,
            {
                "token": token, "dxlink-url": address, "level": "api", "issued-at": issued.isoformat(),
                "expires-at": (issued + timedelta(hours=24)).isoformat(),
            },
        )  # fmt: skip

    @api.post("/accounts/{number}/orders/dry-run")
    async def dry_run(request: Request, number: str) -> Response:
        _own(broker, number)
        order, effect, fees = broker.dry_run(orjson.loads(await request.body()), market.now)
        return one(request, _wrapper(broker, order, effect, fees), 201)

    @api.post("/accounts/{number}/orders")
    async def submit(request: Request, number: str) -> Response:
        _own(broker, number)
        order = broker.submit(orjson.loads(await request.body()), market.now)
        return one(request, _wrapper(broker, order, broker.buying_power_effect(order), broker.fees(order)), 201)

    @api.get("/accounts/{number}/orders/live")
    async def live(request: Request, number: str) -> Response:
        _own(broker, number)
        return many(request, [_wire(each) for each in reversed(broker.orders.values())], paged=True)

    @api.get("/accounts/{number}/orders")
    async def search(request: Request, number: str) -> Response:
        _own(broker, number)
        return many(request, [_wire(each) for each in reversed(broker.orders.values())], paged=True)

    @api.get("/accounts/{number}/orders/{order_id}")
    async def order(request: Request, number: str, order_id: int) -> Response:
        _own(broker, number)
        if order_id not in broker.orders:
            raise Refusal(404, "record_not_found", f"Couldn't find order {order_id}")
        return one(request, _wire(broker.orders[order_id]))

    @api.put("/accounts/{number}/orders/{order_id}")
    async def replace(request: Request, number: str, order_id: int) -> Response:
        _own(broker, number)
        return one(request, _wire(broker.replace(order_id, orjson.loads(await request.body()), market.now)))

    @api.delete("/accounts/{number}/orders/{order_id}")
    async def cancel(request: Request, number: str, order_id: int) -> Response:
        _own(broker, number)
        return one(request, _wire(broker.cancel(order_id, market.now)))

    @api.get("/sim/history")
    async def history() -> Response:
        return json_response(broker.history())

    @api.get("/sim/health")
    async def health() -> Response:
        return json_response(
            {
                "market_time": market.now.isoformat(),
                "underlyings": [each.symbol for each in market.listed],
                "contracts": len(market.strike),
                "orders": len(broker.orders),
            }
        )

    return api


def _own(broker: Broker, number: str) -> None:
    if number != broker.account:
        raise Refusal(404, "record_not_found", f"Couldn't find account {number}")


def _wire(order: Any) -> dict[str, Any]:
    found: dict[str, Any] = order.as_wire(order.legs[0]["symbol"][:6].rstrip())
    return found


def _wrapper(broker: Broker, order: Any, effect: dict[str, Any], fees: dict[str, Any]) -> dict[str, Any]:
    return {"order": _wire(order), "buying-power-effect": effect, "fee-calculation": fees, "warnings": [], "errors": []}


def _account(number: str) -> dict[str, Any]:
    opened = "2024-01-02T00:00:00.000+00:00"
    return {
        "account-number": number, "account-type-name": "Individual", "created-at": opened, "opened-at": opened,
        "day-trader-status": False, "investment-objective": "SPECULATION", "is-closed": False, "is-firm-error": False,
        "is-firm-proprietary": False, "is-foreign": False, "is-futures-approved": False, "margin-or-cash": "Margin",
        "nickname": "Simulated", "suitable-options-level": "No Restrictions", "external-id": f"SIM-{number}",
    }  # fmt: skip


_BALANCE_ZEROS = (
    "long-equity-value",
    "short-equity-value",
    "long-futures-value",
    "short-futures-value",
    "long-futures-derivative-value",
    "short-futures-derivative-value",
    "long-margineable-value",
    "short-margineable-value",
    "futures-margin-requirement",
    "maintenance-call-value",
    "reg-t-call-value",
    "day-trading-call-value",
    "day-equity-call-value",
    "pending-cash",
    "long-cryptocurrency-value",
    "short-cryptocurrency-value",
    "cryptocurrency-margin-requirement",
    "bond-margin-requirement",
    "unsettled-cryptocurrency-fiat-amount",
    "closed-loop-available-balance",
    "equity-offering-margin-requirement",
    "long-bond-value",
    "futures-overnight-margin-requirement",
    "futures-intraday-margin-requirement",
    "pending-margin-interest",
    "effective-cryptocurrency-buying-power",
)
"""What this account never has: only options and cash are simulated."""


def _balance(broker: Broker) -> dict[str, Any]:
    power, required = str(broker.buying_power()), str(broker.requirement())
    net_liq, cash = str(broker.net_liq()), str(broker.cash)
    values = [(broker._mark(symbol) * quantity * 100) for symbol, (quantity, _) in broker.positions.items()]
    return {
        **dict.fromkeys(_BALANCE_ZEROS, "0.0"),
        "account-number": broker.account, "currency": "USD", "cash-balance": cash, "net-liquidating-value": net_liq,
        "long-derivative-value": str(sum(value for value in values if value > 0)),
        "short-derivative-value": str(-sum(value for value in values if value < 0)),
        "margin-equity": net_liq, "equity-buying-power": power, "derivative-buying-power": power,
        "day-trading-buying-power": power, "available-trading-funds": power, "maintenance-requirement": required,
        "reg-t-margin-requirement": required, "used-derivative-buying-power": required, "maintenance-excess": power,
        "cash-available-to-withdraw": power, "day-trade-excess": power, "pending-cash-effect": "None",
        "unsettled-cryptocurrency-fiat-effect": "None", "buying-power-adjustment": "0.0",
        "buying-power-adjustment-effect": "None", "snapshot-date": broker.market.now.date().isoformat(),
        "updated-at": broker.market.now.isoformat(timespec="milliseconds"),
    }  # fmt: skip


def _position(broker: Broker, symbol: str) -> dict[str, Any]:
    quantity, average = broker.positions[symbol]
    mark, at = broker._mark(symbol), broker.market.now.isoformat(timespec="milliseconds")
    return {
        "account-number": broker.account, "symbol": symbol, "instrument-type": "Equity Option",
        "underlying-symbol": symbol[:6].rstrip(), "quantity": abs(quantity),
        "quantity-direction": "Long" if quantity > 0 else "Short", "close-price": str(mark), "mark-price": str(mark),
        "average-open-price": str(average), "multiplier": 100, "cost-effect": "Credit" if quantity > 0 else "Debit",
        "is-suppressed": False, "is-frozen": False, "restricted-quantity": 0, "realized-day-gain": "0.0",
        "realized-day-gain-effect": "None", "realized-today": "0.0", "realized-today-effect": "None",
        "created-at": at, "updated-at": at,
    }  # fmt: skip


def _nested(market: Market, symbol: str) -> dict[str, Any]:
    rows = range(market.rows[symbol].start, market.rows[symbol].stop)
    strikes: dict[Any, dict[float, dict[str, str]]] = {}
    for row in rows:
        option = market.options[row]
        side = "call" if option.option_type is OptionType.CALL else "put"
        entry = strikes.setdefault(option.expiration, {}).setdefault(
            float(option.strike), {"strike-price": str(option.strike)}
        )
        entry |= {side: option.occ, f"{side}-streamer-symbol": option.streamer}
    today = market.now.date()
    found = [
        {
            "expiration-type": "Regular" if 15 <= day.day <= 21 else "Weekly",
            "expiration-date": day.isoformat(),
            "days-to-expiration": (day - today).days,
            "settlement-type": "PM",
            "strikes": [levels[k] for k in sorted(levels)],
        }
        for day, levels in sorted(strikes.items())
    ]
    return {
        "underlying-symbol": symbol, "root-symbol": symbol, "option-chain-type": "Standard",
        "shares-per-contract": 100, "tick-sizes": [{"value": "0.01"}], "expirations": found,
        "deliverables": [
            {
                "id": 1, "root-symbol": symbol, "deliverable-type": "Shares", "description": f"100 shares of {symbol}",
                "amount": "100.0", "symbol": symbol, "instrument-type": "Equity", "percent": "100",
            }
        ],
    }  # fmt: skip


def _metrics(market: Market, index: int) -> dict[str, Any]:
    """What is known: a recorded market has none of the model's figures, and they are left out."""
    each, iv = market.listed[index], float(market.volatility[index])
    known = {"symbol": each.symbol, "updated-at": market.now.isoformat(timespec="milliseconds")}
    if not math.isfinite(iv):
        return known
    return known | {
        "implied-volatility-index": f"{iv:.4f}", "implied-volatility-index-rank": str(each.iv_rank),
        "implied-volatility-percentile": str(each.iv_rank), "implied-volatility-30-day": f"{iv * 100:.2f}",
        "historical-volatility-30-day": f"{each.volatility * 90:.2f}", "beta": str(each.beta), "liquidity-rating": 4,
        "dividend-yield": str(each.dividend_yield), "sector": each.sector, "market-cap": round(each.price * 1e9),
        "option-expiration-implied-volatilities": [],
    }  # fmt: skip

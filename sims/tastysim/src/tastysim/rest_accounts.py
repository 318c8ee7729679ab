"""Accounts over REST: status, balances, positions, transactions, value, margin."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from fastapi import APIRouter, Request, Response

from optionmath.margin import MarginRules
from optionmath.sessions import market_date
from tastysim import shapes, valuation
from tastysim.answers import SORTS, body_of, choice, day, many, moment, one, paged, several, span, yes
from tastysim.broker import Broker
from tastysim.brokerage import Brokerage
from tastysim.checks import KINDS
from tastysim.fees import NAMES as FEE_NAMES
from tastysim.market import RATE
from tastysim.orders import Refusal, invalid
from tastysim.requirements import EQUITY_RATE, NAKED_LEAST, NAKED_RATE, of_name, with_order

_BACK = {
    "1d": timedelta(days=1), "1w": timedelta(weeks=1), "1m": timedelta(days=30), "3m": timedelta(days=91),
    "6m": timedelta(days=182), "1y": timedelta(days=365), "all": timedelta(days=36_500),
}  # fmt: skip
_CANDLES_MAX = 500


def routes(brokerage: Brokerage) -> APIRouter:
    """Everything about one account except its orders."""
    api, broker = APIRouter(), brokerage.broker

    @api.get("/customers/{customer}/accounts")
    async def accounts(request: Request, customer: str) -> Response:
        rows = [{"account": shapes.account(each), "authority-level": "owner"} for each in brokerage.brokers.values()]
        return many(request, rows)

    @api.get("/customers/{customer}/accounts/{number}")
    async def account(request: Request, customer: str, number: str) -> Response:
        return one(request, shapes.account(broker(number)))

    @api.get("/customers/{customer}")
    async def customer(request: Request, customer: str) -> Response:
        if customer != "me":
            raise Refusal(404, "record_not_found", f"Couldn't find customer {customer}")
        return one(request, shapes.customer())

    @api.get("/accounts/{number}/trading-status")
    async def status(request: Request, number: str) -> Response:
        return one(request, shapes.trading_status(broker(number)))

    @api.get("/accounts/{number}/balances")
    async def balances(request: Request, number: str) -> Response:
        return many(request, [shapes.balance(broker(number))])

    @api.get("/accounts/{number}/balances/{currency}")
    async def balance(request: Request, number: str, currency: str) -> Response:
        if currency != "USD":
            raise Refusal(404, "record_not_found", f"Couldn't find a balance in {currency}")
        return one(request, shapes.balance(broker(number)))

    @api.get("/accounts/{number}/balance-snapshots")
    async def snapshots(request: Request, number: str) -> Response:
        broker(number)
        rows = brokerage.snapshots(number, request.query_params.get("time-of-day", ""))
        exact, first, last = (day(request, each) for each in ("snapshot-date", "start-date", "end-date"))
        return paged(request, [row for row in rows if _between(row["snapshot-date"], exact, first, last)], 250)

    @api.get("/accounts/{number}/positions")
    async def positions(request: Request, number: str) -> Response:
        return many(request, _positions(request, broker(number)))

    @api.get("/accounts/{number}/transactions")
    async def transactions(request: Request, number: str) -> Response:
        wanted = _wanted(request)
        rows = [row for row in broker(number).store.rows("transactions", number) if wanted(row)]
        descending = choice(request, "sort", SORTS, "Desc") == "Desc"
        return paged(request, rows[::-1] if descending else rows, 250)

    @api.get("/accounts/{number}/transactions/total-fees")
    async def total_fees(request: Request, number: str) -> Response:
        asked = (day(request, "date") or market_date(brokerage.market.now)).isoformat()
        total = Decimal(0)
        for row in broker(number).store.rows("transactions", number):
            if row["transaction-date"] == asked:
                total += sum((Decimal(row.get(name, "0")) for name in FEE_NAMES), Decimal(0))
        return one(request, valuation.signed("total-fees", -total))

    @api.get("/accounts/{number}/transactions/{identity}")
    async def transaction(request: Request, number: str, identity: int) -> Response:
        found = [row for row in broker(number).store.rows("transactions", number) if row["id"] == identity]
        if not found:
            raise Refusal(404, "record_not_found", f"Couldn't find transaction {identity}")
        return one(request, found[0])

    @api.get("/accounts/{number}/net-liq")
    async def net_liq(request: Request, number: str) -> Response:
        found, minute = broker(number), int(brokerage.market.now.timestamp() // 60)
        value = str(found.net_liq())
        return one(request, _candle((minute, value, value, value, value), found))

    @api.get("/accounts/{number}/net-liq/history")
    async def net_liq_history(request: Request, number: str) -> Response:
        return many(request, _history(request, brokerage, broker(number)))

    @api.get("/accounts/{number}/position-limit")
    async def limit(request: Request, number: str) -> Response:
        broker(number)
        sizes = ("equity-order-size", "equity-option-order-size", "underlying-opening-order-limit",
                 "equity-position-size", "equity-option-position-size")  # fmt: skip
        none = ("future-order-size", "future-option-order-size", "future-position-size", "future-option-position-size")
        return one(
            request, {"id": 1, "account-number": number, **dict.fromkeys(sizes, 10**6), **dict.fromkeys(none, 0)}
        )

    @api.get("/accounts/{number}/margin-requirements/{symbol:path}/effective")
    async def effective(request: Request, number: str, symbol: str) -> Response:
        broker(number)
        if brokerage.market.index_of(symbol) is None:
            raise Refusal(404, "record_not_found", f"Couldn't find margin requirements of {symbol}")
        equity, rules = str(EQUITY_RATE), MarginRules()
        return one(
            request,
            {
                "underlying-symbol": symbol, "long-equity-initial": equity,
                "long-equity-maintenance": str(rules.long_shares_maintenance), "short-equity-initial": equity,
                "short-equity-maintenance": str(rules.short_shares_maintenance),
                "naked-option-standard": str(NAKED_RATE),
                "naked-option-minimum": str(NAKED_LEAST),
                "naked-option-floor": str(broker(number).terms.house.naked_minimum), "is-deleted": False,
            },
        )  # fmt: skip

    @api.get("/margin/accounts/{number}/requirements")
    async def requirements(request: Request, number: str) -> Response:
        return one(request, shapes.margin_report(broker(number)))

    @api.post("/margin/accounts/{number}/dry-run")
    async def dry_run(request: Request, number: str) -> Response:
        return one(request, _margin(broker(number), await body_of(request)))

    @api.get("/margin-requirements-public-configuration")
    async def configuration(request: Request) -> Response:
        return one(request, {"risk-free-rate": str(RATE)})

    @api.get("/span/rows")
    async def span(request: Request) -> Response:
        if day(request, "date") is None or not request.query_params.get("exchange"):
            raise invalid("date", "date and exchange are required")
        return paged(request, [], 1000, 50_000)

    return api


def _between(text: str, exact: Any, first: Any, last: Any) -> bool:
    its = datetime.fromisoformat(text).date()
    return (exact is None or its == exact) and (first is None or its >= first) and (last is None or its <= last)


def _positions(request: Request, broker: Broker) -> list[dict[str, Any]]:
    symbols = list(broker.positions)
    if yes(request, "include-closed-positions"):
        symbols += [each for each in broker.realized if each != "day" and each not in broker.positions]
    marks = yes(request, "include-marks")
    rows = [shapes.position(broker, symbol, marks=marks) for symbol in symbols]
    asked = request.query_params
    underlyings, kind = several(request, "underlying-symbol"), choice(request, "instrument-type", KINDS)
    return [
        row for row in rows
        if (not underlyings or row["underlying-symbol"] in underlyings)
        and asked.get("symbol") in (None, row["symbol"])
        and kind in (None, row["instrument-type"])
    ]  # fmt: skip


def _wanted(request: Request) -> Callable[[dict[str, Any]], bool]:
    """Whether a transaction is one that a request asks for. Raises Refusal."""
    asked, within = request.query_params, span(request)
    types, sub_types = several(request, "types"), several(request, "sub-type")
    choice(request, "instrument-type", KINDS)
    names = {
        "type": "transaction-type", "action": "action", "symbol": "symbol", "currency": "currency",
        "instrument-type": "instrument-type", "underlying-symbol": "underlying-symbol",
    }  # fmt: skip

    def wanted(row: dict[str, Any]) -> bool:
        return (
            within(datetime.fromisoformat(row["executed-at"]), date.fromisoformat(row["transaction-date"]))
            and (not types or row["transaction-type"] in types)
            and (not sub_types or row["transaction-sub-type"] in sub_types)
            and all(asked.get(name) in (None, row.get(key)) for name, key in names.items())
            and asked.get("futures-symbol") is None
        )

    return wanted


def _history(request: Request, brokerage: Brokerage, broker: Broker) -> list[dict[str, Any]]:
    """Value over time in at most 500 candles: minutes, joined as the range grows."""
    now, start = brokerage.market.now, moment(request, "start-time")
    if start is None:
        back = _BACK.get(choice(request, "time-back", _BACK) or "")
        if back is None:
            raise invalid("time-back", "time-back or start-time is missing")
        start = now - back
    end = moment(request, "end-time") or now
    rows = brokerage.net_liq(broker.account, int(start.timestamp() // 60), int(end.timestamp() // 60))
    step = max(1, -(-len(rows) // _CANDLES_MAX))
    joined = []
    for first in range(0, len(rows), step):
        part = rows[first : first + step]
        high, low = max(Decimal(row[2]) for row in part), min(Decimal(row[3]) for row in part)
        joined.append(_candle((part[0][0], part[0][1], str(high), str(low), part[-1][4]), broker))
    return joined


def _candle(row: tuple[int, str, str, str, str], broker: Broker) -> dict[str, Any]:
    names = ("open", "high", "low", "close")
    at = datetime.fromtimestamp(row[0] * 60, broker.market.now.tzinfo)
    return {
        **dict(zip(names, row[1:], strict=True)),
        **{f"pending-cash-{name}": "0.0" for name in names},
        **{f"total-{name}": value for name, value in zip(names, row[1:], strict=True)},
        "time": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _margin(broker: Broker, body: Any) -> dict[str, Any]:
    """The margin of the order's underlying without it and with it."""
    order = broker.checked(body, broker.market.now, held=True)
    held, name = broker.quantities(), order.underlying
    before = of_name(broker, name, held).required
    after = of_name(broker, name, with_order(held, order)).required
    marks = {leg["symbol"]: str(broker.mark(leg["symbol"])) for leg in order.legs}
    effect = broker.buying_power_effect(order)

    def result(amount: Decimal) -> dict[str, Any]:
        return {
            "code": order.underlying, "description": order.underlying, "underlying-symbol": order.underlying,
            "underlying-type": "Equity", "underlying-price": str(valuation.mark(broker.market, order.underlying)),
            "margin-calculation-type": "Reg T", **valuation.signed("margin-requirement", -amount),
            **valuation.signed("maintenance-requirement", -amount), "marks": marks, "order-ids": [],
            "calculated-at": broker.market.now.isoformat(),
        }  # fmt: skip

    impact = {"buying-power-impact": effect["impact"], "buying-power-impact-effect": effect["effect"]}
    wire = order.as_wire() | {"id": "dry-run-0", "size": "0"}
    return {"orders": [wire], "last-results": result(after) | impact, "base-results": result(before)}

"""All accounts of the simulator: opening them, the history of their value, balances of past days, quote alerts."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from optionmath.sessions import market_date
from tastysim.broker import Broker
from tastysim.contracts import Contracts
from tastysim.fills import FillDesk
from tastysim.lifecycle import Lifecycle
from tastysim.market import Market
from tastysim.orders import Refusal, invalid, stamp
from tastysim.shapes import balance
from tastysim.store import Store
from tastysim.terms import Terms

_FLUSH_SECONDS = 1.0
_LIVE_ONLY = (
    "reg-t-margin-requirement", "futures-overnight-margin-requirement", "futures-intraday-margin-requirement",
    "maintenance-excess", "pending-margin-interest", "buying-power-adjustment", "buying-power-adjustment-effect",
    "effective-cryptocurrency-buying-power", "updated-at",
)  # fmt: skip
ALERT_LIFE = timedelta(days=365)
ALERT_FIELDS = ("Last", "Bid", "Ask", "IV")


class Brokerage:
    """The accounts, and what is kept for all of them."""

    def __init__(
        self, market: Market, store: Store, first: str, cash: int, desk: FillDesk | None = None,
        terms: Terms | None = None,
    ) -> None:  # fmt: skip
        self.market, self.store, self.desk = market, store, desk or FillDesk(market.now)
        self.notify: Callable[[str, dict[str, Any]], None] = lambda _kind, _data: None
        self.brokers: dict[str, Broker] = {}
        self.terms, self.contracts = terms or Terms(), Contracts(market, store)
        self._add(Broker(market, store, first, cash, first=True, terms=self.terms, contracts=self.contracts))
        for number in json.loads(store.kept("accounts") or "[]"):
            self._add(Broker(market, store, number, 0, terms=self.terms, contracts=self.contracts))
        self._minutes: dict[str, tuple[int, list[Decimal]]] = {}
        self._pending: list[tuple[str, int, str, str, str, str]] = []
        self._flushed = time.monotonic()
        self._day = ""
        self.alerts = store.named("alerts")
        self.lifecycle = Lifecycle(self)

    def broker(self, number: str) -> Broker:
        """An account by its number. Raises Refusal."""
        if number not in self.brokers:
            raise Refusal(404, "record_not_found", f"Couldn't find account {number}")
        return self.brokers[number]

    def open(self, cash: int, margin_or_cash: str) -> Broker:
        """A new account with money in it."""
        prefix = next(iter(self.brokers))[:3]
        number = f"{prefix}{max(int(each[3:]) for each in self.brokers if each[3:].isdigit()) + 1:05d}"
        with self.store.batch():
            found = Broker(
                self.market, self.store, number, cash, margin_or_cash, terms=self.terms, contracts=self.contracts
            )
            self.store.keep({"accounts": json.dumps([*list(self.brokers)[1:], number])})
        self._add(found)
        return found

    def _add(self, broker: Broker) -> None:
        broker.notify = lambda kind, data: self.notify(kind, data)
        broker.desk = self.desk
        self.brokers[broker.account] = broker

    def connect(self, notify: Callable[[str, dict[str, Any]], None]) -> None:
        """Send what happens in every account to the account stream."""
        self.notify = notify
        for broker in self.brokers.values():
            broker.notify = notify

    def works(self) -> bool:
        """Whether any order waits for the market."""
        return any(not order.is_terminal for broker in self.brokers.values() for order in broker.alive.values())

    def step(self, now: datetime) -> None:
        """Do what the calendar asks for, match the orders of every account, note its value, look at the alerts.

        All of it is one transaction. What it tells the account stream is sent when the caller yields, which is after.
        """
        with self.store.batch():
            self.lifecycle.run(now)
            for broker in self.brokers.values():
                broker.match(now)
            self._record(now)
        self._watch(now)

    def _record(self, now: datetime) -> None:
        day, minute = market_date(now).isoformat(), int(now.timestamp() // 60)
        for number, broker in self.brokers.items():
            value = broker.net_liq()
            at, values = self._minutes.get(number, (minute, []))
            if at != minute:
                self._pending.append(_candle(number, at, values))
                at, values = minute, []
            values = [*values[:1], min([*values, value]), max([*values, value]), value] if values else [value] * 4
            self._minutes[number] = (at, values)
            if day != self._day:
                row = {name: each for name, each in balance(broker).items() if name not in _LIVE_ONLY}
                if self._day:
                    self.store.add_snapshot(number, self._day, "EOD", row | _of(self._day, "EOD"))
                self.store.add_snapshot(number, day, "BOD", row | _of(day, "BOD"))
        self._day = day
        if self._pending and time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        self.store.add_net_liq(self._pending)
        self._pending, self._flushed = [], time.monotonic()

    def net_liq(self, number: str, first: int, last: int) -> list[tuple[int, str, str, str, str]]:
        """Value of an account by the minute, the one that runs included."""
        if self._pending:
            self._flush()
        found = self.store.net_liq(number, first, last)
        if number in self._minutes and first <= self._minutes[number][0] <= last:
            found.append(_candle(number, *self._minutes[number])[1:])
        return found

    def snapshots(self, number: str, time_of_day: str) -> list[dict[str, Any]]:
        """Balances of past days, newest first; `Intraday` is the one of now."""
        if time_of_day not in ("BOD", "EOD", "Intraday"):
            raise invalid("time-of-day", "is missing" if not time_of_day else "does not have a valid value")
        if time_of_day == "Intraday":
            row = balance(self.broker(number))
            return [{name: each for name, each in row.items() if name not in _LIVE_ONLY} | {"time-of-day": "Intraday"}]
        return self.store.snapshots(number, time_of_day)

    def add_alert(self, body: Any, now: datetime) -> dict[str, Any]:
        """A new quote alert. Raises Refusal."""
        if not isinstance(body, dict):
            raise Refusal(400, "invalid_request", "The request is not a JSON object")
        for name, known in (("field", ALERT_FIELDS), ("operator", (">", "<"))):
            if body.get(name) not in known:
                raise invalid(name, "does not have a valid value")
        try:
            threshold = str(Decimal(str(body.get("threshold"))))
        except ArithmeticError:
            raise invalid("threshold", "is not a number") from None
        symbol = str(body.get("symbol", ""))
        if symbol not in self.market.row_of and self.market.index_of(symbol) is None:
            raise Refusal(404, "record_not_found", f"Couldn't find instrument {symbol}")
        found = {
            "alert-external-id": secrets.token_hex(8), "user-external-id": "SIM", "symbol": symbol,
            "dx-symbol": body.get("dx-symbol") or symbol, "field": body["field"], "operator": body["operator"],
            "instrument-type": "Equity Option" if symbol in self.market.row_of else "Equity", "threshold": threshold,
            "threshold-numeric": threshold, "provider": "SIM", "created-at": stamp(now),
            "expires-at": stamp(_expiry(body.get("expires-at"), now)),
        }  # fmt: skip
        self.alerts[found["alert-external-id"]] = found
        self.store.put("alerts", found["alert-external-id"], found)
        return found

    def delete_alert(self, identity: str) -> None:
        """Forget an alert. Raises Refusal."""
        if self.alerts.pop(identity, None) is None:
            raise Refusal(404, "record_not_found", f"Couldn't find alert {identity}")
        self.store.put("alerts", identity, None)

    def _watch(self, now: datetime) -> None:
        for identity, alert in self.alerts.items():
            expires = datetime.fromisoformat(alert.get("expires-at", stamp(now)))
            if "triggered-at" in alert or expires < now:
                continue
            value = self._observed(alert["symbol"], alert["field"])
            limit = float(alert["threshold"])
            if value > limit if alert["operator"] == ">" else value < limit:
                alert |= {"triggered-at": stamp(now), "completed-at": stamp(now)}
                self.store.put("alerts", identity, alert)
                self.notify("QuoteAlert", alert | {"expires-at": int(expires.timestamp() * 1000)})

    def _observed(self, symbol: str, name: str) -> float:
        """What the book says now; NaN when it says nothing, which triggers nothing."""
        market, row = self.market, self.market.row_of.get(symbol)
        if row is not None:
            columns = {"Last": market.theoretical, "Bid": market.bid, "Ask": market.ask, "IV": market.iv}
            return float(columns[name][row])
        index = market.index_of(symbol) or 0
        if name == "IV":
            return float(market.volatility[index])
        bid, ask = market.spot_quote(index)
        return {"Bid": bid, "Ask": ask, "Last": float(market.spot[index])}[name]


def _expiry(text: Any, now: datetime) -> datetime:
    """Until when an alert is watched: as asked, or for a year. Raises Refusal."""
    if text is None:
        return now + ALERT_LIFE
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        raise invalid("expires-at", "is not a date-time") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _candle(number: str, minute: int, values: list[Decimal]) -> tuple[str, int, str, str, str, str]:
    """First, lowest, highest and newest value as open, high, low, close."""
    first, low, high, last = values
    return number, minute, str(first), str(high), str(low), str(last)


def _of(day: str, time_of_day: str) -> dict[str, str]:
    return {"snapshot-date": day, "time-of-day": time_of_day}

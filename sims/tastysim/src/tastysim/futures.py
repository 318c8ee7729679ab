"""Contracts of a futures product on a day: their months, last days and symbols; and the options on them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal

from optionmath.sessions import NEW_YORK, is_session, next_session, previous_session, session_on_or_before
from tastysim.products import MONTHS, PRODUCTS, OptionProduct, Product

STRIKES_EACH_WAY = 10
_SERIES = 3
"""Expirations of options that each product lists."""
_STOPS: dict[str, time] = {
    "index": time(9, 30), "treasury": time(13, 1), "metal": time(13, 30), "oil": time(14, 30), "volatility": time(9, 0),
}  # fmt: skip
"""When trading ends on the last day, New York."""


@dataclass(frozen=True, slots=True)
class FutureContract:
    """One future. month: the first day of its contract month."""

    product: Product
    month: date
    last_day: date

    @property
    def code(self) -> str:
        """As the exchange writes it, with one digit of the year: ESZ6."""
        return f"{self.product.code}{MONTHS[self.month.month - 1]}{self.month.year % 10}"

    @property
    def symbol(self) -> str:
        return f"/{self.code}"

    @property
    def streamer(self) -> str:
        return f"/{self.code[:-1]}{self.month:%y}:{self.product.streamer_exchange}"

    @property
    def ends_at(self) -> datetime:
        """When it stops trading and expires."""
        return _at(self.last_day, _STOPS[self.product.rule])


@dataclass(frozen=True, slots=True)
class FutureOptionContract:
    """One option on a future; strike in points."""

    option: OptionProduct
    future: FutureContract
    expiration: date
    strike: float
    call: bool

    @property
    def contract(self) -> str:
        """Root, month and digit of the year: ESZ6; an end-of-month series carries its own month."""
        month = self.expiration if self.option.monthly else self.future.month
        return f"{self.option.root}{MONTHS[month.month - 1]}{month.year % 10}"

    @property
    def side(self) -> Literal["C", "P"]:
        return "C" if self.call else "P"

    @property
    def symbol(self) -> str:
        """The future to five places, the contract to six, date, side and strike."""
        return f"./{self.future.code:<5}{self.contract:<6}{self.expiration:%y%m%d}{self.side}{plain(self.strike)}"

    @property
    def streamer(self) -> str:
        month = self.expiration if self.option.monthly else self.future.month
        exchange = self.future.product.streamer_exchange
        return f"./{self.contract[:-1]}{month:%y}{self.side}{plain(self.strike)}:{exchange}"

    @property
    def ends_at(self) -> datetime:
        """When it stops trading and expires."""
        if self.expiration == self.future.last_day:
            return self.future.ends_at
        return _at(self.expiration, time(16))


def plain(strike: float) -> str:
    """A strike without needless zeros."""
    return f"{strike:g}" if strike < 1e6 else f"{strike:.0f}"


@lru_cache(maxsize=512)
def contracts(product: Product, today: date) -> tuple[FutureContract, ...]:
    """The listed contracts of a product that have not ended before `today`, the nearest first."""
    found: list[FutureContract] = []
    month = date(today.year, today.month, 1)
    while len(found) < product.contracts:
        if MONTHS[month.month - 1] in product.listed and (last := last_day(product, month)) >= today:
            found.append(FutureContract(product, month, last))
        month = _next_month(month)
    return tuple(found)


def active(product: Product, today: date) -> int:
    """Place of the active contract among `contracts`: the first that is not about to end."""
    limit = today
    for _ in range(product.roll_days):
        limit = next_session(limit)
    listed = contracts(product, today)
    return next((place for place, each in enumerate(listed) if each.last_day > limit), 0)


@lru_cache(maxsize=16)
def every_contract(today: date) -> dict[str, FutureContract]:
    """All listed contracts by their symbols."""
    return {each.symbol: each for product in PRODUCTS for each in contracts(product, today)}


def last_day(product: Product, month: date) -> date:
    """The last trading day of a contract month.

    Index futures: the third Friday. Treasuries: the seventh session before the month's last one. Metals: the third
    session from the end. Crude oil: the third session before the 25th of the month before. Volatility: the Wednesday
    thirty days before the third Friday of the next month.
    """
    if product.rule == "index":
        return session_on_or_before(_third_friday(month))
    if product.rule == "volatility":
        return session_on_or_before(_third_friday(_next_month(month)) - timedelta(days=30))
    if product.rule == "oil":
        before = (month - timedelta(days=1)).replace(day=25)
        return _back(before if is_session(before) else previous_session(before), 3)
    end = session_on_or_before(_next_month(month) - timedelta(days=1))
    return _back(end, 7 if product.rule == "treasury" else 2)


def option_expirations(product: Product, option: OptionProduct, today: date) -> list[tuple[FutureContract, date]]:
    """Futures and days on which their options expire, the nearest first."""
    listed = contracts(product, today)
    if option.monthly:
        found: list[tuple[FutureContract, date]] = []
        month = date(today.year, today.month, 1)
        while len(found) < _SERIES:
            last = session_on_or_before(_next_month(month) - timedelta(days=1))
            future = next((each for each in listed if each.last_day > last), None)
            if last >= today and future is not None:
                found.append((future, last))
            month = _next_month(month)
        return found
    days = [(each, _option_day(each)) for each in listed]
    return [(each, day) for each, day in days if day >= today][:_SERIES]


def _option_day(future: FutureContract) -> date:
    """Index options end with their future; oil options three sessions before it; the rest a month and more before."""
    if future.product.rule == "index":
        return future.last_day
    if future.product.rule == "oil":
        return _back(future.last_day, 3)
    end = session_on_or_before(future.month - timedelta(days=1))
    if future.product.rule == "metal":
        return _back(end, 3)
    day = _back(end, 2)
    return session_on_or_before(day - timedelta(days=(day.weekday() - 4) % 7))


def series(option: OptionProduct, future: FutureContract, expiration: date, price: float) -> list[FutureOptionContract]:
    """Calls and puts of one expiration around a price."""
    middle = round(price / option.step) * option.step
    strikes = [middle + step * option.step for step in range(-STRIKES_EACH_WAY, STRIKES_EACH_WAY + 1)]
    return [
        FutureOptionContract(option, future, expiration, strike, call)
        for strike in strikes if strike > 0 for call in (True, False)
    ]  # fmt: skip


def _third_friday(month: date) -> date:
    return month + timedelta(days=(4 - month.weekday()) % 7 + 14)


def _next_month(month: date) -> date:
    return (month.replace(day=1) + timedelta(days=32)).replace(day=1)


def _back(day: date, sessions: int) -> date:
    for _ in range(sessions):
        day = previous_session(day)
    return day


def _at(day: date, hour: time) -> datetime:
    return datetime.combine(day, hour, NEW_YORK).astimezone(UTC)

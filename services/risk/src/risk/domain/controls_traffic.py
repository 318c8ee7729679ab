"""Controls of what was done lately: throttles, repetition, duplicates, one's own orders on the other side."""

from __future__ import annotations

from decimal import Decimal

from risk.domain.case import Case, Number, scaled
from risk.domain.control import Breach, Control, Measured, Scope
from risk.domain.facts import Order
from schemas.trade import Purpose

DUPLICATE_SECONDS, DUPLICATE_TICKS = 60.0, 2


def _of_ten_minutes(case: Case) -> Measured:
    return max(Decimal(0), case.account.activity.slippage_ten_minutes)


def _of_the_day(case: Case) -> Measured:
    return max(Decimal(0), case.account.activity.slippage_today)


def _scaled(name: str, case: Case) -> Number | None:
    return scaled(case.limit(name), case.account.net_liq)


def _same(order: Order, case: Case) -> bool:
    near = abs(order.worst_price - case.worst_price) <= DUPLICATE_TICKS * case.quotes.tick
    same_legs = sorted(order.legs) == sorted(case.legs) and order.quantity == case.trade.quantity
    return same_legs and near and order.purpose is case.trade.purpose and order.age_seconds <= DUPLICATE_SECONDS


def _copies(case: Case) -> Measured:
    return sum(_same(order, case) for order in case.account.orders)


def _crossed(case: Case) -> Measured:
    own = dict(case.legs)
    return sum(count * own.get(symbol, 0) < 0 for order in case.account.orders for symbol, count in order.legs)


def _busy(case: Case) -> Measured:
    """Opening orders here; for automation a holding counts too."""
    here = [each for each in case.account.opens if each.underlying_symbol == case.trade.underlying_symbol]
    count = len(here)
    if case.automated:
        count += any(each.underlying_symbol == case.trade.underlying_symbol for each in case.account.held)
    return count


def _unknown(case: Case) -> Measured:
    return sum(each.unknown for each in case.account.orders)


CONTROLS = (
    Control(9, "slippage_ten_minutes_max", "Given up against the mid in ten minutes.", "$", "<=",
            lambda case: _scaled("slippage_ten_minutes_max", case), _of_ten_minutes, Scope.AUTOMATED,
            Breach.STOP_STRATEGY, "slippage_ten_minutes_max for each 100,000 of net liq"),
    Control(9, "slippage_day_max", "Given up against the mid today.", "$", "<=",
            lambda case: _scaled("slippage_day_max", case), _of_the_day, Scope.AUTOMATED, Breach.STOP_STRATEGY,
            "slippage_day_max for each 100,000 of net liq"),
    Control(12, "messages_per_hour", "Orders and price steps sent within an hour, this one included.", "messages",
            "<=", "messages_per_hour", lambda case: case.account.activity.traffic.last_hour + 1),
    Control(12, "messages_per_day", "Orders and price steps sent today, this one included.", "messages", "<=",
            "messages_per_day", lambda case: case.account.activity.traffic.today + 1),
    Control(14, "repeated_opens_per_10_minutes", "The same strategy, underlying and structure in ten minutes.",
            "opens", "<=", "repeated_opens_per_10_minutes",
            lambda case: case.account.activity.repeats.in_ten_minutes + 1, Scope.AUTOMATED, Breach.STOP_STRATEGY),
    Control(14, "repeated_opens_per_day", "The same strategy, underlying and structure today.", "opens", "<=",
            "repeated_opens_per_day", lambda case: case.account.activity.repeats.today + 1, Scope.AUTOMATED,
            Breach.STOP_STRATEGY),
    Control(14, "strategy_opens_per_day", "Opening orders of the strategy today.", "opens", "<=",
            "strategy_opens_per_day", lambda case: case.account.activity.repeats.of_strategy_today + 1,
            Scope.AUTOMATED, Breach.STOP_STRATEGY),
    Control(14, "daily_trades_automated_max", "Opening orders of automation today.", "trades", "<=",
            "daily_trades_automated_max", lambda case: case.account.activity.automated_trades_today + 1,
            Scope.AUTOMATED),
    Control(14, "daily_trades_max", "Opening orders today, those of people included.", "trades", "<=",
            "daily_trades_max", lambda case: case.account.activity.trades_today + 1),
    Control(15, "rejects_per_minute_max", "Refusals of the strategy's orders within 60 seconds.", "refusals", "<=",
            "rejects_per_minute_max", lambda case: case.account.activity.rejects_last_minute, Scope.AUTOMATED,
            Breach.STOP_STRATEGY),
    Control(15, "rejects_per_day_max", "Refusals of the strategy's orders today.", "refusals", "<=",
            "rejects_per_day_max", lambda case: case.account.activity.rejects_today, Scope.AUTOMATED,
            Breach.STOP_STRATEGY),
    Control(17, "duplicate_order", "The same legs, side and size at nearly this price within 60 seconds.", "orders",
            "<=", 0, _copies, Scope.EVERY),
    Control(18, "self_trade", "No leg meets an own order on the other side.", "legs", "<=", 0, _crossed, Scope.EVERY,
            Breach.WRONG),
    Control(18, "duplicate", "One opening order in an underlying at a time; automation adds to no holding.",
            "in this underlying", "<=", 0, _busy),
    Control(18, "working_orders_max", "Open orders of the account, this one included.", "orders", "<=",
            "working_orders_max",
            lambda case: sum(each.purpose is Purpose.OPEN for each in case.account.orders) + 1),
    Control(27, "unknown_orders_max", "Orders of the account whose fate is unknown.", "orders", "<=",
            "unknown_orders_max", _unknown),
    Control(27, "unknown_of_strategy", "Orders of the strategy whose fate is unknown.", "orders", "<=", 0,
            lambda case: case.account.activity.unknown_of_strategy),
)  # fmt: skip
"""In the order of the checklist."""

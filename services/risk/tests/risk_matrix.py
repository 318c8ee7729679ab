"""Every control on both sides of its limit: what passes at the limit itself, and what is just beyond it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from risk_cases import (
    CLOSING,
    HELD_SPREAD,
    LATER,
    LONG,
    NOW,
    SHORT,
    SPREAD,
    D,
    candidate,
    leg,
    occ,
    order,
)  # fmt: skip

from ledger.exposure import Refusal
from ledger.throttles import Repeats, Traffic
from risk.domain.facts import Activity, Held
from schemas.account import GateMode
from schemas.symbols import OptionType
from schemas.trade import OrderAction, Purpose

Change = dict[str, Any]
CONDOR_BOTH_ROOTS = (SPREAD[0], leg(occ("QQQ", 495), OrderAction.BUY_TO_OPEN))
NAKED = (leg(occ("SPY", 700, OptionType.CALL), OrderAction.SELL_TO_OPEN),)
CALENDAR = (
    leg(occ("SPY", 600), OrderAction.SELL_TO_OPEN),
    leg(occ("SPY", 600, expiration=LATER), OrderAction.BUY_TO_OPEN),
)
AUTO: Change = {"source": "scanner", "candidate": candidate()}
CLOSE: Change = {
    "purpose": Purpose.CLOSE, "legs": CLOSING, "start_price": D("-1.70"), "limit_price": D("-1.80"),
}  # fmt: skip
HELD: Change = {"held": HELD_SPREAD}
CLOSE_QUOTES: Change = {"mid": D("-1.70"), "natural": D("-1.80")}


def acts(**changes: Any) -> Change:
    return {"activity": Activity(**changes)}


def sent(hour: int, day: int) -> Change:
    return acts(traffic=Traffic(D(1), 0, hour, day))


def orders(count: int, **changes: Any) -> Change:
    """Open orders in as many underlyings."""
    return {"orders": tuple(order(underlying_symbol="AAPL", legs=wing(n), **changes) for n in range(count))}


def wing(number: int) -> tuple[tuple[str, int], ...]:
    return (occ("AAPL", 200 + number), -1), (occ("AAPL", 195 + number), 1)


def structures(count: int, sector: str = "Technology") -> Change:
    """Holdings that can lose nothing, in as many expirations."""
    return {
        "held": tuple(
            Held(occ("QQQ", 500, expiration=LATER + timedelta(days=n)), "QQQ", 1, D(0), sector) for n in range(count)
        )
    }


def spread_loss(dollars: str) -> Change:
    """One open order that can lose this much."""
    width = D(dollars) / 100
    return {
        "orders": (
            order(legs=((occ("QQQ", D(1) + width), -1), (occ("QQQ", 1), 1)), worst_price=D(0), max_loss=D(dollars),
                  buying_power=D(0)),
        )
    }  # fmt: skip


def here_loss(dollars: str) -> Change:
    """A long put of the underlying that cost this much, of another expiration."""
    return {"held": (Held(occ("SPY", 500, expiration=LATER), "SPY", 1, D(dollars) / 100, "ETF"),)}


def day_loss(dollars: str) -> Change:
    return {"start_of_day_net_liq": D(100_000) + D(dollars)}


MATRIX: dict[str, tuple[Change, Change]] = {
    "underlying_allowed": ({}, {"quotes": {"listed": False}}),
    "contracts_listed": ({}, {"quotes": {"unlisted_contracts": 1}}),
    "one_underlying": ({}, {"trade": {"legs": CONDOR_BOTH_ROOTS}}),
    "legs_max": ({"limits": {"legs_max": "2"}}, {"limits": {"legs_max": "1"}}),
    "quantity_max": ({"trade": {"quantity": 10}}, {"trade": {"quantity": 11}}),
    "trade_risk_max_pct": ({"trade": {"quantity": 5}}, {"trade": {"quantity": 6}}),
    "defined_risk": ({"trade": {"legs": CALENDAR}}, {"trade": {"legs": NAKED}}),
    "trade_size_max_pct": (
        {"around": {"broker_effect": D(10_000)}}, {"around": {"broker_effect": D("10000.01")}},
    ),
    "buying_power_agreement_max_pct": (
        {"around": {"broker_effect": D(400)}}, {"around": {"broker_effect": D("400.01")}},
    ),
    "size_max": ({"trade": {"quantity": 5}}, {"trade": {"quantity": 6}}),
    "premium_max_pct": (
        {"trade": {"start_price": D(25), "limit_price": D(25)}},
        {"trade": {"start_price": D("25.01"), "limit_price": D("25.01")}},
    ),
    "price_on_grid": ({}, {"trade": {"start_price": D("1.705")}}),
    "stays_credit": ({"trade": {"limit_price": D("0.01")}}, {"trade": {"limit_price": D(0)}}),
    "opens_only": ({}, {"trade": {"legs": (SPREAD[0], leg(LONG, OrderAction.BUY_TO_CLOSE))}}),
    "closes_only": (
        {"trade": CLOSE}, {"trade": CLOSE | {"legs": (leg(SHORT, OrderAction.BUY_TO_OPEN), CLOSING[1])}},
    ),
    "price_collar": (
        {"trade": {"limit_price": D("1.60")}, "quotes": {"natural": D("1.685")}},
        {"trade": {"limit_price": D("1.60")}, "quotes": {"natural": D("1.686")}},
    ),
    "theoretical_gap": ({"quotes": {"theoretical": D("1.88")}}, {"quotes": {"theoretical": D("1.89")}}),
    "sold_without_bid": ({}, {"quotes": {"sold_without_bid": 1}}),
    "leg_spread_max_pct": ({"quotes": {"widest_spread_pct": 30.0}}, {"quotes": {"widest_spread_pct": 30.1}}),
    "feed_max_age_seconds": ({"quotes": {"feed_age_seconds": 5.0}}, {"quotes": {"feed_age_seconds": 5.1}}),
    "quote_max_age_at_submit_seconds": (
        {"quotes": {"quote_age_seconds": 15.0}}, {"quotes": {"quote_age_seconds": 15.1}},
    ),
    "leg_skew_max_seconds": ({"quotes": {"leg_skew_seconds": 15.0}}, {"quotes": {"leg_skew_seconds": 15.1}}),
    "underlying_max_age_seconds": (
        {"quotes": {"underlying_age_seconds": 15.0}}, {"quotes": {"underlying_age_seconds": 15.1}},
    ),
    "greeks_max_age_seconds": ({"quotes": {"greeks_age_seconds": 30.0}}, {"quotes": {"greeks_age_seconds": 30.1}}),
    "quotes_sound": ({}, {"quotes": {"unsound_legs": 1}}),
    "underlying_move_max_pct": (
        {"quotes": {"underlying_move_pct": 3.0}}, {"quotes": {"underlying_move_pct": 3.01}},
    ),
    "position_to_close": (
        {"trade": CLOSE, "account": HELD},
        {"trade": CLOSE, "account": HELD | {
            "orders": (order(underlying_symbol="SPY", purpose=Purpose.CLOSE, legs=((SHORT, 1), (LONG, -1))),)}},
    ),
    "slippage_ten_minutes_max": (
        {"trade": AUTO, "account": acts(slippage_ten_minutes=D(300))},
        {"trade": AUTO, "account": acts(slippage_ten_minutes=D("300.01"))},
    ),
    "slippage_day_max": (
        {"trade": AUTO, "account": acts(slippage_today=D(750))},
        {"trade": AUTO, "account": acts(slippage_today=D("750.01"))},
    ),
    "messages_per_hour": ({"account": sent(149, 149)}, {"account": sent(150, 150)}),
    "messages_per_day": ({"account": sent(0, 399)}, {"account": sent(0, 400)}),
    "repeated_opens_per_10_minutes": (
        {"trade": AUTO, "account": acts(repeats=Repeats(1, 1, 1))},
        {"trade": AUTO, "account": acts(repeats=Repeats(2, 2, 2))},
    ),
    "repeated_opens_per_day": (
        {"trade": AUTO, "account": acts(repeats=Repeats(0, 2, 2))},
        {"trade": AUTO, "account": acts(repeats=Repeats(0, 3, 3))},
    ),
    "strategy_opens_per_day": (
        {"trade": AUTO, "account": acts(repeats=Repeats(0, 0, 19))},
        {"trade": AUTO, "account": acts(repeats=Repeats(0, 0, 20))},
    ),
    "daily_trades_automated_max": (
        {"trade": AUTO, "account": acts(automated_trades_today=19)},
        {"trade": AUTO, "account": acts(automated_trades_today=20)},
    ),
    "daily_trades_max": ({"account": acts(trades_today=49)}, {"account": acts(trades_today=50)}),
    "rejects_per_minute_max": (
        {"trade": AUTO, "account": acts(rejects_last_minute=2)},
        {"trade": AUTO, "account": acts(rejects_last_minute=3)},
    ),
    "rejects_per_day_max": (
        {"trade": AUTO, "account": acts(rejects_today=9)}, {"trade": AUTO, "account": acts(rejects_today=10)},
    ),
    "duplicate_order": (
        {"account": {"orders": (order(legs=((SHORT, -1), (LONG, 1)), worst_price=D("1.63")),)}},
        {"account": {"orders": (order(legs=((SHORT, -1), (LONG, 1)), worst_price=D("1.62")),)}},
    ),
    "self_trade": (
        {"account": {"orders": (order(legs=((SHORT, -1),)),)}}, {"account": {"orders": (order(legs=((SHORT, 1),)),)}},
    ),
    "duplicate": (
        {"account": HELD},
        {"account": {"orders": (order(underlying_symbol="SPY", legs=((occ("SPY", 580), 1),)),)}},
    ),
    "working_orders_max": ({"account": orders(5)}, {"account": orders(6)}),
    "unknown_orders_max": ({"account": orders(1, unknown=True)}, {"account": orders(2, unknown=True)}),
    "unknown_of_strategy": ({}, {"account": acts(unknown_of_strategy=1)}),
    "buying_power_used_max_pct": (
        {"account": {"maintenance_requirement": D("49658.88")}},
        {"account": {"maintenance_requirement": D("49658.89")}},
    ),
    "cash_reserve_min_pct": (
        {"account": {"buying_power": D("25341.12")}}, {"account": {"buying_power": D("25341.11")}},
    ),
    "open_order_value_max_pct": ({"account": spread_loss("9660")}, {"account": spread_loss("9661")}),
    "underlying_max_pct": ({"account": here_loss("19660")}, {"account": here_loss("19661")}),
    "expiration_max_pct": ({"account": spread_loss("9660")}, {"account": spread_loss("9661")}),
    "exposure_max_pct": ({"account": spread_loss("74660")}, {"account": spread_loss("74661")}),
    "positions_max": ({"account": structures(19)}, {"account": structures(20)}),
    "sector_positions_max": ({"account": structures(4, "ETF")}, {"account": structures(5, "ETF")}),
    "beta_delta_max_pct": (
        {"account": {"orders": (order(delta=45.3),)}}, {"account": {"orders": (order(delta=45.5),)}},
    ),
    "vega_max_pct": ({"account": {"orders": (order(vega=-245.0),)}}, {"account": {"orders": (order(vega=-245.1),)}}),
    "expiration_day_minutes_min": (
        {"quotes": {"expires_today": True, "minutes_to_close": 60.0}},
        {"quotes": {"expires_today": True, "minutes_to_close": 59.9}},
    ),
    "var_max_pct": ({"limits": {"var_max_pct": "0.1"}}, {"limits": {"var_max_pct": "0.01"}}),
    "daily_loss_max_pct": ({"account": day_loss("5000")}, {"account": day_loss("5001")}),
    "daily_loss_max": ({"account": day_loss("1000")}, {"account": day_loss("1000.01")}),
    "weekly_loss_max_pct": (
        {"account": {"start_of_week_net_liq": D(106_000)}}, {"account": {"start_of_week_net_liq": D(106_001)}},
    ),
    "drawdown_max_pct": (
        {"account": {"net_liq": D(90_000)}}, {"account": {"net_liq": D(89_999)}},
    ),
    "valid_until": ({"trade": {"valid_until": NOW}}, {"trade": {"valid_until": NOW - timedelta(seconds=1)}}),
    "market_open": ({}, {"quotes": {"market_open": False}}),
    "session_open_minutes_min": ({"quotes": {"minutes_since_open": 5.0}}, {"quotes": {"minutes_since_open": 4.9}}),
    "session_close_minutes_min": ({"quotes": {"minutes_to_close": 15.0}}, {"quotes": {"minutes_to_close": 14.9}}),
    "closing_minutes_min": (
        {"trade": CLOSE, "quotes": {"minutes_to_close": 2.0}}, {"trade": CLOSE, "quotes": {"minutes_to_close": 1.9}},
    ),
    "gate": ({}, {"around": {"gate": GateMode.HALT_OPENS}}),
    "executor_heard": ({"around": {"executor_age_seconds": 5.0}}, {"around": {"executor_age_seconds": 5.1}}),
    "executor_holds": ({"around": {"executor_holds": ("throttled",)}}, {"around": {"executor_holds": ("clock",)}}),
    "frozen": ({"account": {"frozen": {"QQQ": "differs"}}}, {"account": {"frozen": {"SPY": "differs"}}}),
    "clock_skew_max_seconds": ({"around": {"clock_skew_seconds": 2.0}}, {"around": {"clock_skew_seconds": 2.1}}),
    "versions_agree": ({}, {"around": {"strangers": ("scanner-0",)}}),
    "armed": ({"trade": AUTO}, {"trade": AUTO, "around": {"armed": False}}),
    "candidate_passed": ({"trade": AUTO}, {"trade": AUTO | {"candidate": candidate(passed=False)}}),
    "account_restricted": ({}, {"around": {"restrictions": ("margin call",)}}),
    "reservation": ({}, {"refusal": Refusal("exposure_max_pct", D("75.1"), D(75))}),
}  # fmt: skip
"""Rule → changes that pass, changes that the rule denies."""

SEEN = ("contracts", "betas", "volatility", "deltas", "vegas", "spots", "marks")
MISSING: dict[str, Change] = {
    "net_liq": {"account": {"net_liq": None}},
    "buying_power": {"account": {"buying_power": None}},
    "maintenance_requirement": {"account": {"maintenance_requirement": None}},
    "start_of_day_net_liq": {"account": {"start_of_day_net_liq": None}},
    "start_of_week_net_liq": {"account": {"start_of_week_net_liq": None}},
    "high_water_mark": {"account": {"high_water_mark": None}},
    **{
        name: {"quotes": {name: None}}
        for name in (
            "market_open", "minutes_since_open", "minutes_to_close", "expires_today", "feed_age_seconds",
            "quote_age_seconds", "leg_skew_seconds", "underlying_age_seconds", "greeks_age_seconds",
            "underlying_move_pct", "mid", "natural", "theoretical", "unsound_legs", "sold_without_bid",
            "widest_spread_pct", "listed", "unlisted_contracts",
        )
    },
    **{
        name: {"around": {name: None}}
        for name in (
            "executor_age_seconds", "executor_holds", "clock_skew_seconds", "strangers", "restrictions",
            "broker_effect",
        )
    },
    **{name: {"seen": {name: {}}} for name in SEEN},
}  # fmt: skip
"""A fact that is not known → the case without it."""

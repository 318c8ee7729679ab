"""Controls of the order itself: what it trades, how much, at which price, on which quotes."""

from __future__ import annotations

from decimal import Decimal

from risk.domain.case import Case, Number
from risk.domain.control import Breach, Control, Measured, Scope, flag
from risk.domain.facts import option_of
from schemas.trade import Purpose

TICKS, NO_TICKS = 2, Decimal(0)


def _unlisted(case: Case) -> Measured:
    return case.quotes.unlisted_contracts


def _largest_leg(case: Case) -> Measured:
    return max(leg.quantity for leg in case.trade.legs) * case.trade.quantity


def _roots(case: Case) -> Measured:
    return len({option_of(symbol).root_symbol for symbol, _ in case.legs})


def _loss_known(case: Case) -> Measured:
    return flag(case.max_loss is not None), "" if case.max_loss is not None else "nothing bounds the loss"


def _premium(case: Case) -> Measured:
    return case.pct(abs(case.worst_price) * 100 * case.trade.quantity)


def _off_grid(case: Case) -> Measured:
    tick = case.quotes.tick
    if tick <= 0:
        return None
    return max(abs(price) % tick for price in (case.trade.start_price, case.trade.limit_price))


def _turns_to_debit(case: Case) -> Measured:
    return int(case.trade.start_price > 0 >= case.trade.limit_price)


def _beyond_natural(case: Case) -> Measured:
    return None if case.quotes.natural is None else max(Decimal(0), case.quotes.natural - case.worst_price)


def _collar(case: Case) -> Number | None:
    mid, pct, ticks = case.quotes.mid, case.limit("price_collar_max_pct"), case.limit("price_collar_ticks_max")
    if mid is None or pct is None or ticks is None:
        return None
    return max(ticks * case.quotes.tick, abs(mid) * pct / 100)


def _below_theory(case: Case) -> Measured:
    fair = case.quotes.theoretical
    return None if fair is None else max(Decimal(0), fair - case.worst_price)


def _theory_gap(case: Case) -> Number | None:
    fair, pct = case.quotes.theoretical, case.limit("theoretical_gap_max_pct")
    if fair is None or pct is None:
        return None
    return max(abs(fair) * pct / 100, TICKS * case.quotes.tick * len(case.legs))


def _wrong_actions(case: Case) -> Measured:
    opens = case.trade.purpose is Purpose.OPEN
    return sum(leg.action.opens is not opens for leg in case.trade.legs)


def _not_held(case: Case) -> Measured:
    """Contracts that would be closed beyond what is held and not being closed already."""
    held = {each.occ_symbol: each.signed_quantity for each in case.account.held}
    short = 0
    for symbol, count in case.legs:
        working = sum(
            abs(own) * order.quantity
            for order in case.account.orders
            if order.purpose is Purpose.CLOSE
            for name, own in order.legs
            if name == symbol
        )
        available = (-held.get(symbol, 0) if count > 0 else held.get(symbol, 0)) - working
        short += max(0, abs(count) * case.trade.quantity - max(0, available))
    return short


CONTROLS = (
    Control(1, "underlying_allowed", "The underlying is on the list of what may be traded.", "", ">=", 1,
            lambda case: flag(case.quotes.listed), breach=Breach.WRONG),
    Control(1, "contracts_listed", "Every leg is a standard contract of the underlying's chain.", "legs that are not",
            "<=", 0, _unlisted, breach=Breach.WRONG),
    Control(1, "one_underlying", "All legs have the same root.", "roots", "<=", 1, _roots, Scope.EVERY, Breach.WRONG),
    Control(2, "legs_max", "Number of legs.", "legs", "<=", "legs_max", lambda case: len(case.legs), Scope.EVERY,
            Breach.WRONG),
    Control(2, "quantity_max", "Contracts of the largest leg.", "contracts", "<=", "quantity_max", _largest_leg,
            breach=Breach.WRONG),
    Control(3, "trade_risk_max_pct", "Greatest loss of the order at its worst price.", "% of net liq", "<=",
            "trade_risk_max_pct", lambda case: case.pct(case.max_loss)),
    Control(4, "defined_risk", "The loss is bounded, also after the first expiration.", "", ">=", 1, _loss_known,
            breach=Breach.WRONG),
    Control(6, "premium_max_pct", "Net premium of the order at its worst price.", "% of net liq", "<=",
            "premium_max_pct", _premium),
    Control(7, "price_on_grid", "First and last price are whole ticks.", "$ off the grid", "<=", 0, _off_grid,
            Scope.EVERY, Breach.WRONG),
    Control(7, "stays_credit", "What begins as a credit may not be walked into a debit.", "", "<=", 0,
            _turns_to_debit, breach=Breach.WRONG),
    Control(7, "opens_only", "An opening proposal has opening legs only.", "closing legs", "<=", 0, _wrong_actions,
            breach=Breach.WRONG),
    Control(7, "closes_only", "A closing proposal has closing legs only.", "opening legs", "<=", 0, _wrong_actions,
            Scope.CLOSING, Breach.WRONG),
    Control(8, "price_collar", "The worst price stands no further beyond natural than the collar.",
            "$ per share beyond natural", "<=", _collar, _beyond_natural, Scope.EVERY, Breach.WRONG,
            "the larger of price_collar_ticks_max ticks and price_collar_max_pct of the mid"),
    Control(8, "theoretical_gap", "The worst price is not far worse than the model value.",
            "$ per share below the model", "<=", _theory_gap, _below_theory, breach=Breach.WRONG,
            limit_text="the larger of theoretical_gap_max_pct of the model value and two ticks a leg"),
    Control(8, "sold_without_bid", "Nothing is sold that nobody bids for.", "legs", "<=", 0,
            lambda case: case.quotes.sold_without_bid),
    Control(8, "leg_spread_max_pct", "Bid–ask spread of the widest leg.", "% of its mid", "<=", "leg_spread_max_pct",
            lambda case: case.quotes.widest_spread_pct),
    Control(10, "feed_max_age_seconds", "Since the feed last brought anything.", "s", "<=", "feed_max_age_seconds",
            lambda case: case.quotes.feed_age_seconds, Scope.EVERY),
    Control(10, "quote_max_age_at_submit_seconds", "Age of the oldest leg's quote.", "s", "<=",
            "quote_max_age_at_submit_seconds", lambda case: case.quotes.quote_age_seconds, Scope.EVERY),
    Control(10, "leg_skew_max_seconds", "Newest less oldest leg's quote.", "s", "<=", "leg_skew_max_seconds",
            lambda case: case.quotes.leg_skew_seconds),
    Control(10, "underlying_max_age_seconds", "Age of the underlying's quote.", "s", "<=",
            "underlying_max_age_seconds", lambda case: case.quotes.underlying_age_seconds),
    Control(10, "greeks_max_age_seconds", "Age of the oldest leg's greeks.", "s", "<=", "greeks_max_age_seconds",
            lambda case: case.quotes.greeks_age_seconds),
    Control(11, "quotes_sound", "No leg's quote is missing, locked, crossed, one-sided or no number.", "legs", "<=",
            0, lambda case: case.quotes.unsound_legs, Scope.EVERY),
    Control(11, "underlying_move_max_pct", "Greatest move of the underlying within 60 seconds.", "%", "<=",
            "underlying_move_max_pct", lambda case: case.quotes.underlying_move_pct),
    Control(22, "position_to_close", "What is closed is held and not being closed already.",
            "contracts more than held", "<=", 0, _not_held, Scope.CLOSING, Breach.WRONG),
)  # fmt: skip
"""In the order of the checklist."""

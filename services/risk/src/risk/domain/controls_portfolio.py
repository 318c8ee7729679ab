"""Controls of the account: what everything held, reserved and proposed may cost together."""

from __future__ import annotations

from decimal import Decimal

from risk.domain.buying_power import disagreement_pct
from risk.domain.case import Case, Number, lost, plus, scaled, share, worst_sum
from risk.domain.control import Breach, Control, Measured
from risk.domain.sizing import allowed_units

_OF_NET_LIQ = "% of net liq"


def _power_used(case: Case) -> Measured:
    reserved = sum((each.buying_power for each in case.account.opens), Decimal(0))
    return case.pct(plus(case.account.maintenance_requirement, reserved, case.buying_power))


def _power_left(case: Case) -> Measured:
    reserved = sum((each.buying_power for each in case.account.opens), Decimal(0))
    taken = None if case.buying_power is None else -case.buying_power
    return case.pct(plus(case.account.buying_power, -reserved, taken))


def _agreement(case: Case) -> Measured:
    around = case.around
    if around.broker_refusal:
        return None, f"the broker's dry run refused: {around.broker_refusal}"
    if around.broker_effect is None and not around.dry_run_required:
        return Decimal(0), "no dry run was made"
    return disagreement_pct(case.own_effect, around.broker_effect)


def _open_orders(case: Case) -> Measured:
    reserved = sum((each.max_loss for each in case.account.opens), Decimal(0))
    return case.pct(plus(reserved, case.max_loss))


def _here(case: Case) -> Measured:
    return case.pct(case.worst.of_underlying.get(case.trade.underlying_symbol))


def _this_expiration(case: Case) -> Measured:
    wanted = case.first_expiration
    total: Decimal | None = Decimal(0)
    for (_, expiration), amount in case.worst.of_bucket.items():
        if expiration == wanted:
            total = plus(total, amount)
    return case.pct(total)


def _positions(case: Case) -> Measured:
    return len(case.structures.keys() | {(case.trade.underlying_symbol, case.first_expiration)})


def _of_sector(case: Case) -> Measured:
    sector = case.quotes.sector
    own = (case.trade.underlying_symbol, case.first_expiration)
    return len({key for key, each in case.structures.items() if each == sector} | {own}), sector


def _delta(case: Case) -> Measured:
    held, own = case.held_greeks[0], case.order.delta
    certain = None if held is None or own is None else held + own
    shares = worst_sum(certain, [each.delta for each in case.account.opens])
    spy = case.market.spy_price
    return None if shares is None or spy is None else case.pct(shares * spy)


def _vega(case: Case) -> Measured:
    held, own = case.held_greeks[1], case.order.vega
    certain = None if held is None or own is None else held + own
    return case.pct(worst_sum(certain, [each.vega for each in case.account.opens]))


def _short_gamma_late(case: Case) -> Measured:
    """Minutes left on the last day of something that is sold; far from 0 when nothing sold expires today."""
    if case.quotes.expires_today is None:
        return None
    sold = any(count < 0 for _, count in case.legs)
    if not (case.quotes.expires_today and sold):
        return 24 * 60, "nothing sold expires today"
    return case.quotes.minutes_to_close


def _day_loss(case: Case) -> Decimal | None:
    return lost(case.account.start_of_day_net_liq, case.account.net_liq)


def _size(case: Case) -> Number | None:
    return allowed_units(case)


CONTROLS = (
    Control(5, "trade_size_max_pct", "Buying power of the order: the larger of our rules and the broker's dry run.",
            _OF_NET_LIQ, "<=", "trade_size_max_pct", lambda case: case.pct(case.buying_power)),
    Control(5, "buying_power_agreement_max_pct", "Distance between our buying power and the broker's dry run.",
            "% of the larger", "<=", "buying_power_agreement_max_pct", _agreement),
    Control(5, "size_max", "Units against the size that loss, buying power, room and Kelly allow.", "units", "<=",
            _size, lambda case: case.trade.quantity,
            limit_text="what position sizing allows under the hard limits"),
    Control(19, "buying_power_used_max_pct", "Buying power in use with everything reserved.", _OF_NET_LIQ, "<=",
            "buying_power_used_max_pct", _power_used),
    Control(19, "cash_reserve_min_pct", "Buying power that stays free.", _OF_NET_LIQ, ">=", "cash_reserve_min_pct",
            _power_left),
    Control(20, "open_order_value_max_pct", "Greatest loss of all open orders together.", _OF_NET_LIQ, "<=",
            "open_order_value_max_pct", _open_orders),
    Control(21, "underlying_max_pct", "Worst combination of fills in this underlying.", _OF_NET_LIQ, "<=",
            "underlying_max_pct", _here),
    Control(21, "expiration_max_pct", "Worst combination of fills in this expiration, all underlyings.", _OF_NET_LIQ,
            "<=", "expiration_max_pct", _this_expiration),
    Control(22, "exposure_max_pct", "Worst combination of everything held and every order.", _OF_NET_LIQ, "<=",
            "exposure_max_pct", lambda case: case.pct(case.worst.total)),
    Control(22, "positions_max", "Structures held or being opened: one per underlying and expiration.", "structures",
            "<=", "positions_max", _positions),
    Control(22, "sector_positions_max", "Structures of one sector.", "structures", "<=", "sector_positions_max",
            _of_sector),
    Control(23, "beta_delta_max_pct", "Beta-weighted delta in dollars, magnitude, worst fills.", _OF_NET_LIQ, "<=",
            "beta_delta_max_pct", _delta),
    Control(23, "vega_max_pct", "Dollars per volatility point, magnitude, worst fills.", "% of net liq a point", "<=",
            "vega_max_pct", _vega),
    Control(23, "expiration_day_minutes_min", "Time to the close when something sold expires today.", "minutes", ">=",
            "expiration_day_minutes_min", _short_gamma_late),
    Control(23, "var_max_pct", "1-day 95 % value at risk by full revaluation, worst fills.", _OF_NET_LIQ, "<=",
            "var_max_pct", lambda case: case.pct(case.value_at_risk)),
    Control(24, "daily_loss_max_pct", "Loss since the start of the day.", _OF_NET_LIQ, "<=", "daily_loss_max_pct",
            lambda case: share(_day_loss(case), case.account.net_liq), breach=Breach.STOP_ACCOUNT),
    Control(24, "daily_loss_max", "Loss since the start of the day.", "$", "<=",
            lambda case: scaled(case.limit("daily_loss_max"), case.account.net_liq), _day_loss,
            breach=Breach.STOP_ACCOUNT, limit_text="daily_loss_max for each 100,000 of net liq"),
    Control(24, "weekly_loss_max_pct", "Loss since the start of the week.", _OF_NET_LIQ, "<=", "weekly_loss_max_pct",
            lambda case: case.pct(lost(case.account.start_of_week_net_liq, case.account.net_liq)),
            breach=Breach.STOP_ACCOUNT),
    Control(24, "drawdown_max_pct", "Loss from the high-water mark.", "% of it", "<=", "drawdown_max_pct",
            lambda case: share(lost(case.account.high_water_mark, case.account.net_liq), case.account.high_water_mark),
            breach=Breach.STOP_ACCOUNT),
)  # fmt: skip
"""In the order of the checklist."""

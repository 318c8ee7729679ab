"""What a candidate can expect when its rule set's exits manage it. Pure; the random numbers are the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from optionmath.managed import ExitPolicy, RandomPaths, StopBasis, Trade, simulate
from schemas.symbols import OptionType, parse_occ
from schemas.trade import Candidate, ManagedTrade
from strategies.rules import RuleSet

MULTIPLIER = 100


@dataclass(frozen=True, slots=True)
class LegFacts:
    """What the simulation needs of one contract."""

    volatility: float
    """Implied, a fraction a year; NaN = not known."""
    years: float
    """To its expiration."""


def managed_trade(
    candidate: Candidate, facts: Mapping[str, LegFacts], rules: RuleSet, rate: float, paths: RandomPaths
) -> ManagedTrade | None:
    """Simulate one candidate; None when a leg's volatility or time is not known, or its profit is not the credit alone.

    The path follows the forecast: the at-the-money level of the legs times the score's volatility ratio. Costs are the
    fees of opening and closing and the slippage of the fill on the way out.
    """
    known = [facts.get(leg.occ_symbol) for leg in candidate.legs]
    legs = [each for each in known if each is not None and np.isfinite(each.volatility) and each.volatility > 0]
    credit = float(candidate.expected_fill_price)
    units = candidate.quantity * MULTIPLIER
    # a debit, or stock that the legs do not show, earns something else than the credit
    only_credit = credit > 0 and abs(float(candidate.max_profit) / units - credit) < 0.005
    if len(legs) < len(known) or not only_credit or not all(each.years > 0 for each in legs):
        return None
    symbols = [parse_occ(leg.occ_symbol) for leg in candidate.legs]
    spot = float(candidate.underlying_price)
    trade = Trade(
        is_call=np.array([each.option_type is OptionType.CALL for each in symbols]),
        strike=np.array([float(each.strike) for each in symbols]),
        quantity=np.array([float(leg.action.sign * leg.quantity) for leg in candidate.legs]),
        sigma=np.array([each.volatility for each in legs]),
        years=np.array([each.years for each in legs]),
        cash=credit,
    )
    fees = sum(leg.quantity for leg in candidate.legs) * rules.fee_per_contract / MULTIPLIER
    slippage = max(0.0, float(candidate.mid_price) - credit)
    found = simulate(
        trade,
        spot,
        rate,
        paths=paths,
        policy=ExitPolicy(
            profit_target=rules.profit_target_pct / 100,
            stop_multiple=rules.stop_multiple,
            stop_basis=StopBasis(rules.stop_basis),
            # a trade opened with no more days than this is exempt from the time rule
            exit_days=float(rules.manage_dte) if candidate.dte > rules.manage_dte else None,
        ),
        realised_sigma=_nearest_the_money(trade, spot) * candidate.score_parts.get("volatility_ratio", 1.0),
        opening_cost=fees,
        closing_cost=fees + slippage,
    )
    return ManagedTrade(
        pop=found.win_rate,
        pop_error=found.win_rate_error,
        expected_value=found.expected_value * units,
        expected_value_error=found.expected_value_error * units,
        days=found.mean_days,
        target_share=found.share_target,
        stop_share=found.share_stop,
        time_share=found.share_time,
    )


def _nearest_the_money(trade: Trade, spot: float) -> float:
    """Volatility of the leg nearest the price: what the structure itself says of the middle of the smile."""
    return float(trade.sigma[np.argmin(np.abs(np.log(trade.strike / spot)))])

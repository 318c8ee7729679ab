"""The managed trade beside the one held to expiration: reference rows, missing facts, costs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from optionmath.managed import RandomPaths
from schemas.trade import Candidate, Leg, OrderAction, SpreadType
from strategies.managed_trade import LegFacts, managed_trade
from strategies.rules import RuleSet

NOW = datetime(2026, 11, 2, 21, 0, tzinfo=UTC)
SHORT, LONG = "XYZ   261217P00096500", "XYZ   261217P00091500"
FACTS = {symbol: LegFacts(0.25, 45 / 365) for symbol in (SHORT, LONG)}
PATHS = RandomPaths(20_000)
FREE = RuleSet(fee_per_contract=0.0)


def candidate(**changes: object) -> Candidate:
    """A put credit spread 96.5/91.5 at 1.19, spot 100, 45 days: the reference trade of the simulation's table."""
    values: dict[str, object] = {
        "ts_event": NOW, "candidate_id": "c", "cycle_id": "1", "underlying_symbol": "XYZ",
        "spread_type": SpreadType.PUT_CREDIT_SPREAD,
        "legs": (
            Leg(occ_symbol=SHORT, action=OrderAction.SELL_TO_OPEN, quantity=1),
            Leg(occ_symbol=LONG, action=OrderAction.BUY_TO_OPEN, quantity=1),
        ),
        "quantity": 1, "expiration": "2026-12-17", "dte": 45, "sector": "ETF", "mid_price": "1.19",
        "natural_price": "1.10", "expected_fill_price": "1.19", "limit_price": "1.10", "tick_size": "0.01",
        "width": "5", "max_profit": "119", "max_loss": "381", "breakevens": ("95.31",), "pop": 0.71,
        "underlying_price": "100", "passed": True, "rules": (),
    }  # fmt: skip
    return Candidate.model_validate(values | changes)


@pytest.mark.parametrize(("ratio", "win", "value"), [(1.0, 0.647, -0.001), (0.85, 0.664, 0.059), (1.15, 0.632, -0.053)])
def test_the_reference_trade_is_managed_as_published(ratio: float, win: float, value: float) -> None:
    """Half the profit, stop at twice the credit, 21 days; realised volatility .85, 1 and 1.15 times implied."""
    found = managed_trade(candidate(score_parts={"volatility_ratio": ratio}), FACTS, FREE, 0.04, PATHS)
    assert found is not None
    assert found.pop == pytest.approx(win, abs=0.012)
    assert found.expected_value / 100 == pytest.approx(value, abs=0.025)
    assert found.target_share + found.stop_share + found.time_share == pytest.approx(1.0, abs=1e-9)


def test_costs_are_paid_twice_and_units_multiply() -> None:
    """Fees on the way in and out, slippage on the way out."""
    free = managed_trade(candidate(), FACTS, FREE, 0.04, PATHS)
    dear = managed_trade(candidate(mid_price="1.23"), FACTS, RuleSet(fee_per_contract=1.0), 0.04, PATHS)
    five = managed_trade(candidate(quantity=5, max_profit="595", max_loss="1905"), FACTS, FREE, 0.04, PATHS)
    assert free is not None
    assert dear is not None
    assert five is not None
    assert dear.expected_value < free.expected_value - 4
    assert five.expected_value == pytest.approx(5 * free.expected_value)


def test_what_is_not_known_is_not_simulated() -> None:
    """A leg without a volatility, a debit, or stock behind the legs: no number rather than a wrong one."""
    assert managed_trade(candidate(), {SHORT: FACTS[SHORT]}, FREE, 0.04, PATHS) is None
    assert managed_trade(candidate(), FACTS | {LONG: LegFacts(float("nan"), 0.1)}, FREE, 0.04, PATHS) is None
    assert managed_trade(candidate(expected_fill_price="-1.19"), FACTS, FREE, 0.04, PATHS) is None
    assert managed_trade(candidate(max_profit="400"), FACTS, FREE, 0.04, PATHS) is None


def test_a_trade_opened_within_the_time_rule_is_exempt_from_it() -> None:
    """Opened at 14 days it is not closed at once."""
    facts = {symbol: LegFacts(0.25, 14 / 365) for symbol in FACTS}
    found = managed_trade(candidate(dte=14), facts, FREE, 0.04, PATHS)
    assert found is not None
    assert found.time_share == 0
    assert found.days > 2

"""Size: the least of what the rules allow, named; refusals with value, limit and distance.

Invariants: no bound is ever exceeded and one more unit would exceed the binding one; more edge, more net liq or more
room never means fewer units; the Kelly size maximises expected log wealth.
"""

from __future__ import annotations

import os
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.payoff import PayoffLeg
from optionmath.smile import Smile, distribution
from strategies.rules import RuleSet
from strategies.sizing import (
    Outcomes,
    Sized,
    SizeRefusal,
    SizeRequest,
    growth_optimal_units,
    outcomes_at_expiration,
    size,
)

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
D = Decimal
RULES = RuleSet()
PLAIN = SizeRequest(
    max_loss=D(150), max_profit=D(60), buying_power=D(150), fees=D("2.24"), expected_value=4.0, net_liq=D(100_000),
    buying_power_free=D(25_000),
)  # fmt: skip


def coin(win: float, lose: float, probability: float) -> Outcomes:
    return Outcomes(np.array([win, -lose]), np.array([probability, 1 - probability]))


def sized(request: SizeRequest, rules: RuleSet = RULES) -> Sized:
    found = size(request, rules)
    assert isinstance(found, Sized), found
    return found


def refused(request: SizeRequest, rules: RuleSet = RULES) -> dict[str, tuple[float | None, float | None, float | None]]:
    found = size(request, rules)
    assert isinstance(found, SizeRefusal), found
    assert not any(each.passed for each in found.reasons)
    return {each.rule: (each.value, each.limit, each.margin) for each in found.reasons}


def test_half_a_percent_of_net_liq_by_hand() -> None:
    """$500 of $100,000 at $150 a unit are three units."""
    found = sized(PLAIN)
    assert (found.units, found.bound_by) == (3, "max_loss_pct_of_net_liq")
    assert {each.rule: each.units for each in found.bounds} == {
        "max_loss_pct_of_net_liq": 3, "trade_size_max_pct": 66, "buying_power_free": 166, "underlying_max_pct": 133,
        "kelly_fraction": None, "quantity_max": 10,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "units", "bound_by"),
    [
        ({"buying_power_free": D(299)}, 1, "buying_power_free"),
        ({"buying_power": D(6_000)}, 1, "trade_size_max_pct"),
        ({"underlying_exposure": D(19_600)}, 2, "underlying_max_pct"),
        ({"max_loss": D(20)}, 10, "quantity_max"),
        ({"outcomes": coin(60, 150, 0.72)}, 2, "kelly_fraction"),
        ({"variance": 13_000.0, "expected_value": 1.2}, 2, "kelly_fraction"),
    ],
)  # fmt: skip
def test_each_bound_can_bind(change: dict[str, object], units: int, bound_by: str) -> None:
    """And says its name."""
    request = replace(PLAIN, **change)  # type: ignore[arg-type] # tests name fields of SizeRequest
    rules = RULES.model_copy(update={"kelly_fraction": 0.25 if "variance" in change else 0.20})
    assert (sized(request, rules).units, sized(request, rules).bound_by) == (units, bound_by)


@pytest.mark.parametrize(
    ("change", "rule", "numbers"),
    [
        ({"expected_value": 0.0}, "expected_value", (0.0, 0.0, 0.0)),
        ({"expected_value": -3.0}, "expected_value", (-3.0, 0.0, -3.0)),
        ({"expected_value": None}, "expected_value", (None, 0.0, None)),
        ({"fees": D(9)}, "fees_pct_of_max_profit_max", (15.0, 10.0, -5.0)),
        ({"max_profit": D(0)}, "fees_pct_of_max_profit_max", (None, 10.0, None)),
        ({"max_loss": D(501)}, "max_loss_pct_of_net_liq", (501.0, 500.0, -1.0)),
        ({"max_loss": None}, "max_loss_pct_of_net_liq", (None, 0.5, None)),
        ({"buying_power_free": D(100)}, "buying_power_free", (150.0, 100.0, -50.0)),
        ({"buying_power_free": D(-5)}, "buying_power_free", (150.0, -5.0, -155.0)),
        ({"underlying_exposure": D(20_000)}, "underlying_max_pct", (150.0, 0.0, -150.0)),
    ],
)  # fmt: skip
def test_a_refusal_says_value_limit_and_distance(
    change: dict[str, object], rule: str, numbers: tuple[float | None, float | None, float | None]
) -> None:
    """Alone: no other rule is blamed."""
    found = refused(replace(PLAIN, **change))  # type: ignore[arg-type] # tests name fields of SizeRequest
    assert found == {rule: numbers}


def test_an_unknown_requirement_is_refused_and_an_unknown_value_only_by_rule() -> None:
    """A missing fact fails its rule."""
    assert set(refused(replace(PLAIN, buying_power=None))) == {"trade_size_max_pct", "buying_power_free"}
    lenient = RULES.model_copy(update={"expected_value_required": False})
    assert sized(replace(PLAIN, expected_value=None), lenient).units == 3
    assert "expected_value" in refused(replace(PLAIN, expected_value=-1.0), lenient)


def test_unlimited_loss_is_sized_by_buying_power_where_the_rule_set_opens_the_limit() -> None:
    """A strangle with $2,000 of margin: 5 % of $100,000 are two."""
    rules = RULES.model_copy(update={"max_loss_pct_of_net_liq": 100.0, "trade_size_max_pct": 5.0})
    found = sized(replace(PLAIN, max_loss=None, max_profit=D(200), buying_power=D(2_000)), rules)
    assert (found.units, found.bound_by) == (2, "trade_size_max_pct")


def test_kelly_of_a_coin_is_the_textbook_s() -> None:
    """Even money at 60 %: 20 % of wealth; 0.33 for 1 at 80 %: p − (1 − p)/b."""
    assert growth_optimal_units(coin(1, 1, 0.6), 1000) == pytest.approx(200)
    assert growth_optimal_units(coin(0.33, 1, 0.80), 1000) == pytest.approx(1000 * (0.80 - 0.20 / 0.33))
    assert growth_optimal_units(coin(0.33, 1, 0.70), 1000) == 0
    assert growth_optimal_units(coin(1, -0.5, 0.5), 1000) == float("inf")
    assert growth_optimal_units(coin(1, 2.2e-309, 0.5), 1000) == float("inf")
    with pytest.raises(ValueError, match="wealth is 0"):
        growth_optimal_units(coin(1, 1, 0.6), 0)


@pytest.mark.parametrize(
    ("pnl", "probability", "says"),
    [([1.0], [0.5, 0.5], "as many"), ([1.0, np.nan], [0.5, 0.5], "finite"), ([1.0, -1.0], [0.5, 0.4], "sum to")],
)
def test_outcomes_that_are_no_distribution_are_refused(pnl: list[float], probability: list[float], says: str) -> None:
    """Before they size anything."""
    with pytest.raises(ValueError, match=says):
        Outcomes(np.array(pnl), np.array(probability))


@settings(max_examples=60 * SCALE, deadline=None)
@given(
    pnl=st.lists(st.floats(-500, 500), min_size=2, max_size=8),
    weight=st.lists(st.floats(0.05, 1), min_size=8, max_size=8),
    wealth=st.floats(1_000, 1e6),
)
def test_the_kelly_size_maximises_expected_log_wealth(pnl: list[float], weight: list[float], wealth: float) -> None:
    """Neither a little more nor a little less grows faster."""
    probability = np.array(weight[: len(pnl)]) / sum(weight[: len(pnl)])
    outcomes = Outcomes(np.array(pnl), probability)
    best = growth_optimal_units(outcomes, wealth)
    assert (best == 0) == (outcomes.mean <= 0)
    if best in (0.0, float("inf")):
        assert best == 0 or outcomes.pnl.min() > -1e-9
        return

    def growth(units: float) -> float:
        after = wealth + units * outcomes.pnl
        return float(probability @ np.log(after)) if (after > 0).all() else -np.inf

    assert growth(best) >= growth(best * 0.99) - 1e-12
    assert growth(best) >= growth(best * 1.01) - 1e-12


@settings(max_examples=100 * SCALE, deadline=None)
@given(
    loss=st.decimals(1, 5_000, places=2), power=st.decimals(1, 20_000, places=2), free=st.decimals(0, 60_000, places=2),
    used=st.decimals(0, 30_000, places=2), net_liq=st.decimals(1_000, 500_000, places=2),
)  # fmt: skip
def test_no_bound_is_exceeded_and_one_more_unit_would_exceed_the_binding_one(
    loss: Decimal, power: Decimal, free: Decimal, used: Decimal, net_liq: Decimal
) -> None:
    """And more net liq never means fewer units."""
    request = replace(
        PLAIN, max_loss=loss, buying_power=power, buying_power_free=free, underlying_exposure=used, net_liq=net_liq
    )
    found = size(request, RULES)
    units = found.units if isinstance(found, Sized) else 0
    assert units * loss * 200 <= net_liq
    assert units * power * 10 <= net_liq
    assert units * power <= free
    assert units * loss + used <= net_liq / 5 or not units
    if isinstance(found, Sized):
        bound = next(each for each in found.bounds if each.rule == found.bound_by)
        assert bound.per_unit is not None
        assert bound.limit is not None
        assert (units + 1) * bound.per_unit > bound.limit * (1 - 1e-12)
    richer = size(replace(request, net_liq=net_liq * 2), RULES)
    assert (richer.units if isinstance(richer, Sized) else 0) >= units


def test_outcomes_of_a_spread_under_a_flat_smile() -> None:
    """Bounded by max profit and max loss; the mean is the credit less the value of the spread."""
    market = distribution(Smile(100.0, 0.12, (0.0075, 0.0, 0.0), -0.4, 0.4, 0.001, 0.0))
    legs = [PayoffLeg(False, D(90), 1), PayoffLeg(False, D(95), -1)]
    found = outcomes_at_expiration(legs, D("1.00"), market, fees=D("2.24"))
    assert found.pnl.max() == pytest.approx(100 - 2.24)
    assert found.pnl.min() == pytest.approx(-400 - 2.24)
    value = market.put_value(np.array([95.0, 90.0]))
    assert found.mean == pytest.approx(100 * (1 - (value[0] - value[1])) - 2.24, abs=0.05)

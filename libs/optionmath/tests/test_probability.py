"""Probabilities, expected values and shortfalls in closed form agree with each other, references and sampling.

Invariants: POP, loss and scratch add to 1; the CDF rises; the law's mean is its forward; a position traded at its
smile's prices has no expected value; a touch is at least as likely as an end beyond.
"""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from optionmath.blackscholes import Floats, price
from optionmath.probability import (
    Definition,
    FlatCurve,
    Law,
    LinearPayoff,
    credit_bounds,
    expected_shortfall,
    expected_value,
    forecast_law,
    in_the_money_probability,
    law_touch_probability,
    market_law,
    outlook,
    profit_probability,
    touch_probability,
)
from optionmath.smile import Smile
from optionmath.svi import RawSvi

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
SKEWED = RawSvi(-0.00855, 0.05665, -0.1784, 0.0128, 0.1730)
YEARS = 0.0959


def law(definition: Definition = Definition.SKEW, ratio: float = 1.0) -> Law:
    """The SPXW smile of 2026-08-14 on a forward of 100."""
    return forecast_law(SKEWED, 100.0, YEARS, ratio, definition)


def sampled(of: Law, count: int = 200_000) -> Floats:
    """Prices at evenly spaced probabilities of a law."""
    grid = of.mean * np.exp(np.linspace(-1.5, 0.8, 100_001))
    return np.interp((np.arange(count) + 0.5) / count, of.below(grid), grid)


legs = st.lists(st.tuples(st.booleans(), st.integers(85, 112), st.sampled_from([-2, -1, 1, 2])), min_size=1, max_size=4)
positions = st.builds(
    lambda columns, cents, shares: LinearPayoff.of_legs(*zip(*columns, strict=True), cents / 100, shares=shares),
    legs, st.integers(-600, 600), st.sampled_from([0.0, 0.0, 1.0, -1.0]),
)  # fmt: skip

PUT_SPREAD = LinearPayoff.of_legs([False, False], [96.5, 91.5], [-1, 1], 1.19)
CONDOR = LinearPayoff.of_legs([False, False, True, True], [92, 87, 109, 114], [-1, 1, -1, 1], 1.08)
COVERED_CALL = LinearPayoff.of_legs([True], [105], [-1], 0.9 - 100, shares=1.0)
STRANGLE = LinearPayoff.of_legs([False, True], [95, 105], [-1, -1], 1.2)


def references(kind: str) -> list[dict[str, str]]:
    path = SHARED / "reference" / "reference_values.csv"
    if not path.exists():
        pytest.skip(f"reference values are not at {path}: set TT_SHARED_DATA")
    rows = [row for row in csv.DictReader(path.open()) if row["kind"] == kind]
    assert rows
    return rows


def test_reference_probabilities_of_profit() -> None:
    """Lognormal iron condor and put vertical, derived by closed form and a four-million-path simulation."""
    for row in references("pop_multi"):
        extra = dict(pair.split("=") for pair in row["extra"].split(";"))
        columns = [(leg[-1] == "C", float(leg[1:-1]), 1 if leg[0] == "+" else -1) for leg in extra["legs"].split("/")]
        spot, years, rate, sigma = (float(row[name]) for name in ("S", "T", "r", "sigma"))
        market = market_law(FlatCurve(sigma**2 * years), spot * math.exp(rate * years), years, Definition.FLAT)
        payoff = LinearPayoff.of_legs(*zip(*columns, strict=True), float(extra["net"]))
        assert profit_probability(payoff, market) == pytest.approx(float(row["value"]), abs=float(row["tol"]))


def test_reference_digital() -> None:
    """Cash-or-nothing put (Haug 1998, p. 88) is its cash times the discounted probability."""
    for row in references("digital_cash"):
        spot, strike, years, rate, q, sigma = (float(row[name]) for name in ("S", "K", "T", "r", "q", "sigma"))
        market = market_law(FlatCurve(sigma**2 * years), spot * math.exp((rate - q) * years), years)
        found = float(row["extra"].split("=")[1]) * math.exp(-rate * years) * market.below(strike)
        assert found == pytest.approx(float(row["value"]), abs=float(row["tol"]))


def test_touch_reference_and_rule_of_thumb() -> None:
    """S = 100, H = 105, σ = .2, 60 days, r = .01: .540703; near twice P(ends beyond)."""
    found = touch_probability(100, 105, 60 / 365, 0.2, 0.01)
    assert found == pytest.approx(0.540703, abs=1e-6)
    beyond = in_the_money_probability(
        market_law(FlatCurve(0.04 * 60 / 365), 100 * math.exp(0.01 * 60 / 365), 60 / 365), True, 105
    )
    assert found == pytest.approx(2 * beyond, rel=0.05)


@given(st.floats(60, 150), st.floats(0.02, 1.0), st.floats(0.08, 0.9), st.floats(-0.05, 0.08))
def test_a_touch_is_likelier_than_an_end_beyond_and_watching_less_sees_less(
    barrier: float, years: float, sigma: float, drift: float
) -> None:
    """P(ends beyond) ≤ P(touch at a daily close) ≤ P(touch) ≤ 1."""
    always = float(touch_probability(100, barrier, years, sigma, drift))
    daily = float(touch_probability(100, barrier, years, sigma, drift, observations_per_year=252))
    d2 = (math.log(100 / barrier) + (drift - sigma**2 / 2) * years) / (sigma * math.sqrt(years))
    beyond = float(ndtr(d2 if barrier >= 100 else -d2))
    assert beyond - 1e-12 <= daily <= always + 1e-12 <= 1 + 2e-12


def test_touch_agrees_with_a_simulated_daily_walk() -> None:
    """Broadie–Glasserman–Kou's shift against 40,000 seeded paths of 60 closes."""
    generator = np.random.default_rng(11)
    sigma, steps, dt = 0.25, 60, 1 / 252
    walk = np.cumsum(generator.standard_normal((40_000, steps)) * sigma * math.sqrt(dt) - sigma**2 / 2 * dt, axis=1)
    for barrier in (92.0, 108.0):
        hit = (np.max if barrier > 100 else np.min)(walk, axis=1)
        share = np.mean(hit >= math.log(barrier / 100) if barrier > 100 else hit <= math.log(barrier / 100))
        found = touch_probability(100, barrier, steps * dt, sigma, 0.0, observations_per_year=252)
        assert found == pytest.approx(share, abs=0.01)


def test_touch_without_sense_is_nan_and_alone() -> None:
    """One bad element does not disturb the others; at the barrier the price has touched it."""
    found = touch_probability([100, 100, -1, 100], [105, 105, 105, 100], [0.1, 0.0, 0.1, 0.1], 0.2, 0.0)
    assert np.isnan(found).tolist() == [False, True, True, False]
    assert found[3] == 1.0


@given(st.floats(0.5, 1.3), st.sampled_from(list(Definition)))
def test_the_distribution_rises_from_zero_to_one_and_its_mean_is_the_forward(
    ratio: float, definition: Definition
) -> None:
    """A CDF, a martingale; E[S] over all prices is the mean, and calls and puts obey parity."""
    of = law(definition, ratio)
    grid = np.concatenate(([0.0], 100 * np.exp(np.linspace(-1, 1, 301)), [np.inf]))
    cdf = of.below(grid)
    assert (np.diff(cdf) >= -1e-12).all()
    assert (cdf[0], cdf[-1]) == (0.0, 1.0)
    assert of.call_value(1e-9) == pytest.approx(100.0, rel=1e-9)
    assert of.call_value(grid[1:-1]) - of.put_value(grid[1:-1]) == pytest.approx(100 - grid[1:-1], abs=1e-9)
    if definition is not Definition.STRIKE:
        assert not of.degraded
        assert of.mean_below(np.inf) == 100.0


def test_skew_is_the_slope_of_the_put_in_strike() -> None:
    """Breeden and Litzenberger: P(S < K) = ∂put/∂K; the other two definitions miss the skew."""
    strike, step = np.linspace(85, 112, 28), 1e-4
    slope = (law().put_value(strike + step) - law().put_value(strike - step)) / (2 * step)
    assert law().below(strike) == pytest.approx(slope, abs=1e-7)
    for definition in (Definition.FLAT, Definition.STRIKE):
        assert np.abs(law(definition).below(strike) - slope).max() > 0.02


def test_a_smile_that_is_no_distribution_falls_back_and_says_so() -> None:
    """A parabola cut off flat has a digital that falls: probabilities come from the strike's own volatility."""
    cut = Smile(100.0, 0.1, (0.004, -0.06, 0.0), -0.05, 0.03, 1e-4, 0.0)
    found = market_law(cut, 100.0, 0.1)
    assert found.degraded
    strike = np.array([94.0, 100.0])
    assert found.below(strike) == pytest.approx(market_law(cut, 100.0, 0.1, Definition.STRIKE).below(strike))
    assert outlook(PUT_SPREAD, found).degraded


@settings(deadline=None)
@given(positions, st.sampled_from(list(Definition)), st.sampled_from([0.85, 1.0]))
def test_profit_loss_and_scratch_add_to_one(payoff: LinearPayoff, definition: Definition, ratio: float) -> None:
    """Whatever the legs; and no shortfall is better than the mean."""
    found = outlook(payoff, law(definition, ratio))
    parts = (found.profit_probability, found.loss_probability, found.scratch_probability)
    assert sum(parts) == pytest.approx(1, abs=1e-9)
    assert all(-1e-12 <= part <= 1 + 1e-12 for part in parts)
    if definition is not Definition.STRIKE:
        assert found.expected_shortfall >= -found.expected_value - 1e-6


@given(positions, st.floats(-8, 8))
def test_intervals_are_where_the_payoff_says(payoff: LinearPayoff, level: float) -> None:
    """Inside the intervals P&L is above the level, outside it is not."""
    prices = np.linspace(0.0, 220.0, 1101)
    inside = np.zeros(len(prices), dtype=bool)
    for low, high in payoff.intervals_above(level):
        inside |= (prices > low) & (prices < high)
    value = payoff.value_at(prices)
    clear = np.abs(value - level) > 1e-6
    clear &= (prices > 0) | (value <= level)
    assert (inside[clear] == (value[clear] > level)).all()


@settings(deadline=None)
@given(legs)
def test_a_position_traded_at_its_own_prices_has_no_expected_value(columns: list[tuple[bool, int, int]]) -> None:
    """EV is 0 under the market's law; premium sold earns when the forecast is calmer, and the other way round."""
    is_call, strike, quantity = (np.array(each) for each in zip(*columns, strict=True))
    market = law()
    values = np.where(is_call, market.call_value(strike), market.put_value(strike))
    payoff = LinearPayoff.of_legs(is_call, strike, quantity, -float(quantity @ values))
    assert expected_value(payoff, market) == pytest.approx(0, abs=1e-9)
    if (quantity < 0).all():
        assert expected_value(payoff, law(ratio=0.85)) > 0 > expected_value(payoff, law(ratio=1.15))


@pytest.mark.parametrize("payoff", [PUT_SPREAD, CONDOR, COVERED_CALL, STRANGLE])
@pytest.mark.parametrize("ratio", [1.0, 0.85])
def test_closed_forms_agree_with_sampling(payoff: LinearPayoff, ratio: float) -> None:
    """POP, EV and 95 % shortfall against 200,000 evenly spaced outcomes of the same law."""
    of = law(ratio=ratio)
    profit = np.sort(payoff.value_at(sampled(of)))
    found = outlook(payoff, of)
    assert found.profit_probability == pytest.approx(np.mean(profit > 0), abs=2e-5)
    assert found.expected_value == pytest.approx(profit.mean(), abs=2e-3)
    assert found.expected_shortfall == pytest.approx(-profit[: len(profit) // 20].mean(), abs=6e-3)


def test_expected_value_of_a_lognormal_vertical_is_the_textbook_sum() -> None:
    """Credit minus the difference of two undiscounted Black–Scholes puts; fees shift it by themselves."""
    sigma, years = 0.25, 45 / 365
    flat = market_law(FlatCurve(sigma**2 * years), 100.0, years, Definition.FLAT)
    puts = price(100.0, np.array([96.5, 91.5]), years, sigma, 0.0, 0.0, False)
    assert expected_value(PUT_SPREAD, flat) == pytest.approx(1.19 - (puts[0] - puts[1]), abs=1e-12)
    after_fees = LinearPayoff.of_legs([False, False], [96.5, 91.5], [-1, 1], 1.19 - 0.04)
    assert expected_value(after_fees, flat) == pytest.approx(expected_value(PUT_SPREAD, flat) - 0.04)
    assert profit_probability(after_fees, flat) < profit_probability(PUT_SPREAD, flat)


def test_shortfall_of_simple_positions_by_hand() -> None:
    """A loss certain in the tail is its own mean; a long option loses its debit; confidence is a probability."""
    short_put_spread_far_in = LinearPayoff.of_legs([False, False], [120, 115], [-1, 1], 4.0)
    assert expected_shortfall(short_put_spread_far_in, law()) == pytest.approx(1.0, abs=1e-9)
    long_call = LinearPayoff.of_legs([True], [104], [1], -0.8)
    assert expected_shortfall(long_call, law()) == pytest.approx(0.8, abs=1e-9)
    with pytest.raises(ValueError, match="confidence"):
        expected_shortfall(long_call, law(), confidence=1.0)


def test_a_worse_forecast_error_widens_the_errors_only() -> None:
    """The estimate stays; its standard errors grow with the forecast's."""
    exact, rough, rougher = (outlook(CONDOR, law(), ratio_error=error) for error in (0.0, 0.05, 0.1))
    assert exact.expected_value == rough.expected_value == rougher.expected_value
    assert 0 == exact.expected_value_error < rough.expected_value_error < rougher.expected_value_error
    assert 0 == exact.profit_probability_error < rough.profit_probability_error < rougher.profit_probability_error


def test_drift_zero_and_drift_r_are_the_two_means() -> None:
    """A forecast without drift centres on the spot: puts end in the money more often than around the forward."""
    spot, forward = 100.0, 100.0 * math.exp(0.04 * YEARS)
    still, drifting = (forecast_law(SKEWED, mean, YEARS, 0.9) for mean in (spot, forward))
    assert in_the_money_probability(still, False, 96) > in_the_money_probability(drifting, False, 96)
    both = in_the_money_probability(still, [True, False], 96)
    assert both.sum() == pytest.approx(1)


@given(st.floats(80, 115))
def test_touch_under_a_law_is_at_least_its_own_chance_of_ending_beyond(barrier: float) -> None:
    """Also where skew makes the digital larger than a lognormal's."""
    of = law()
    below = float(of.below(barrier))
    beyond = 1 - below if barrier >= 100 else below
    found = float(law_touch_probability(of, 100.0, barrier, observations_per_year=252))
    assert beyond - 1e-12 <= found <= 1


@given(st.integers(82, 99), st.integers(1, 8), st.integers(101, 110), st.integers(1, 8))
def test_fair_credits_lie_within_the_bounds_and_bad_quotes_do_not(put: int, down: int, call: int, up: int) -> None:
    """D W P(beyond long) ≤ credit ≤ D W P(beyond short), a side or both; half the width again is no credit."""
    market, discount = law(), math.exp(-0.04 * YEARS)
    strikes = {"short_put": put, "long_put": put - down, "short_call": call, "long_call": call + up}
    puts = market.put_value([put, put - down])
    calls = market.call_value([call, call + up])
    credit = discount * float(puts[0] - puts[1] + calls[0] - calls[1])
    both = credit_bounds(market, discount, **strikes)  # type: ignore[arg-type]
    assert both.inside(credit)
    assert not both.inside(credit + (down + up) / 2 + 0.5)
    one = credit_bounds(market, discount, short_put=put, long_put=put - down)
    assert one.inside(discount * float(puts[0] - puts[1]))
    assert not one.inside(-0.01)
    assert one.inside(-0.01, tolerance=0.02 + float(one.low))


@pytest.mark.parametrize(
    "columns",
    [([True], [100.0, 101.0], [1]), ([True], [-5.0], [1]), ([True], [100.0], [np.nan])],
)
def test_legs_without_sense_are_refused(columns: tuple[list[bool], list[float], list[float]]) -> None:
    """Columns of different length, strikes that are not positive, numbers that are not finite."""
    with pytest.raises(ValueError, match="legs need"):
        LinearPayoff.of_legs(*columns, 0.0)


@pytest.mark.parametrize(("mean", "years", "ratio"), [(0.0, 0.1, 1.0), (100.0, 0.0, 1.0), (100.0, 0.1, 0.0)])
def test_a_law_without_sense_is_refused(mean: float, years: float, ratio: float) -> None:
    """Mean, time, ratio and variance are positive."""
    with pytest.raises(ValueError, match="positive"):
        forecast_law(SKEWED, mean, years, ratio)
    with pytest.raises(ValueError, match="variance"):
        market_law(FlatCurve(0.0), 100.0, 0.1)

"""VaR and ES of a book: the same numbers as revaluing leg by leg, coherent, additive, and honest about Taylor.

Invariants: position shares sum to the whole; ES >= VaR; scaling quantity scales both; ES is subadditive; a position
that cannot be valued makes the answer NaN and is named.
"""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.blackscholes import greeks, price
from optionmath.revaluation import (
    Book,
    Floats,
    Holding,
    OptionHolding,
    Scenarios,
    ShareHolding,
    calm,
    leg_greeks,
    profit_and_loss,
    revalue,
)
from optionmath.value_at_risk import (
    cornish_fisher_loss,
    historical_scenarios,
    quantile_loss,
    student_t_scenarios,
    tail_mean_loss,
    taylor_profit_and_loss,
    value_at_risk,
)

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
SPOTS = {"SPY": 600.0, "AAPL": 200.0, "XYZ": 50.0}
BETAS = {"SPY": 1.0, "AAPL": 1.2, "XYZ": 1.5}


def option(name: str, strike: float, quantity: float, *, is_call: bool = False, position: str = "") -> OptionHolding:
    return OptionHolding(
        position or name,
        name,
        is_call,
        strike,
        45 / 365,
        0.2 + 0.3 * (SPOTS[name] / strike - 1) ** 2,
        quantity,
        0.04,
        0.01,
    )


def spread(name: str, lots: float = 1.0) -> list[Holding]:
    spot = SPOTS[name]
    return [option(name, 0.95 * spot, -lots), option(name, 0.93 * spot, lots)]


def scenarios(count: int = 500, seed: int = 7) -> Scenarios:
    return student_t_scenarios(BETAS, {"SPY": 0.0, "AAPL": 0.2, "XYZ": 0.4}, 0.16, count=count, seed=seed)


def move(returns: list[float], volatility: float = 1.0, elapsed: float = 0.0) -> Scenarios:
    shape = np.tile(np.array(returns), (len(SPOTS), 1))
    return Scenarios(tuple(SPOTS), shape, np.full_like(shape, volatility), elapsed)


holdings = st.lists(
    st.one_of(
        st.builds(
            OptionHolding,
            st.sampled_from("abc"),
            st.sampled_from(sorted(SPOTS)),
            st.booleans(),
            st.floats(40, 700),
            st.floats(2 / 365, 1),
            st.floats(0.1, 0.9),
            st.integers(-5, 5).filter(bool).map(float),
            st.floats(0, 0.06),
            st.floats(0, 0.03),
        ),
        st.builds(ShareHolding, st.sampled_from("abc"), st.sampled_from(sorted(SPOTS)), st.floats(-300, 300)),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40 * SCALE, deadline=None)
@given(holdings, st.integers(0, 1000))
def test_the_compiled_book_agrees_with_the_pricing_formula(legs: list[Holding], seed: int) -> None:
    """Every position in every scenario is the sum of its legs priced one by one, time passed included."""
    book, shocks = Book.of(legs, SPOTS), scenarios(40, seed)
    expected = np.zeros((len(book.positions), shocks.count))
    for leg in legs:
        row = shocks.underlyings.index(leg.underlying)
        spot = SPOTS[leg.underlying] * (1 + shocks.spot_return[row])
        if isinstance(leg, ShareHolding):
            worth: Floats = leg.signed_quantity * spot
        else:
            sigma = leg.sigma * shocks.volatility_factor[row]
            years = max(leg.years - shocks.elapsed_years, 0)
            value = price(spot, leg.strike, years, sigma, leg.rate, leg.dividend_yield, leg.is_call)
            worth = leg.signed_quantity * leg.multiplier * value
        expected[book.positions.index(leg.position)] += worth
    assert revalue(book, shocks) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=40 * SCALE, deadline=None)
@given(holdings)
def test_greeks_of_the_book_agree_with_the_formulas_and_with_bumps(legs: list[Holding]) -> None:
    """First-order greeks equal those of `blackscholes`; vanna and vomma equal differences of delta and vega."""
    options = [replace(leg, position=str(n)) for n, leg in enumerate(legs) if isinstance(leg, OptionHolding)]
    book = Book.of(options, SPOTS)
    found = leg_greeks(book)
    spot = book.spots[book.underlying] if options else book.spots

    def at(sigma: Floats) -> tuple[Floats, ...]:
        each = greeks(spot, book.strike, book.years, sigma, book.rate, book.dividend_yield, book.is_call)
        return tuple(value * book.size for value in (each.delta, each.gamma, each.theta, each.vega, each.rho))

    for mine, theirs in zip(
        (found.delta, found.gamma, found.theta, found.vega, found.rho), at(book.sigma), strict=True
    ):
        assert mine == pytest.approx(theirs, rel=1e-9, abs=1e-7)
    up, down = at(book.sigma + 1e-4), at(book.sigma - 1e-4)
    assert found.vanna == pytest.approx((up[0] - down[0]) / 0.02, rel=1e-3, abs=1e-4)
    assert found.vomma == pytest.approx((up[3] - down[3]) / 0.02, rel=1e-3, abs=1e-4)


def test_taylor_agrees_with_full_revaluation_for_small_moves() -> None:
    """±0.2 % and half a volatility point: within a dollar on a spread of $1,200 width."""
    book = Book.of(spread("SPY"), SPOTS)
    shocks = move([-0.002, -0.001, 0.001, 0.002], volatility=1.02, elapsed=0.5 / 365)
    assert taylor_profit_and_loss(book, shocks) == pytest.approx(profit_and_loss(book, shocks), abs=1.0)


def test_taylor_is_wrong_by_multiples_after_a_crash() -> None:
    """−20 %: a spread loses at most its width; delta and gamma claim a multiple of that."""
    book = Book.of([leg for name in SPOTS for leg in spread(name)], SPOTS)
    crash = move([-0.20])
    full, taylor = profit_and_loss(book, crash).sum(), taylor_profit_and_loss(book, crash).sum()
    width = sum(0.02 * spot * 100 for spot in SPOTS.values())
    assert -width <= full < 0
    assert taylor < 2 * full


def test_shares_sum_to_the_whole_and_the_tail_is_worse_than_the_quantile() -> None:
    """Contributions to VaR and ES add up; ES at the same confidence is never below VaR; the worst is the worst."""
    book = Book.of([leg for name in SPOTS for leg in spread(name, 2)] + [ShareHolding("hedge", "SPY", -3)], SPOTS)
    found = value_at_risk(book, scenarios(), confidence=0.95, tail_confidence=0.95)
    assert sum(each.value_at_risk for each in found.contributions) == pytest.approx(found.value_at_risk)
    assert sum(each.expected_shortfall for each in found.contributions) == pytest.approx(found.expected_shortfall)
    assert found.expected_shortfall >= found.value_at_risk
    assert found.worst == -found.profit_and_loss.min() == -found.profit_and_loss[found.worst_scenario]
    assert next(each for each in found.contributions if each.position == "hedge").expected_shortfall < 0


def test_incremental_is_the_difference_that_a_position_makes() -> None:
    """VaR with everything less VaR without the position, computed on the smaller book."""
    legs = spread("SPY") + spread("AAPL", 3)
    whole = value_at_risk(Book.of(legs, SPOTS), scenarios())
    rest = value_at_risk(Book.of(spread("SPY"), SPOTS), scenarios())
    apple = next(each for each in whole.contributions if each.position == "AAPL")
    assert apple.incremental == pytest.approx(whole.value_at_risk - rest.value_at_risk)
    assert apple.standalone == pytest.approx(
        value_at_risk(Book.of(spread("AAPL", 3), SPOTS), scenarios()).value_at_risk
    )


@settings(max_examples=20 * SCALE, deadline=None)
@given(st.floats(0.5, 20))
def test_quantity_scales_risk(times: float) -> None:
    """k times the book has k times the VaR and ES."""
    one = value_at_risk(Book.of(spread("SPY") + spread("XYZ"), SPOTS), scenarios())
    many = value_at_risk(Book.of(spread("SPY", times) + spread("XYZ", times), SPOTS), scenarios())
    assert many.value_at_risk == pytest.approx(one.value_at_risk * times)
    assert many.expected_shortfall == pytest.approx(one.expected_shortfall * times)


@settings(max_examples=30 * SCALE, deadline=None)
@given(holdings, holdings)
def test_expected_shortfall_is_subadditive(first: list[Holding], second: list[Holding]) -> None:
    """Together never riskier than apart (coherence; VaR does not promise that)."""

    def shortfall(legs: list[Holding]) -> float:
        return value_at_risk(Book.of(legs, SPOTS), scenarios(100)).expected_shortfall

    assert shortfall(first + second) <= shortfall(first) + shortfall(second) + 1e-6


def test_quantile_and_tail_mean_by_hand() -> None:
    """100 outcomes −100 … −1: 5 % of them are worse than −95; the worst 5 average −98, the worst 2.5 −99.2."""
    outcomes = -np.arange(1.0, 101.0)
    assert quantile_loss(outcomes, 0.95) == 95
    assert tail_mean_loss(outcomes, 0.95) == pytest.approx(98)
    assert tail_mean_loss(outcomes, 0.975) == pytest.approx((100 + 99 + 0.5 * 98) / 2.5)


def test_cornish_fisher_is_the_normal_quantile_for_normal_outcomes() -> None:
    """Symmetric, mesokurtic outcomes: 1.645 deviations; constant outcomes have no answer."""
    draws = np.random.default_rng(3).standard_normal(200_000)
    assert cornish_fisher_loss(draws, 0.95) == pytest.approx(1.645, abs=0.02)
    assert np.isnan(cornish_fisher_loss(np.ones(10), 0.95))


def test_cornish_fisher_says_nothing_about_a_book_that_is_too_skewed() -> None:
    """Many small gains and a rare large loss: outside the expansion's domain there is no number."""
    assert np.isnan(cornish_fisher_loss(np.array([1.0] * 99 + [-80.0]), 0.95))
    mild = np.random.default_rng(5).standard_gamma(20.0, 100_000)
    assert cornish_fisher_loss(-mild, 0.99) == pytest.approx(float(np.quantile(mild, 0.99)), rel=0.01)


def test_a_position_that_cannot_be_valued_is_named_and_nothing_is_claimed() -> None:
    """Without a volatility for one leg there is no VaR; the others are still valued."""
    bad = replace(option("AAPL", 190, -1), sigma=float("nan"))
    book = Book.of([*spread("SPY"), bad], SPOTS)
    found = value_at_risk(book, scenarios())
    assert (found.unpriced, book.unpriced) == (("AAPL",), ("AAPL",))
    assert np.isnan([found.value_at_risk, found.expected_shortfall, found.worst]).all()
    assert np.isfinite(revalue(book, scenarios())[0]).all()


@pytest.mark.parametrize(
    ("spot", "volatility"), [(np.nan, 1.0), (0.0, np.nan), (-1.0, 1.0), (-1.5, 1.0), (np.inf, 1.0)]
)
def test_a_senseless_scenario_gives_nan_and_harms_no_other(spot: float, volatility: float) -> None:
    """NaN, a fall of 100 % or more, infinity: NaN in that scenario alone, for calls, puts and American puts."""
    legs: list[Holding] = [option("SPY", 590, 1, is_call=True), replace(option("SPY", 590, 1), american=True)]
    returns = np.array([[0.01, spot]])
    book = Book.of([replace(leg, position=str(n)) for n, leg in enumerate(legs)], SPOTS)
    values = revalue(book, Scenarios(("SPY",), returns, np.array([[1.0, volatility]])))
    assert np.isfinite(values[:, 0]).all()
    assert np.isnan(values[:, 1]).all()


def test_expired_and_american_options_have_their_exercise_value() -> None:
    """At expiration intrinsic remains; a deep American put is never below its exercise value, a European one is."""
    dead = replace(option("XYZ", 55, 1), years=0.5 / 365)
    deep = replace(option("XYZ", 90, 1), years=1.0, rate=0.06)
    assert revalue(Book.of([dead], SPOTS), calm(Book.of([dead], SPOTS), 1 / 365))[0, 0] == pytest.approx(500)
    european, american = Book.of([deep], SPOTS), Book.of([replace(deep, american=True)], SPOTS)
    assert revalue(american, calm(american))[0, 0] == pytest.approx(4000)
    assert revalue(european, calm(european))[0, 0] < 4000
    assert leg_greeks(american).delta[0] == -100


def american(row: dict[str, str]) -> Book:
    """One unit of the option of a reference row."""
    years, sigma, rate, yields = (float(row[name]) for name in ("T", "sigma", "r", "q"))
    option = OptionHolding("p", "X", row["type"] == "call", float(row["K"]), years, sigma, 1, rate, yields, 1.0, True)
    return Book.of([option], {"X": float(row["S"])})


def test_american_values_are_those_of_the_published_table() -> None:
    """Barone-Adesi and Whaley's approximation as printed by Haug (1998), page 24, with each row's own tolerance."""
    path = SHARED / "reference" / "reference_values.csv"
    if not path.exists():
        pytest.skip(f"reference values are not at {path}: set TT_SHARED_DATA")
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "american_baw"]
    assert len(rows) >= 20
    for row in rows:
        book = american(row)
        assert revalue(book, calm(book))[0, 0] == pytest.approx(float(row["value"]), abs=float(row["tol"])), row["id"]


@settings(max_examples=40 * SCALE, deadline=None)
@given(
    st.floats(70, 140), st.floats(0.02, 1), st.floats(0.1, 0.8), st.floats(0, 0.08), st.floats(0, 0.08), st.booleans()
)  # fmt: skip
def test_american_values_under_stress_are_those_of_the_stressed_option(
    strike: float, years: float, sigma: float, rate: float, yields: float, is_call: bool
) -> None:
    """Boundaries interpolated over volatility: a scenario's value is that of an option which has that volatility."""
    leg = OptionHolding("p", "X", is_call, strike, years, sigma, 1, rate, yields, 1.0, True)
    moves, factors = np.array([-0.2, -0.05, 0.0, 0.1]), np.array([2.0, 1.25, 1.0, 0.6])
    found = revalue(Book.of([leg], {"X": 100.0}), Scenarios(("X",), moves[None, :], factors[None, :]))[0]
    for value, change, factor in zip(found, moves, factors, strict=True):
        fresh = Book.of([replace(leg, sigma=sigma * factor)], {"X": 100 * (1 + change)})
        european = Book.of([replace(leg, sigma=sigma * factor, american=False)], {"X": 100 * (1 + change)})
        assert value == pytest.approx(leg_greeks(fresh).value[0], abs=0.05)
        assert value >= revalue(european, calm(european))[0, 0] - 1e-9


def test_american_greeks_are_slopes_of_the_value() -> None:
    """In-the-money put: greeks are differences of its revaluation; the European one has another delta."""
    leg = OptionHolding("p", "X", False, 105, 60 / 365, 0.3, 1, 0.05, 0.0, 1.0, True)
    book = Book.of([leg], {"X": 100.0})
    found = leg_greeks(book)

    def value(spot: float = 100.0, **changes: float) -> float:
        other = Book.of([replace(leg, **changes)], {"X": spot})
        return float(revalue(other, calm(other))[0, 0])

    assert found.delta[0] == pytest.approx((value(100.5) - value(99.5)), abs=1e-4)
    assert found.gamma[0] == pytest.approx((value(101) - 2 * value() + value(99)), abs=1e-4)
    assert found.vega[0] == pytest.approx((value(sigma=0.305) - value(sigma=0.295)), abs=1e-3)
    assert found.theta[0] == pytest.approx((value(years=59.5 / 365) - value(years=60.5 / 365)), abs=1e-3)
    assert found.rho[0] == pytest.approx((value(rate=0.055) - value(rate=0.045)), abs=1e-3)
    assert found.delta[0] < leg_greeks(Book.of([replace(leg, american=False)], {"X": 100.0})).delta[0] - 0.005


def test_random_scenarios_have_the_volatility_they_were_asked_for() -> None:
    """Mean zero, one day's share of the annual volatility, tails fatter than normal, volatility up when spot falls."""
    found = scenarios(200_000)
    market = found.spot_return[0]
    assert market.mean() == pytest.approx(0.0, abs=1e-12)
    assert market.std() == pytest.approx(0.16 / np.sqrt(365), rel=0.05)
    assert (np.abs(market) > 4 * market.std()).mean() > 1e-3
    assert np.corrcoef(market, found.volatility_factor[0])[0, 1] < -0.99
    assert (scenarios(10).spot_return == scenarios(10).spot_return).all()


def test_scenarios_that_do_not_fit_are_refused() -> None:
    """Lengths, shapes, degrees of freedom, counts, confidences and names are checked."""
    with pytest.raises(ValueError, match="same days"):
        historical_scenarios(np.zeros(3), np.zeros(2), BETAS)
    with pytest.raises(ValueError, match="scenario arrays"):
        Scenarios(("SPY",), np.zeros((2, 3)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="degrees of freedom"):
        student_t_scenarios({}, {}, 0.1, count=10, seed=1, degrees=2)
    with pytest.raises(ValueError, match="confidence"):
        value_at_risk(Book.of(spread("SPY"), SPOTS), scenarios(), confidence=1.0)
    with pytest.raises(KeyError, match="XYZ"):
        revalue(Book.of(spread("XYZ"), SPOTS), historical_scenarios(np.zeros(3), np.zeros(3), {"SPY": 1.0}))


def test_five_hundred_days_of_history_bound_a_book_of_spreads() -> None:
    """The last 500 joint days of SPY and VIX: VaR is positive, below the worst day and below the most it can lose."""
    spy, vix = SHARED / "ohlc" / "SPY_daily_2016_2026.csv", SHARED / "vix" / "vix_daily_1990_2026.csv"
    if not (spy.exists() and vix.exists()):
        pytest.skip(f"recorded prices are not at {SHARED}: set TT_SHARED_DATA")
    market, index = closes(spy), closes(vix)
    days = sorted(market.keys() & index.keys())[-501:]
    spot, level = (np.array([each[day] for day in days]) for each in (market, index))
    history = historical_scenarios(spot[1:] / spot[:-1] - 1, level[1:] / level[:-1] - 1, BETAS)
    found = value_at_risk(Book.of([leg for name in SPOTS for leg in spread(name)], SPOTS), history, confidence=0.99)
    assert history.count == 500
    assert 0 < found.value_at_risk < found.worst < sum(0.02 * price * 100 for price in SPOTS.values())


def closes(path: Path) -> dict[str, float]:
    """Close by ISO date."""
    with path.open() as file:
        return {row[0]: float(row[4]) for row in csv.reader(file) if row[0][0].isdigit()}

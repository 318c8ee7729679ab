"""Managed trades: the published table is reproduced, limits hold, and nothing earns when the forecast is the market."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from optionmath.blackscholes import price
from optionmath.managed import (
    HOLD,
    ExitPolicy,
    ManagedOutlook,
    RandomPaths,
    StopBasis,
    Trade,
    simulate,
    touch_profit_probability,
)
from optionmath.probability import Definition, FlatCurve, LinearPayoff, forecast_law, outlook

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
IMPLIED, RATE, YEARS = 0.25, 0.04, 45 / 365
PATHS = RandomPaths(20_000 * SCALE)


def trade(*legs: tuple[bool, float, int], credit: float | None = None, sigma: float = IMPLIED) -> Trade:
    """Legs sold and bought at their Black–Scholes values, S = 100, 45 days, 25 %, r = 4 %."""
    is_call, strike, quantity = (np.array(each) for each in zip(*legs, strict=True))
    strike, quantity = strike.astype(np.float64), quantity.astype(np.float64)
    value = float(quantity @ price(100.0, strike, YEARS, sigma, RATE, 0.0, is_call))
    columns = np.full(len(strike), sigma), np.full(len(strike), YEARS)
    return Trade(is_call, strike, quantity, *columns, cash=-value if credit is None else credit)


PUT_SPREAD = trade((False, 96.5, -1), (False, 91.5, 1))
CONDOR = trade((False, 92, -1), (False, 87, 1), (True, 109, -1), (True, 114, 1))
TARGET = ExitPolicy(stop_multiple=None, exit_days=None)
TARGET_AND_TIME = ExitPolicy(stop_multiple=None)
ALL_RULES = ExitPolicy()
STOP_AT_THREE = ExitPolicy(stop_multiple=3.0)


def run(of: Trade, policy: ExitPolicy, ratio: float = 1.0, cost: float = 0.0) -> ManagedOutlook:
    return simulate(
        of, 100.0, RATE, paths=PATHS, policy=policy, realised_sigma=IMPLIED * ratio, closing_cost=cost,
        expiration_cost=cost,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("of", "policy", "ratio", "cost", "win", "value", "days", "target", "stop", "time"),
    [
        (PUT_SPREAD, HOLD, 1.0, 0.0, 0.708, -0.022, 45.0, 0.0, 0.0, 0.0),
        (PUT_SPREAD, TARGET, 1.0, 0.0, 0.816, -0.014, 22.2, 0.81, 0.0, 0.0),
        (PUT_SPREAD, TARGET_AND_TIME, 1.0, 0.0, 0.684, -0.007, 16.1, 0.61, 0.0, 0.39),
        (PUT_SPREAD, ALL_RULES, 1.0, 0.0, 0.647, -0.001, 13.0, 0.59, 0.28, 0.13),
        (PUT_SPREAD, STOP_AT_THREE, 1.0, 0.0, 0.684, -0.008, 15.6, 0.61, 0.09, 0.30),
        (PUT_SPREAD, ALL_RULES, 0.85, 0.0, 0.664, 0.059, 14.9, 0.57, 0.22, 0.21),
        (PUT_SPREAD, ALL_RULES, 0.85, 0.06, 0.655, -0.001, 14.9, 0.57, 0.22, 0.21),
        (PUT_SPREAD, ALL_RULES, 1.15, 0.0, 0.632, -0.053, 11.3, None, None, None),
        (CONDOR, HOLD, 1.0, 0.0, 0.724, -0.007, 45.0, 0.0, 0.0, 0.0),
        (CONDOR, TARGET, 1.0, 0.0, 0.835, -0.003, 29.4, 0.83, 0.0, 0.0),
        (CONDOR, ALL_RULES, 1.0, 0.0, 0.643, -0.005, 21.1, 0.46, 0.20, 0.34),
        (CONDOR, ALL_RULES, 0.85, 0.0, 0.731, 0.156, 21.8, 0.51, 0.11, 0.38),
        (CONDOR, ALL_RULES, 0.85, 0.06, 0.711, 0.096, 21.8, 0.51, 0.11, 0.38),
        (CONDOR, ALL_RULES, 1.15, 0.0, 0.562, -0.170, 20.2, None, None, None),
    ],
)
def test_the_published_table_within_monte_carlo_error(
    of: Trade, policy: ExitPolicy, ratio: float, cost: float, win: float, value: float, days: float,
    target: float | None, stop: float | None, time: float | None,
) -> None:  # fmt: skip
    """An independent simulation of 60,000 paths, daily checks: win rate, EV, days held and share per exit."""
    found = run(of, policy, ratio, cost)
    # Both simulations have an error; the table's is about that of 60,000 independent paths, and it is rounded.
    assert found.win_rate == pytest.approx(win, abs=4 * np.hypot(found.win_rate_error, 0.002) + 5e-4)
    assert found.expected_value == pytest.approx(value, abs=4 * np.hypot(found.expected_value_error, 0.008) + 5e-4)
    assert found.mean_days == pytest.approx(days, abs=0.5)
    if target is not None:
        shares = (found.share_target, found.share_stop, found.share_time)
        assert shares == pytest.approx((target, stop, time), abs=0.02)
    assert found.share_target + found.share_stop + found.share_time + found.share_expiration == pytest.approx(1)


def test_credits_and_risks_of_the_table() -> None:
    """1.19 at R = .31 and 1.08 at R = .28, as stated there."""
    assert pytest.approx(1.19, abs=0.005) == PUT_SPREAD.cash
    assert pytest.approx(1.08, abs=0.005) == CONDOR.cash


@pytest.mark.parametrize("of", [PUT_SPREAD, CONDOR])
@pytest.mark.parametrize("ratio", [0.85, 1.0])
def test_holding_agrees_with_the_closed_form(of: Trade, ratio: float) -> None:
    """Without rules the simulation is the lognormal law: POP, EV and shortfall within four standard errors."""
    found = run(of, HOLD, ratio)
    law = forecast_law(FlatCurve(IMPLIED**2 * YEARS), 100 * np.exp(RATE * YEARS), YEARS, ratio, Definition.FLAT)
    exact = outlook(LinearPayoff.of_legs(of.is_call, of.strike, of.quantity, of.cash), law)
    assert found.win_rate == pytest.approx(exact.profit_probability, abs=4 * found.win_rate_error)
    assert found.expected_value == pytest.approx(exact.expected_value, abs=4 * found.expected_value_error)
    assert found.expected_shortfall == pytest.approx(exact.expected_shortfall, abs=0.02)
    assert found.mean_days == pytest.approx(45)


def test_the_table_of_values_interpolates_as_exactly_as_repricing() -> None:
    """One path a day at a known price: what the path closes at is the Black–Scholes value there."""
    always = ExitPolicy(profit_target=None, stop_multiple=None, exit_days=44.0)
    found = simulate(PUT_SPREAD, 100.0, RATE, paths=RandomPaths(2, steps=1, seed=3), policy=always, realised_sigma=0.25)
    draw = RandomPaths(2, steps=1, seed=3).normals(1)[0, 0]
    dt = 1 / 365
    move, shock = (RATE - 0.25**2 / 2) * dt, 0.25 * np.sqrt(dt) * draw
    prices = 100 * np.exp(np.array([move + shock, move - shock]))
    values = [
        float(PUT_SPREAD.quantity @ price(at, PUT_SPREAD.strike, YEARS - dt, 0.25, RATE, 0.0, False)) for at in prices
    ]
    assert found.expected_value == pytest.approx(PUT_SPREAD.cash + np.mean(values), abs=1e-6)
    assert found.mean_days == pytest.approx(1)


def test_common_random_numbers_make_differences_small_and_runs_repeatable() -> None:
    """The same seed gives the same outcome; a dearer twin differs by its price alone; rows are added, not redrawn."""
    first, again = run(CONDOR, ALL_RULES), run(CONDOR, ALL_RULES)
    assert first == again
    shifted = replace(CONDOR, max_profit=CONDOR.cash, cash=CONDOR.cash + 0.01)
    hold, dearer = run(CONDOR, HOLD), run(shifted, HOLD)
    assert dearer.expected_value - hold.expected_value == pytest.approx(0.01, abs=1e-9)
    short, long = RandomPaths(10, steps=3, seed=7), RandomPaths(10, steps=9, seed=7)
    assert (short.normals(9) == long.normals(9)).all()
    assert run(CONDOR, ALL_RULES) != simulate(
        CONDOR, 100.0, RATE, paths=RandomPaths(20_000, seed=2), policy=ALL_RULES, realised_sigma=IMPLIED
    )


def test_scores_rise_with_credit_and_fall_with_volatility_and_cost() -> None:
    """On the same paths, strictly."""
    values = [run(CONDOR, ALL_RULES, ratio).expected_value for ratio in (0.8, 0.9, 1.0, 1.1)]
    assert values == sorted(values, reverse=True)
    assert run(CONDOR, HOLD, 0.9, 0.05).expected_value == pytest.approx(run(CONDOR, HOLD, 0.9).expected_value - 0.05)
    held = run(replace(CONDOR, cash=CONDOR.cash + 0.1), HOLD)
    assert held.expected_value > run(CONDOR, HOLD).expected_value


def test_profit_target_is_p50() -> None:
    """The chance of taking half the credit before expiration is the target's share; less is likelier than more."""
    half = touch_profit_probability(PUT_SPREAD, 100.0, RATE, paths=PATHS, realised_sigma=IMPLIED)
    assert half == run(PUT_SPREAD, TARGET).share_target
    quarter, most = (
        touch_profit_probability(PUT_SPREAD, 100.0, RATE, paths=PATHS, realised_sigma=IMPLIED, fraction=each)
        for each in (0.25, 0.9)
    )
    assert quarter > half > most


def test_looking_more_often_takes_profits_and_stops_more_often() -> None:
    """Four checks a day find at least the extremes that one finds, within the noise of two samples."""
    daily = run(PUT_SPREAD, ALL_RULES)
    often = simulate(PUT_SPREAD, 100.0, RATE, paths=PATHS, policy=ALL_RULES, realised_sigma=IMPLIED, checks_per_day=4)
    assert often.share_target + often.share_stop > daily.share_target + daily.share_stop
    assert often.share_time < daily.share_time


def test_stop_bases_mean_what_they_say() -> None:
    """Price at 3 credits is a loss of 2 credits: the two readings meet there, and differ at 2."""
    by_price = run(PUT_SPREAD, STOP_AT_THREE)
    by_loss = run(PUT_SPREAD, ExitPolicy(stop_multiple=2.0, stop_basis=StopBasis.LOSS_MULTIPLE))
    assert by_loss == by_price
    assert run(PUT_SPREAD, ALL_RULES).share_stop > by_price.share_stop
    assert run(PUT_SPREAD, ALL_RULES).mean_loss < by_price.mean_loss


def test_debits_stock_and_later_legs_are_trades_too() -> None:
    """A debit spread, a covered call and a calendar are worth nothing in expectation under the market's own law."""
    rules = ExitPolicy(0.5, 0.5, StopBasis.LOSS_MULTIPLE, 21.0)
    debit = replace(trade((True, 100, 1), (True, 105, -1)), max_profit=3.0)
    covered = trade((True, 105, -1))
    covered = replace(covered, shares=1.0, cash=covered.cash - 100, max_profit=5.0 + covered.cash)
    near, far = YEARS, 80 / 365
    values = price(100.0, 100.0, np.array([near, far]), IMPLIED, RATE, 0.0, True)
    calendar = Trade(
        np.array([True, True]), np.array([100.0, 100.0]), np.array([-1.0, 1.0]), np.full(2, IMPLIED),
        np.array([near, far]), cash=float(values[0] - values[1]), max_profit=2.0,
    )  # fmt: skip
    for each in (debit, covered, calendar):
        for policy in (HOLD, rules):
            found = run(each, policy)
            carry = abs(each.cash) * RATE * YEARS
            assert abs(found.expected_value) < 4 * found.expected_value_error + carry + 0.005
    assert run(calendar, HOLD).mean_loss <= abs(calendar.cash) + 1e-9


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"strike": np.array([96.5])}, "one length"),
        ({"strike": np.array([96.5, -1.0])}, "positive strikes"),
        ({"cash": float("nan")}, "finite"),
        ({"sigma": np.array([0.2, 0.0])}, "volatilities"),
    ],
)
def test_trades_without_sense_are_refused(change: dict[str, object], says: str) -> None:
    """Before anything is simulated."""
    with pytest.raises(ValueError, match=says):
        replace(PUT_SPREAD, **change)  # type: ignore[arg-type]


def test_rules_without_a_base_are_refused() -> None:
    """A debit has no price multiple and needs its maximum profit said; paths come in pairs."""
    debit = trade((True, 100, 1), (True, 105, -1))
    with pytest.raises(ValueError, match="max_profit"):
        run(debit, TARGET)
    with pytest.raises(ValueError, match="credit"):
        run(replace(debit, max_profit=3.0), ALL_RULES)
    with pytest.raises(ValueError, match="pairs"):
        RandomPaths(3)
    with pytest.raises(ValueError, match="positive spot"):
        simulate(PUT_SPREAD, 0.0, RATE, paths=PATHS, realised_sigma=0.2)

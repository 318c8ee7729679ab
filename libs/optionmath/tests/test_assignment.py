"""Assignment risk of short options: the rules, the chances, and bad elements."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from optionmath import american, blackscholes
from optionmath.american import PricingStatus
from optionmath.assignment import (
    AssignmentLevel,
    AssignmentPolicy,
    AssignmentReason,
    AssignmentRisk,
    assignment_risk,
)
from optionmath.dividends import Dividends, price_with_dividends

NONE, WATCH, LIKELY = AssignmentLevel.NONE, AssignmentLevel.WATCH, AssignmentLevel.LIKELY
TOMORROW = 1 / 365


def call_before_ex(
    extrinsic: list[float], *, ex_years: float = TOMORROW, american_style: bool = True
) -> AssignmentRisk:
    """Short calls $10 in the money, 30 days, before a dividend of $1."""
    return assignment_risk(
        110.0, 100.0, 30 / 365, 10 + np.array(extrinsic), 0.2, 0.04, True,
        ex_years=ex_years, dividend=1.0, american_style=american_style,
    )  # fmt: skip


def test_a_dividend_that_the_extrinsic_value_does_not_cover_takes_the_call() -> None:
    """Below one dividend: likely; below one and a half: watch; above: nothing."""
    found = call_before_ex([0.3, 0.99, 1.2, 1.6])
    assert found.level.tolist() == [LIKELY, LIKELY, WATCH, NONE]
    assert found.reasons.tolist() == [AssignmentReason.DIVIDEND] * 3 + [AssignmentReason.NONE]
    assert found.dividend_cover == pytest.approx([0.3, 0.99, 1.2, 1.6])
    assert found.early_probability[0] > 0.99


def test_no_dividend_within_the_life_or_european_style_means_no_early_exercise_of_a_call() -> None:
    """After expiration it is somebody else's dividend; a European holder cannot exercise."""
    for found in (call_before_ex([0.3], ex_years=31 / 365), call_before_ex([0.3], american_style=False)):
        assert found.level.tolist() == [NONE]
        assert np.isnan(found.dividend_cover).all()
        assert found.early_probability.tolist() == [0.0]


def test_a_call_out_of_the_money_is_safe_from_the_dividend() -> None:
    """Nobody pays the strike for less than the market asks, dividend or not."""
    found = assignment_risk(95.0, 100.0, 30 / 365, 0.5, 0.2, 0.04, True, ex_years=TOMORROW, dividend=1.0)
    assert found.level == NONE
    assert found.early_probability < 0.01


def test_the_chance_on_the_eve_agrees_with_the_model_of_discrete_dividends() -> None:
    """Above the critical price of the eve the American price is the intrinsic value, below it is more."""
    ex = 1e-6
    dividends = Dividends((ex,), (1.0,))
    spot = np.linspace(100, 115, 61)
    found = assignment_risk(spot, 100.0, 30 / 365, 1.0, 0.2, 0.04, True, ex_years=ex, dividend=1.0)
    waits = price_with_dividends(spot, 100.0, 30 / 365, 0.2, 0.04, dividends, True) > spot - 100 + 2e-3
    decided = (found.early_probability > 0.999) | (found.early_probability < 0.001)
    assert decided.mean() > 0.9
    disagree = decided & (waits == (found.early_probability > 0.5))
    assert disagree.sum() <= 3  # between two dollars of the grid the gain from waiting is below a fifth of a cent


def test_a_put_is_assigned_for_the_interest() -> None:
    """Less extrinsic value than the interest to expiration: watch; than the interest of a day: likely."""
    interest = 100 * (1 - np.exp(-0.05 * 0.25))
    day = 100 * (1 - np.exp(-0.05 / 365))
    price = 20 + np.array([0.5 * day, 0.5 * interest, 1.5 * interest])
    found = assignment_risk(80.0, 100.0, 0.25, price, 0.2, 0.05, False)
    assert found.level.tolist() == [LIKELY, WATCH, NONE]
    assert found.interest_cover == pytest.approx([0.5 * day / interest, 0.5, 1.5])
    assert found.reasons.tolist() == [AssignmentReason.INTEREST, AssignmentReason.INTEREST, AssignmentReason.NONE]


def test_a_put_waits_for_the_dividend() -> None:
    """Whoever exercises before the ex-date sells the stock without it; after it the interest rules again."""
    terms = (80.0, 100.0, 0.25, 20.001, 0.2, 0.05, False)
    assert assignment_risk(*terms).level == LIKELY
    tomorrow = assignment_risk(*terms, ex_years=0.5 / 365, dividend=0.5)
    assert tomorrow.level == WATCH
    assert assignment_risk(*terms, ex_years=0.1, dividend=5.0).level == NONE
    assert np.isnan(assignment_risk(*terms, ex_years=0.1, dividend=5.0).interest_cover)


def test_the_puts_chance_is_one_beyond_the_critical_price_and_falls_with_distance() -> None:
    """Touching probability: continuous at the critical price, never below the chance of ending beyond it."""
    critical = float(american.early_exercise(100, 100, 0.5, 0.3, 0.05, 0.0, False).critical_price)
    spot = critical * np.array([0.9, 0.999, 1.002, 1.1, 1.5])
    found = assignment_risk(spot, 100.0, 0.5, np.maximum(100 - spot, 0) + 0.5, 0.3, 0.05, False)
    assert found.early_probability[:2].tolist() == [1.0, 1.0]
    assert found.early_probability[2] > 0.97
    assert (np.diff(found.early_probability) <= 0).all()


def test_a_quote_at_or_below_parity_is_an_invitation() -> None:
    """Whoever buys it at the intrinsic value and exercises loses nothing; European style waits for the end."""
    found = assignment_risk(120.0, 100.0, 0.5, [19.9, 20.0, 20.5], 0.2, 0.0, True)
    assert found.level.tolist() == [LIKELY, LIKELY, NONE]
    assert found.reasons.tolist() == [AssignmentReason.PARITY, AssignmentReason.PARITY, AssignmentReason.NONE]
    assert found.extrinsic == pytest.approx([-0.1, 0.0, 0.5])
    assert assignment_risk(120.0, 100.0, 0.5, 19.9, 0.2, 0.0, True, american_style=False).level == NONE


def test_the_last_day_and_the_pin() -> None:
    """A cent in the money is exercised by exception; within one per cent of the strike nobody knows."""
    hours = 4 / 24 / 365
    found = assignment_risk([100.5, 103.0, 99.5, 95.0], 100.0, hours, [0.6, 3.01, 0.1, 0.01], 0.2, 0.04, True)
    pin, end = AssignmentReason.PIN, AssignmentReason.EXPIRATION
    assert found.reasons.tolist() == [pin | end, end, pin, AssignmentReason.NONE]
    assert found.level.tolist() == [LIKELY, LIKELY, WATCH, NONE]
    assert found.pin_probability[0] > 0.8
    assert found.pin_probability[3] < 0.01


def test_chances_at_expiration_are_those_of_the_lognormal() -> None:
    """P(S > K) = N(d2), also from the price of a digital as the slope of calls; the band is the difference of two."""
    found = assignment_risk(100.0, 105.0, 0.25, 1.0, 0.3, 0.04, [True, False])
    slope = (
        blackscholes.price(100, 104.99, 0.25, 0.3, 0.04, 0, True)
        - blackscholes.price(100, 105.01, 0.25, 0.3, 0.04, 0, True)
    ) / 0.02
    assert found.expiration_probability[0] == pytest.approx(float(slope) * np.exp(0.04 * 0.25), abs=1e-6)
    assert found.expiration_probability.sum() == pytest.approx(1.0)
    assert found.pin_probability[0] == found.pin_probability[1]
    wide = assignment_risk(100.0, 105.0, 0.25, 1.0, 0.3, 0.04, True, policy=AssignmentPolicy(pin_band=0.02))
    assert wide.pin_probability > 1.9 * found.pin_probability[0]


def test_bad_elements_are_nan_without_a_level_and_alone() -> None:
    """Each with its status; the good one is what it is alone."""
    found = assignment_risk([110, np.nan, -1], 100.0, 0.1, 10.2, 0.2, 0.04, True, ex_years=0.01, dividend=1.0)
    assert found.status.tolist() == [PricingStatus.OK, PricingStatus.NOT_A_NUMBER, PricingStatus.OUT_OF_RANGE]
    assert found.level.tolist() == [LIKELY, NONE, NONE]
    names = [each.name for each in fields(found) if each.name not in ("level", "reasons", "status")]
    for name in names:
        assert np.isnan(getattr(found, name)[1:]).all(), name
    with pytest.raises(ValueError, match="watch_cover"):
        AssignmentPolicy(watch_cover=0.5)

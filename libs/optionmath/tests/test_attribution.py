"""Attribution: parts sum to the profit whatever happens, and greeks explain small moves to third order."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.attribution import Attribution, attribute, summed
from optionmath.revaluation import Book, Holding, OptionHolding, ShareHolding, calm, revalue

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
DAY = 1 / 365


def legs(*, years: float = 40 * DAY, sigma: float = 0.25, rate: float = 0.04) -> list[Holding]:
    return [
        OptionHolding("condor", "XYZ", False, 90, years, sigma + 0.03, 1, rate, 0.01),
        OptionHolding("condor", "XYZ", False, 95, years, sigma + 0.02, -1, rate, 0.01),
        OptionHolding("condor", "XYZ", True, 105, years, sigma, -1, rate, 0.01),
        OptionHolding("condor", "XYZ", True, 110, years, sigma, 1, rate, 0.01),
        ShareHolding("hedge", "XYZ", -20),
    ]


def state(spot: float = 100.0, *, days: float = 0.0, sigma: float = 0.25, rate: float = 0.04) -> Book:
    return Book.of(legs(years=max(40 - days, 0) * DAY, sigma=sigma, rate=rate), {"XYZ": spot})


@settings(max_examples=60 * SCALE, deadline=None)
@given(st.floats(50, 200), st.floats(0, 40), st.floats(0.05, 1.5), st.floats(0, 0.1))
def test_parts_sum_to_the_profit(spot: float, days: float, sigma: float, rate: float) -> None:
    """Crash, expiry, volatility spike: the residual takes what the greeks do not explain."""
    before, after = state(), state(spot, days=days, sigma=sigma, rate=rate)
    change = (revalue(after, calm(after)) - revalue(before, calm(before)))[:, 0]
    found = attribute(before, after)
    assert [each.total for each in found.values()] == pytest.approx(list(change))
    assert summed(found).total == pytest.approx(change.sum())


def test_small_moves_are_explained_and_the_residual_is_of_third_order() -> None:
    """Half the move: about an eighth of the residual; at 0.2 % and 0.1 point it is cents on a $500 condor."""

    def residual(scale: float) -> float:
        return abs(attribute(state(), state(100 + 0.4 * scale, sigma=0.25 + 0.004 * scale))["condor"].residual)

    assert residual(0.5) < residual(1.0) / 5
    assert residual(0.5) < 0.05


@pytest.mark.parametrize(
    ("after", "part"),
    [
        (state(100.5), "gamma"),
        (state(days=1), "theta"),
        (state(sigma=0.26), "vega"),
        (state(rate=0.05), "rho"),
    ],
)
def test_each_cause_shows_in_its_own_part(after: Book, part: str) -> None:
    """Only time passed: only theta; only volatility: vega and vomma; only the rate: rho; only spot: delta and gamma."""
    found = attribute(state(), after)["condor"]
    others = {"gamma": {"delta"}, "vega": {"vomma"}}.get(part, set()) | {part, "residual"}
    assert getattr(found, part) != 0
    assert all(getattr(found, name) == 0 for name in Attribution.__slots__ if name not in others)


def test_shares_are_all_delta() -> None:
    """Twenty shares short, two dollars up: −$40 and nothing else."""
    assert attribute(state(), state(102, sigma=0.3))["hedge"] == Attribution(-40, 0, 0, 0, 0, 0, 0, 0)


def test_market_values_put_their_difference_into_the_residual() -> None:
    """What marks say beyond the model is residual; greeks' parts do not change."""
    model = attribute(state(), state(101))["condor"]
    marked = attribute(state(), state(101), gained={"condor": model.total + 12.5})["condor"]
    assert marked.residual == pytest.approx(model.residual + 12.5)
    assert (marked.delta, marked.gamma) == (model.delta, model.gamma)


def test_an_expired_leg_counts_at_its_exercise_value() -> None:
    """From one day before to after the end with spot at 92: the put spread is worth −$300, no vega from a dead leg."""
    found = attribute(state(92, days=39), state(92, days=40, sigma=0.9))["condor"]
    before = state(92, days=39)
    assert found.total == pytest.approx(-300 - revalue(before, calm(before))[0, 0])
    assert found.vega == 0


def test_different_legs_are_refused_and_missing_numbers_stay_missing() -> None:
    """Another strike or quantity is an error; a NaN volatility makes that position NaN and no other."""
    with pytest.raises(ValueError, match="same legs"):
        attribute(state(), Book.of(legs()[:4], {"XYZ": 100.0}))
    option = legs()[0]
    assert isinstance(option, OptionHolding)
    with pytest.raises(ValueError, match="same legs"):
        attribute(state(), Book.of([replace(option, strike=91), *legs()[1:]], {"XYZ": 100.0}))
    broken = Book.of([replace(option, sigma=float("nan")), *legs()[1:]], {"XYZ": 100.0})
    found = attribute(broken, state(101))
    assert np.isnan(found["condor"].total)
    assert found["hedge"].total == -20


def recorded(session: date, chain: pl.DataFrame, spot: float) -> tuple[Book, float]:
    """A September 2026 SPY condor of 715/730/795/810 as marked that day: its book and the $ its mids are worth."""
    expiration, marks, holdings = date(2026, 9, 18), 0.0, []
    for right, strike, quantity in (("P", 715, 1), ("P", 730, -1), ("C", 795, -1), ("C", 810, 1)):
        row = chain.row(
            by_predicate=(pl.col("date") == session)
            & (pl.col("expiry") == expiration)
            & (pl.col("right") == right)
            & (pl.col("strike") == strike),
            named=True,
        )
        marks += quantity * 100 * (row["bid"] + row["ask"]) / 2
        years = (expiration - session).days / 365
        holdings.append(
            OptionHolding(
                "condor", "SPY", right == "C", strike, years, row["iv"], quantity, 0.0382, 0.0115, american=True
            )
        )
    return Book.of(holdings, {"SPY": spot}), marks


def test_recorded_sessions_are_explained_by_greeks() -> None:
    """A real SPY condor over twelve sessions: greeks explain what its mids gained to $12 a day, $2 in the median."""
    path = SHARED / "chains_cboe_2026"
    if not path.exists():
        pytest.skip(f"recorded chains are not at {path}: set TT_SHARED_DATA")
    chain = pl.read_parquet(path / "SPY.parquet", columns=["date", "expiry", "right", "strike", "bid", "ask", "iv"])
    closes = pl.read_csv(path / "underlying.csv", try_parse_dates=True).filter(pl.col("underlying") == "SPY")
    spots = {day: spot for day, spot in closes.select("date", "close").iter_rows() if day >= date(2026, 8, 5)}
    states = [recorded(day, chain, spot) for day, spot in sorted(spots.items())]
    assert len(states) >= 10
    residuals = [
        abs(attribute(before, after, gained={"condor": later - earlier})["condor"].residual)
        for (before, earlier), (after, later) in pairwise(states)
    ]
    assert max(residuals) < 12
    assert np.median(residuals) < 2.5

"""Put–call parity gives the forward it was made from, says how sure it is, and says when it cannot know."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.blackscholes import Floats, price
from optionmath.forward import Parity, ParityStatus, RateStatus, fit_parity, parity_forward

STRIKES = np.arange(80.0, 121.0, 1.0)


def quotes(
    *, spot: float = 100.0, years: float = 0.25, rate: float = 0.04, carry: float = 0.015, half: float = 0.02
) -> tuple[Floats, Floats, Floats, Floats]:
    """Call bid, call ask, put bid, put ask around European values with a skewed volatility."""
    sigma = 0.2 - 0.3 * np.log(STRIKES / spot)
    call = price(spot, STRIKES, years, sigma, rate, carry, True)
    put = price(spot, STRIKES, years, sigma, rate, carry, False)
    return call - half, call + half, put - half, put + half


def fitted(columns: tuple[Floats, Floats, Floats, Floats], **change: float) -> Parity:
    arguments = {"years": 0.25, "rate": 0.04, "near": 100.0, "spot": 100.0} | change
    return fit_parity(STRIKES, *columns, **arguments)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.floats(0.0, 0.08), st.floats(-0.05, 0.12), st.floats(0.02, 1.5))
def test_forward_carry_and_rate_are_recovered_from_exact_quotes(rate: float, carry: float, years: float) -> None:
    """European prices of any rate and carry give both back, and the forward to the cent's ten-thousandth."""
    # Wings whose mid is below the half-spread have no bid and drop out by themselves.
    columns = quotes(years=years, rate=rate, carry=carry)
    found = fitted(columns, years=years, rate=rate)
    assert found.status is ParityStatus.OK
    assert found.forward == pytest.approx(100 * np.exp((rate - carry) * years), abs=1e-6)
    assert found.carry_yield == pytest.approx(carry, abs=1e-6)
    if found.rate_status is RateStatus.OK:
        assert found.implied_rate == pytest.approx(rate, abs=1e-6)
        assert found.implied_rate_forward == pytest.approx(found.forward, abs=1e-5)


def test_known_dividends_are_not_borrow() -> None:
    """With the dividends' present value taken out, what is left of the carry is the cost of borrowing."""
    dividends, borrow, years, rate = 1.2, 0.03, 0.25, 0.04
    forward = (100 - dividends) * np.exp((rate - borrow) * years)
    carry = rate - np.log(forward / 100) / years
    found = fit_parity(
        STRIKES, *quotes(carry=carry), years, rate, near=100.0, spot=100.0, dividends_present_value=dividends
    )
    assert found.borrow == pytest.approx(borrow, abs=1e-6)
    assert found.carry_yield == pytest.approx(carry, abs=1e-6)


def test_stale_pairs_move_nothing_and_are_counted() -> None:
    """Three quotes that are dollars off leave the forward where it was."""
    clean = quotes()
    stale = tuple(each.copy() for each in clean)
    for column in stale[:2]:
        column[[18, 20, 23]] += 3.0
    found = fitted(stale)  # type: ignore[arg-type]
    assert found.forward == pytest.approx(fitted(clean).forward, abs=0.01)
    assert found.outliers == 3


def test_noise_stays_within_the_stated_errors() -> None:
    """Over seeded noise the forward's standard error covers the truth about as often as it should."""
    generator = np.random.default_rng(5)
    truth, hits = 100 * np.exp((0.04 - 0.015) * 0.25), 0
    for _ in range(40):
        noise = generator.normal(0, 0.01, len(STRIKES))
        columns = tuple(each + noise for each in quotes()[:2]) + quotes()[2:]
        found = fitted(columns)  # type: ignore[arg-type]
        hits += abs(found.forward - truth) <= 2 * found.forward_error
    assert 34 <= hits <= 40


def test_wide_quotes_and_american_options_claim_no_rate() -> None:
    """A noisy slope is refused with its error; early exercise tilts the slope whatever the noise."""
    generator = np.random.default_rng(6)
    columns = quotes(years=0.06)
    noisy = tuple(each + generator.normal(0, 0.05, len(STRIKES)) for each in columns[:2]) + columns[2:]
    found = fitted(noisy, years=0.06)  # type: ignore[arg-type]
    assert found.rate_status is RateStatus.TOO_NOISY
    assert np.isnan(found.implied_rate)
    assert found.implied_rate_error > 0.005
    american = fit_parity(STRIKES, *quotes(), 0.25, 0.04, near=100.0, american=True)
    assert american.rate_status is RateStatus.AMERICAN
    assert american.early_exercise_bound == pytest.approx(100 * np.expm1(0.01), rel=1e-9)
    assert american.pairs == 7  # the six nearest, two of them equally far


@pytest.mark.parametrize("bad", ["missing", "crossed", "no bid"])
def test_without_two_sided_pairs_there_is_no_forward(bad: str) -> None:
    """Missing, crossed and one-sided quotes are not pairs."""
    call_bid, call_ask, put_bid, put_ask = quotes()
    if bad == "missing":
        call_bid = np.full(len(STRIKES), np.nan)
    elif bad == "crossed":
        call_bid = call_ask + 0.1
    else:
        put_bid = np.zeros(len(STRIKES))
    found = fit_parity(STRIKES, call_bid, call_ask, put_bid, put_ask, 0.25, 0.04, near=100.0)
    assert found.status is ParityStatus.TOO_FEW_PAIRS
    assert np.isnan(found.forward)


@pytest.mark.parametrize("change", [{"years": 0.0}, {"near": float("nan")}, {"rate": float("inf")}])
def test_input_without_sense_is_said_to_be_so(change: dict[str, float]) -> None:
    """No exception, a status."""
    assert fitted(quotes(), **change).status is ParityStatus.BAD_INPUT


def test_the_quick_forward_is_the_median_of_the_nearest_strikes() -> None:
    """One stale strike does not move it; two usable pairs are too few."""
    call_bid, call_ask, put_bid, put_ask = quotes()
    call, put = (call_bid + call_ask) / 2, (put_bid + put_ask) / 2
    call[20] += 5
    found = parity_forward(STRIKES, call, put, 0.25, 0.04, near=100.0)
    assert found is not None
    assert found.price == pytest.approx(100 * np.exp(0.025 * 0.25), abs=1e-9)
    assert parity_forward(STRIKES[:2], call[:2], put[:2], 0.25, 0.04, near=100.0) is None

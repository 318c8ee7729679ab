"""What the model's prices may never offer, and what they do around reports and dividends."""

from __future__ import annotations

import itertools
import os
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from optionmath.blackscholes import greeks, price
from optionmath.surface import Ssvi
from tastysim.corporate_events import CorporateEvents, Dividend, Earnings
from tastysim.listed import RATE, UNIVERSE, Universe
from tastysim.market import ModelMarket
from tastysim.model_hours import BUCKETS, Hours, bucket_of, day_after
from tastysim.model_paths import Paths
from tastysim.model_schedule import Schedule
from tastysim.model_surface import GAMMA, smile_of, variance_to

NOW = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
FEW = Universe((UNIVERSE[0], UNIVERSE[6], UNIVERSE[8], UNIVERSE[17]), strikes=25)
"""SPY; GOOGL, which reports in December; TSLA; TLT, whose skew is flat."""
TIMES = tuple(NOW + timedelta(days=days, hours=hours) for days, hours in ((0, 0), (2, 5), (8, 20), (9, 22), (28, 3)))


def paired(market: ModelMarket) -> list[tuple[int, npt.NDArray[Any], float]]:
    """For every expiration of every underlying: its place, the rows of its calls, the years to it."""
    found = []
    contracts = market.contracts
    for cell, each in enumerate(contracts.cells):
        rows = np.arange(contracts.first[cell], contracts.first[cell + 1], 2)
        years = (contracts.cell_end[cell] - market.now.timestamp()) / 31_536_000
        if years > 0:
            found.append((each.underlying, rows, years))
    return found


@pytest.mark.parametrize("seed", range(3 * SCALE))
def test_surfaces_admit_no_static_arbitrage(seed: int) -> None:
    """At any time: the conditions of Gatheral and Jacquier; prices convex and falling in the strike; w rises with T."""
    for now in TIMES:
        market = ModelMarket(seed, NOW, universe=FEW, now=now)
        every = np.arange(len(market.strike))
        fair, _ = market.day.fair(every, bucket_of(now))
        ends: dict[int, list[tuple[float, npt.NDArray[Any], npt.NDArray[Any]]]] = {}
        for name, rows, years in paired(market):
            strike = market.strike[rows]
            assert (np.diff(fair.price[rows]) <= 1e-9).all()
            assert (np.diff(fair.price[rows + 1]) >= -1e-9).all()
            for value in (fair.price[rows], fair.price[rows + 1]):
                slopes = np.diff(value) / np.diff(strike)
                assert (np.diff(slopes) >= -1e-7).all()
                assert (np.abs(slopes) <= 1 + 1e-9).all()
            variance = fair.volatility[rows] ** 2 * years
            forward = (market.spot[name] - paid(market, name, rows)) * np.exp(RATE * years)
            ends.setdefault(name, []).append((years, np.log(strike / forward), variance))
        for slices in ends.values():
            slices.sort(key=lambda each: each[0])
            for (_, k, earlier), (_, k_later, later) in itertools.pairwise(slices):
                shared = (k >= k_later[0]) & (k <= k_later[-1])
                assert (np.interp(k[shared], k_later, later) >= earlier[shared] - 1e-7).all()


def paid(market: ModelMarket, name: int, rows: npt.NDArray[Any]) -> float:
    """Present value of the dividends before the expiration of some rows, $."""
    return float(market.day.carry.paid[market.contracts.cell[rows[0]]])


@pytest.mark.parametrize("seed", [1, 2])
def test_the_parameters_of_every_state_are_free_of_arbitrage(seed: int) -> None:
    """For any volatility that the path can take."""
    draw = np.random.default_rng(seed)
    for each in UNIVERSE:
        for relative in draw.uniform(-1.0, 1.4, 20):
            level = np.array([each.volatility])
            now = level * np.exp(relative)
            rho, eta = smile_of(now, level, np.array([each.skew]), np.array([each.curvature]))
            years = (1 / 365, 7 / 365, 30 / 365, 0.25, 0.5, 2.0)
            theta = variance_to(np.array(years), now, level) + np.cumsum([0, 0.001, 0, 0.002, 0, 0])
            surface = Ssvi(float(rho[0]), float(eta[0]), GAMMA, years, tuple(float(each) for each in theta))
            assert surface.arbitrage_free


def test_nobody_can_lock_in_a_profit_against_the_quotes() -> None:
    """Parity, verticals and calendars at bid and ask, although quotes are of different instants."""
    market = ModelMarket(4, NOW, universe=FEW)
    for _ in range(20):
        market.step(61.25)
        assert (market.ask > market.bid).all()
        for name, rows, years in paired(market):
            calls, puts, strike = rows, rows + 1, market.strike[rows]
            spot, fund = market.spot[name], market.spot[name] * 0.0004
            # conversion: long stock, long put, short call pays the strike at expiration, and never more than dividends
            dividends = paid(market, name, rows)
            assert (market.bid[calls] - market.ask[puts] <= spot - strike * np.exp(-RATE * years) + fund).all()
            assert (market.bid[puts] - market.ask[calls] <= strike - (spot - dividends) + fund).all()
            assert (market.bid[calls][1:] <= market.ask[calls][:-1] + fund).all()
            assert (market.bid[puts][:-1] <= market.ask[puts][1:] + fund).all()
            intrinsic = np.maximum(spot - strike, 0)
            assert (market.ask[calls] >= intrinsic - fund).all()


def test_prices_and_greeks_are_those_of_black_and_scholes_on_the_surface() -> None:
    """Against `optionmath` at each contract's own volatility, dividends taken off the price."""
    market = ModelMarket(2, NOW, universe=Universe(UNIVERSE[:3], strikes=33))
    every = np.arange(len(market.strike))
    fair, _ = market.day.fair(every, bucket_of(NOW))
    cell = market.contracts.cell
    spot = market.spot[market.contracts.cell_underlying[cell]] - market.day.carry.paid[cell]
    years = (market.contracts.cell_end[cell] - NOW.timestamp()) / 31_536_000
    terms = (spot, market.strike, years, fair.volatility, RATE, 0.0, market.is_call)
    expected, sensitivity = price(*terms), greeks(*terms)
    floored = fair.price > expected + 1e-9
    assert floored.mean() < 0.05
    assert np.allclose(fair.price[~floored], expected[~floored], atol=1e-9)
    for name in ("delta", "gamma", "theta", "vega", "rho"):
        assert np.allclose(getattr(fair, name), getattr(sensitivity, name), atol=1e-9)


def at_the_money(market: ModelMarket, symbol: str) -> dict[date, float]:
    """Implied volatility nearest to the price, by expiration."""
    rows, spot = market.rows[symbol], market.spot[market.index_of(symbol) or 0]
    found: dict[date, tuple[float, float]] = {}
    for row in range(rows.start, rows.stop):
        if np.isfinite(market.iv[row]):
            here = (abs(float(market.strike[row] - spot)), float(market.iv[row]))
            found[market.expiration[row]] = min(here, found.get(market.expiration[row], here))
    return {day: volatility for day, (_, volatility) in sorted(found.items())}


def test_a_report_is_priced_moves_the_price_and_is_gone() -> None:
    """Expirations that span it are dearer; the price jumps in one bucket; afterwards volatility has collapsed."""
    day = date(2026, 12, 1)
    extra = CorporateEvents(earnings=(Earnings("TSLA", day, before_open=False),))
    market = ModelMarket(7, NOW, universe=FEW, extra=extra)
    assert Earnings("TSLA", day, before_open=False) in market.events(day, day).earnings
    before = datetime(2026, 12, 1, 21, 25, tzinfo=UTC)
    market.step((before - NOW).total_seconds())
    spanning = at_the_money(market, "TSLA")
    near = date(2026, 12, 4)
    assert spanning[near] > 1.3 * spanning[date(2027, 3, 19)]
    market.step(600.0)
    after = at_the_money(market, "TSLA")
    assert after[near] < 0.75 * spanning[near]
    moves = []
    for seed in range(30):
        other = ModelMarket(seed, before, universe=FEW, extra=extra)
        start = float(other.spot[2])
        other.step(600.0)
        moves.append(np.log(other.spot[2] / start))
    assert 0.03 < np.std(moves) < 0.12  # implied: 8 %


def test_a_dividend_comes_off_the_price_and_options_knew_it() -> None:
    """The night before the ex-date takes the amount; parity holds on both sides of it."""
    ex = date(2026, 12, 3)
    paid_out = Dividend("SPY", Decimal("9.00"), date(2026, 11, 20), ex, ex, date(2026, 12, 15))
    plain = ModelMarket(7, NOW, universe=FEW)
    paying = ModelMarket(7, NOW, universe=FEW, extra=CorporateEvents(dividends=(paid_out,)))
    evening, morning = (datetime(2026, 12, 3, hour, 0, tzinfo=UTC) for hour in (4, 6))
    forwards = []
    for market in (plain, paying):
        market.step((evening - NOW).total_seconds())
        spot = float(market.spot[0])
        rows = next(rows for name, rows, years in paired(market) if name == 0 and years > 0.05)
        middle = len(rows) // 2
        forwards.append(float(market.theoretical[rows[middle]] - market.theoretical[rows[middle] + 1]))
        market.step((morning - evening).total_seconds())
        forwards.append(float(market.spot[0]) - spot)
    assert forwards[2] - forwards[0] == pytest.approx(-9.0, abs=0.1)
    assert forwards[3] - forwards[1] == pytest.approx(-9.0, abs=0.1)


def test_implied_volatility_is_above_what_prices_do() -> None:
    """Realised about 0.85 of implied, names correlated by beta, volatility up as prices fall."""
    days = 180 * SCALE
    first = day_after(NOW.date(), Hours.EXCHANGE)
    schedule = Schedule(11, UNIVERSE, first.day)
    paths = Paths(11, UNIVERSE, schedule, Hours.EXCHANGE, first, first.start)
    closes, levels = [], []
    for _ in range(days):
        closes.append(paths.block.log_spot[-1])
        levels.append(paths.block.log_volatility[-1])
        paths.advance(day_after(paths.block.its.day, Hours.EXCHANGE))
    moves, raised = np.diff(closes, axis=0), np.diff(levels, axis=0)
    realised = np.sqrt((moves**2).mean(axis=0) * 252)
    implied = np.sqrt(np.exp(2 * np.array(levels)).mean(axis=0))
    assert 0.75 < np.median(realised / implied) < 1.0
    assert np.corrcoef(moves[:, 0], moves[:, 1])[0, 1] > 0.7
    assert np.corrcoef(moves[:, 0], moves[:, 15])[0, 1] < 0.5
    assert np.corrcoef(moves[:, 0], raised[:, 0])[0, 1] < -0.4
    assert paths.block.log_spot.shape[0] == paths.block.its.minutes + 1
    assert paths.at(np.array([paths.block.its.start * BUCKETS]))[0].shape == (1, len(UNIVERSE))

"""Value at risk and expected shortfall of a book by full revaluation, with a greeks-based estimate beside it.

Scenarios are joint: one market factor moves every underlying by its beta, each name has its own residual, and implied
volatility answers the move. Taylor estimates are for small moves only: beyond a wing's width they are wrong by
multiples (a spread's loss is capped, its delta and gamma are not).

VaR and ES are $ and positive for a loss; a negative number is a gain that even the bad scenarios keep. All results are
NaN while any position cannot be valued (`unpriced` names them): a partial sum would look like safety.
Sources: Hull, Options, Futures, and Other Derivatives, chapters 22 and 23; Acerbi and Tasche, On the coherence of
expected shortfall (2002); Tasche, Capital allocation to business units and sub-portfolios: the Euler principle (2008).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from optionmath.revaluation import DAYS_PER_YEAR, Book, Floats, LegGreeks, Scenarios, leg_greeks, profit_and_loss

ONE_DAY = 1.0 / DAYS_PER_YEAR
SPOT_VOLATILITY_BETA = -4.0
"""Relative change of implied volatility per unit of market return: a fall of 1 % lifts volatility by 4 % of itself."""
RESIDUAL_VOLATILITY_GAIN = 0.5
"""Relative change of a name's implied volatility per unit of |residual return| / annual volatility."""
_NEIGHBOURS = 0.01
_EXPANSION_REACH = 3.5
"""Deviations within which the Cornish–Fisher quantiles have to rise."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one position adds, $: shares of the totals sum to them; negative = it offsets the others."""

    position: str
    value_at_risk: float
    expected_shortfall: float
    standalone: float
    """VaR of the position alone."""
    incremental: float
    """VaR of the book less VaR of the book without the position."""


@dataclass(frozen=True, slots=True)
class RiskReport:
    """Loss figures of a book over the scenarios' horizon, $; `profit_and_loss` is the whole distribution."""

    confidence: float
    value_at_risk: float
    tail_confidence: float
    expected_shortfall: float
    worst: float
    """Loss in the worst scenario."""
    worst_scenario: int
    """Its index; −1 when nothing can be said."""
    contributions: tuple[Contribution, ...]
    """One a position, greatest share of the expected shortfall first."""
    unpriced: tuple[str, ...]
    profit_and_loss: Floats


def historical_scenarios(
    market_return: Floats,
    market_volatility_return: Floats,
    betas: Mapping[str, float],
    *,
    residuals: Mapping[str, Floats] | None = None,
    volatility_betas: Mapping[str, float] | None = None,
    elapsed_years: float = ONE_DAY,
) -> Scenarios:
    """Each past joint day of the market and its volatility index, carried to each underlying by its beta.

    market_return: simple returns; market_volatility_return: relative changes of the volatility index, +0.10 = from 20
    to 22; residuals: a name's own return of the same days, without it none; volatility_betas: relative change of a
    name's volatility per that of the index, 1 where absent. Raises ValueError when lengths differ.
    """
    days = market_return.size
    own = residuals or {}
    if market_volatility_return.size != days or any(each.size != days for each in own.values()):
        raise ValueError("market returns, volatility returns and residuals must cover the same days")
    answer = volatility_betas or {}
    moves = [beta * market_return + own.get(name, 0.0) for name, beta in betas.items()]
    volatility = [1.0 + answer.get(name, 1.0) * market_volatility_return for name in betas]
    return Scenarios(
        tuple(betas),
        np.array(moves, dtype=np.float64).reshape(len(betas), days),
        np.maximum(np.array(volatility, dtype=np.float64).reshape(len(betas), days), 0.0),
        elapsed_years,
    )


def student_t_scenarios(
    betas: Mapping[str, float],
    residual_volatility: Mapping[str, float],
    market_volatility: float,
    *,
    count: int,
    seed: int,
    degrees: float = 4.0,
    elapsed_years: float = ONE_DAY,
    spot_volatility_beta: float = SPOT_VOLATILITY_BETA,
    residual_gain: float = RESIDUAL_VOLATILITY_GAIN,
) -> Scenarios:
    """Random joint moves: R = beta · R_market + residual, both Student-t scaled to the given annual volatilities.

    dσ/σ = spot_volatility_beta · R_market + residual_gain · |residual| / residual volatility. Antithetic in the market
    and the residuals, so the mean move is zero; the same seed gives the same scenarios. Moves are held above −99 %.
    Raises ValueError unless degrees > 2 and count is positive and even.
    """
    if degrees <= 2 or count < 2 or count % 2:
        raise ValueError("Student-t scenarios need more than 2 degrees of freedom and a positive even count")
    generator = np.random.default_rng(seed)
    scale = np.sqrt(elapsed_years * (degrees - 2.0) / degrees)
    half = generator.standard_t(degrees, (len(betas) + 1, count // 2)) * scale
    draws = np.concatenate((half, -half), axis=1)
    market = market_volatility * draws[0]
    deviations = np.array([residual_volatility[name] for name in betas])[:, None]
    own = deviations * draws[1:]
    moves = np.array(list(betas.values()))[:, None] * market + own
    shock = spot_volatility_beta * market + residual_gain * np.abs(draws[1:]) * (deviations > 0)
    return Scenarios(tuple(betas), np.maximum(moves, -0.99), np.maximum(1.0 + shock, 0.05), elapsed_years)


def quantile_loss(profit: Floats, confidence: float) -> float:
    """Smallest loss that is not exceeded with at least this probability: the empirical VaR, no interpolation."""
    rank = _rank(profit.shape[-1], confidence)
    return float(-np.partition(profit, rank)[rank])


def tail_mean_loss(profit: Floats, confidence: float) -> float:
    """Mean loss of the worst 1 − confidence of outcomes; the scenario at the edge counts with what is left of it."""
    return float(-(np.sort(profit) @ _tail_weights(profit.size, confidence)))


def _rank(count: int, confidence: float) -> int:
    # The tolerance keeps 500 · (1 − 0.95) = 25.000000000000022 from moving the rank.
    return min(count - 1, int(np.floor(count * (1.0 - confidence) + 1e-9)))


def _tail_weights(count: int, confidence: float) -> Floats:
    mass = count * (1.0 - confidence)
    return np.asarray(np.clip(mass - np.arange(count), 0.0, 1.0) / mass)


def value_at_risk(
    book: Book,
    scenarios: Scenarios,
    *,
    confidence: float = 0.95,
    tail_confidence: float = 0.975,
    contributions: bool = True,
) -> RiskReport:
    """VaR and ES of the book by revaluing every leg in every scenario, with each position's share (Euler allocation).

    A position's share of ES is its mean loss in the book's tail scenarios. Its share of VaR is its mean loss in the
    scenarios around the quantile (1 % of them on either side), scaled so that the shares sum to VaR.
    contributions=False leaves the shares out where only the totals decide.
    Raises ValueError for a confidence outside (0, 1) or without scenarios.
    """
    if not (0.0 < confidence < 1.0 and 0.0 < tail_confidence < 1.0) or scenarios.count == 0:
        raise ValueError("a confidence lies between 0 and 1, and there must be scenarios")
    matrix = profit_and_loss(book, scenarios)
    total = np.asarray(matrix.sum(axis=0))
    unpriced: tuple[str, ...] = ()
    if not np.isfinite(total).all():
        bad = np.flatnonzero(np.isnan(matrix.sum(axis=1)) | np.isinf(matrix).any(axis=1))
        unpriced = tuple(book.positions[row] for row in bad)
    if unpriced:
        nothing = float("nan")
        return RiskReport(confidence, nothing, tail_confidence, nothing, nothing, -1, (), unpriced, total)
    order = np.argsort(total, kind="stable")
    rank = _rank(total.size, confidence)
    var = float(-total[order[rank]])
    weights = _tail_weights(total.size, tail_confidence)
    tail = int(np.count_nonzero(weights))
    shortfall = -(matrix[:, order[:tail]] @ weights[:tail])
    return RiskReport(
        confidence,
        var,
        tail_confidence,
        float(shortfall.sum()),
        float(-total[order[0]]),
        int(order[0]),
        _contributions(book, matrix, total, order, rank, var, shortfall) if contributions else (),
        (),
        total,
    )


def _contributions(
    book: Book, matrix: Floats, total: Floats, order: np.ndarray, rank: int, var: float, shortfall: Floats
) -> tuple[Contribution, ...]:
    reach = max(1, round(_NEIGHBOURS * total.size)) if total.size > 2 else 0
    around = order[max(0, rank - reach) : rank + reach + 1]
    shares = -matrix[:, around].mean(axis=1)
    shares = shares + (var - shares.sum()) * _spread(shares)
    alone = -np.partition(matrix, rank, axis=1)[:, rank]
    without = -np.partition(total - matrix, rank, axis=1)[:, rank]
    found = [
        Contribution(name, float(share), float(tail), float(own), float(var - rest))
        for name, share, tail, own, rest in zip(book.positions, shares, shortfall, alone, without, strict=True)
    ]
    return tuple(sorted(found, key=lambda each: -each.expected_shortfall))


def _spread(shares: Floats) -> Floats:
    # The rounding between the mean and the quantile is spread by size, so that no position changes sign for it.
    size = np.abs(shares)
    return size / size.sum() if size.sum() > 0 else np.full(shares.size, 1.0 / max(shares.size, 1))


def taylor_profit_and_loss(book: Book, scenarios: Scenarios, greeks: LegGreeks | None = None) -> Floats:
    """$ of each position in each scenario from delta, gamma, theta and vega alone: [position, scenario].

    Good while moves are small against the distance between strikes; compare it with full revaluation, do not trust it
    in the tail. greeks: of this book, computed when not given.
    """
    found = leg_greeks(book) if greeks is None else greeks
    factor, grown, shifted = scenarios.rows(book.underlyings)
    # Everything is linear in greeks: legs of one position and underlying are summed before any scenario is touched.
    pairs, pair = np.unique(book.position * len(book.underlyings) + book.underlying, return_inverse=True)

    def summed(column: Floats) -> Floats:
        return np.asarray(np.bincount(pair, weights=column, minlength=len(pairs)), dtype=np.float64)[:, None]

    vega = np.where(book.is_option, found.vega, 0.0)
    at = pairs % len(book.underlyings)
    move = (book.spots[:, None] * (factor - 1.0))[at]
    profit = summed(found.delta) * move + 0.5 * summed(found.gamma) * move**2
    profit += summed(found.theta) * (scenarios.elapsed_years * DAYS_PER_YEAR)
    profit += 100.0 * (summed(vega * np.where(book.is_option, book.sigma, 0.0)) * (grown - 1.0)[at])
    profit += 100.0 * summed(vega) * shifted[at]
    out = np.zeros((len(book.positions), scenarios.count))
    np.add.at(out, pairs // len(book.underlyings), profit)
    return out


def cornish_fisher_loss(profit: Floats, confidence: float) -> float:
    """VaR from the mean, deviation, skewness and excess kurtosis of a distribution (Cornish and Fisher, 1938).

    An approximation near the normal law. NaN when the outcomes do not vary, and where the expansion is no distribution
    because its quantiles would not rise (Maillard, A user's guide to the Cornish Fisher expansion, 2012): too skewed or
    too fat-tailed a book, as short premium usually is.
    """
    from scipy.special import ndtri

    mean, deviation = float(profit.mean()), float(profit.std())
    if not deviation > 0:
        return float("nan")
    unit = (profit - mean) / deviation
    skew, excess = float((unit**3).mean()), float((unit**4).mean()) - 3.0
    reach = np.linspace(-_EXPANSION_REACH, _EXPANSION_REACH, 71)
    slope = 1 + skew * reach / 3 + (reach**2 - 1) * excess / 8 - (6 * reach**2 - 5) * skew * skew / 36
    if slope.min() <= 0:
        return float("nan")
    z = float(ndtri(1.0 - confidence))
    adjusted = z + (z * z - 1) * skew / 6 + (z**3 - 3 * z) * excess / 24 - (2 * z**3 - 5 * z) * skew * skew / 36
    return -(mean + adjusted * deviation)

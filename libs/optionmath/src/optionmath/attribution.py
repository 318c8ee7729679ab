"""What made a position's profit or loss between two moments, by greek.

Second-order Taylor expansion at the first moment, legs of their own volatility and rate; what it does not explain is
the residual, so the parts always sum to the profit: a large residual says that the move was too big for greeks, or,
when market values are given, that the model and the market disagree. All in $, gains positive.
Source: Hull, Options, Futures, and Other Derivatives, chapter 19; vanna and vomma as in Haug, chapter 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from optionmath.revaluation import DAYS_PER_YEAR, Book, Floats, calm, leg_greeks, revalue


@dataclass(frozen=True, slots=True)
class Attribution:
    """Parts of a profit, $. `total` is their sum: what the position really gained (lost: negative)."""

    delta: float
    gamma: float
    theta: float
    vega: float
    vanna: float
    """Spot and volatility together."""
    vomma: float
    """Curvature in volatility."""
    rho: float
    residual: float

    @property
    def total(self) -> float:
        """Sum of all parts."""
        return float(sum(getattr(self, part.name) for part in fields(self)))

    @property
    def explained(self) -> float:
        """Sum of the greeks' parts, the residual left out."""
        return self.total - self.residual


def attribute(before: Book, after: Book, *, gained: Mapping[str, float] | None = None) -> dict[str, Attribution]:
    """Each position's profit between two states of the same legs, by greek.

    The books hold the same legs in the same order; `after` has the later spots, volatilities, rates and shorter years
    (0 when expired: the leg counts at its exercise value). gained: $ that positions really made, marks less costs;
    without it the model's own difference. A position that cannot be valued in a state has NaN parts.
    Raises ValueError when the books do not hold the same legs.
    """
    _same_legs(before, after)
    found = leg_greeks(before)
    move = after.spots[after.underlying] - before.spots[before.underlying]
    # An expired leg has no volatility any more: its last one stands.
    sigma = np.where(after.years > 0, after.sigma, before.sigma)
    points = np.where(before.is_option, 100.0 * (sigma - before.sigma), 0.0)
    days = DAYS_PER_YEAR * (before.years - after.years)
    rates = 100.0 * (after.rate - before.rate)
    parts = {
        "delta": found.delta * move,
        "gamma": 0.5 * found.gamma * move**2,
        "theta": found.theta * days,
        "vega": found.vega * points,
        "vanna": found.vanna * move * points,
        "vomma": 0.5 * found.vomma * points**2,
        "rho": found.rho * rates,
    }
    count = len(before.positions)
    sums = {name: np.bincount(before.position, weights=each, minlength=count) for name, each in parts.items()}
    change = (revalue(after, calm(after)) - revalue(before, calm(before)))[:, 0]
    made = np.array([(gained or {}).get(name, value) for name, value in zip(before.positions, change, strict=True)])
    sums["residual"] = made - np.sum(list(sums.values()), axis=0)
    return {
        position: Attribution(**{name: float(each[row]) for name, each in sums.items()})
        for row, position in enumerate(before.positions)
    }


def summed(attributions: Mapping[str, Attribution]) -> Attribution:
    """Part by part over positions; zero without any."""
    names = [part.name for part in fields(Attribution)]
    return Attribution(**{name: float(sum(getattr(each, name) for each in attributions.values())) for name in names})


def _same_legs(before: Book, after: Book) -> None:
    same = before.positions == after.positions and before.underlyings == after.underlyings

    def equal(first: Floats, second: Floats) -> bool:
        return first.shape == second.shape and bool((first == second).all())

    if not same or not all(
        equal(first, second)
        for first, second in (
            (before.strike, after.strike),
            (before.size, after.size),
            (before.is_call.astype(np.float64), after.is_call.astype(np.float64)),
            (before.position.astype(np.float64), after.position.astype(np.float64)),
        )
    ):
        raise ValueError("attribution needs the same legs in both states")

"""What a trade that is managed by rules can expect: win rate, expected value, holding time and why it ends.

Monte-Carlo on a lognormal path with the forecast volatility; legs keep their own implied volatility (sticky strike) and
are repriced with Black–Scholes at every check. The same random numbers serve every candidate, so that differences
between candidates are not noise. P50 of the platforms is `touch_profit_probability`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from optionmath.blackscholes import Floats
from optionmath.kernels import managed as kernel

_NEVER = -1.0


class StopBasis(StrEnum):
    """What a stop's multiple multiplies."""

    PRICE_MULTIPLE = "price_multiple"
    """Closed when buying it back costs `multiple` × the credit: the loss is multiple − 1 credits. Credits only."""
    LOSS_MULTIPLE = "loss_multiple"
    """Closed when the loss reaches `multiple` × the credit (or the debit)."""


@dataclass(frozen=True, slots=True)
class ExitPolicy:
    """When a position is closed before it expires; None = that rule is off."""

    profit_target: float | None = 0.5
    """Share of the maximum profit."""
    stop_multiple: float | None = 2.0
    stop_basis: StopBasis = StopBasis.PRICE_MULTIPLE
    exit_days: float | None = 21.0
    """Closed at the first check with at most this many calendar days left (a trade opened with fewer: at the first)."""


HOLD = ExitPolicy(profit_target=None, stop_multiple=None, exit_days=None)
"""No rule: held to expiration."""


@dataclass(frozen=True, slots=True)
class Trade:
    """One position, per share: legs as columns, quantity > 0 long, cash > 0 received."""

    is_call: npt.NDArray[np.bool_]
    strike: Floats
    quantity: Floats
    sigma: Floats
    """Implied volatility of each leg, a fraction a year."""
    years: Floats
    """Time to each leg's expiration; the position ends at the nearest one."""
    cash: float
    """Credit received (debit negative) at the expected fill, $ per share."""
    shares: float = 0.0
    """Stock per share of the contract; what it cost is part of `cash`."""
    max_profit: float | None = None
    """$ per share, the base of the profit target; None: the credit. A debit or stock position has to say."""

    def __post_init__(self) -> None:
        columns = (self.is_call, self.strike, self.quantity, self.sigma, self.years)
        if any(each.ndim != 1 or each.shape != self.strike.shape for each in columns) or not len(self.strike):
            raise ValueError("a trade needs legs as columns of one length")
        numbers = np.concatenate((self.strike, self.quantity, self.sigma, self.years, [self.cash, self.shares]))
        if not np.all(np.isfinite(numbers)) or not np.all(self.strike > 0):
            raise ValueError("a trade needs finite numbers and positive strikes")
        if not (np.all(self.sigma > 0) and np.all(self.years > 0)):
            raise ValueError("a trade needs positive volatilities and times")


class RandomPaths:
    """Normals shared by every simulation: antithetic halves, reproducible from the seed."""

    __slots__ = ("_normals", "paths", "seed")

    def __init__(self, paths: int = 20_000, *, steps: int = 64, seed: int = 1) -> None:
        """paths: even, at least 2. steps: rows made at once; more are added when a trade needs them."""
        if paths < 2 or paths % 2:
            raise ValueError(f"antithetic paths come in pairs, were {paths}")
        self.paths = paths
        self.seed = seed
        self._normals = self._draw(steps)

    def _draw(self, steps: int) -> Floats:
        # One generator per row, so that a row does not depend on how many rows were asked for.
        rows = [np.random.default_rng((self.seed, row)).standard_normal(self.paths // 2) for row in range(steps)]
        return np.array(rows)

    def normals(self, steps: int) -> Floats:
        """At least `steps` rows of paths / 2 standard normals."""
        if len(self._normals) < steps:
            self._normals = self._draw(steps)
        return self._normals


@dataclass(frozen=True, slots=True)
class ManagedOutlook:
    """Expectations of the managed trade; $ per share after costs, undiscounted."""

    win_rate: float
    """P(P&L > 0)."""
    win_rate_error: float
    """Monte-Carlo standard error (over antithetic pairs); likewise below."""
    expected_value: float
    expected_value_error: float
    expected_shortfall: float
    """Mean loss of the worst 5 %, positive = loss."""
    mean_win: float
    """NaN without a win."""
    mean_loss: float
    """Positive; NaN without a loss."""
    mean_days: float
    """Calendar days held."""
    share_target: float
    share_stop: float
    share_time: float
    share_expiration: float
    paths: int


def simulate(
    trade: Trade,
    spot: float,
    rate: float,
    *,
    paths: RandomPaths,
    policy: ExitPolicy | None = None,
    realised_sigma: float,
    dividend_yield: float = 0.0,
    drift: float | None = None,
    opening_cost: float = 0.0,
    closing_cost: float = 0.0,
    expiration_cost: float = 0.0,
    checks_per_day: int = 1,
) -> ManagedOutlook:
    """Simulate one managed trade: about 3 ms for 20,000 paths of 45 days; releases the interpreter lock while it runs.

    realised_sigma: forecast volatility of the path, a fraction a year. drift: of the price, continuous; by default
    rate − dividend_yield. Costs: $ per share for fees and slippage, of opening, of closing early, and of expiring.
    checks_per_day: how often the rules look; the horizon is cut into that many steps a calendar day, at least one.
    Raises ValueError for a spot, volatility or policy that makes no sense.
    """
    rules = ExitPolicy() if policy is None else policy
    if not (spot > 0 and realised_sigma > 0 and math.isfinite(rate) and checks_per_day >= 1):
        raise ValueError(f"a simulation needs positive spot and volatility, were {spot} and {realised_sigma}")
    target, stop = _limits(trade, rules)
    horizon = float(np.min(trade.years))
    steps = max(1, round(horizon * 365 * checks_per_day))
    pnl, held = np.empty(paths.paths), np.empty(paths.paths)
    reason = np.empty(paths.paths, dtype=np.int8)
    kernel.simulate(
        paths.normals(steps), steps, spot, rate - dividend_yield if drift is None else drift, realised_sigma, rate,
        dividend_yield, trade.is_call.astype(np.float64), trade.strike, trade.quantity, trade.sigma, trade.years,
        trade.shares, trade.cash, target, stop,
        _NEVER if rules.exit_days is None else rules.exit_days / 365,
        opening_cost + closing_cost, opening_cost + expiration_cost, pnl, held, reason,
    )  # fmt: skip
    return _summary(pnl, held, reason)


def _limits(trade: Trade, rules: ExitPolicy) -> tuple[float, float]:
    """P&L ($ per share) at which the target and the stop close the position; NaN = never."""
    target = stop = float("nan")
    if rules.profit_target is not None:
        base = trade.cash if trade.max_profit is None else trade.max_profit
        if not base > 0:
            raise ValueError("a profit target needs a credit, or max_profit")
        target = rules.profit_target * base
    if rules.stop_multiple is not None:
        if rules.stop_basis is StopBasis.PRICE_MULTIPLE:
            if not (trade.cash > 0 and rules.stop_multiple > 1):
                raise ValueError("a stop at a multiple of the price needs a credit and a multiple above 1")
            stop = -(rules.stop_multiple - 1) * trade.cash
        else:
            stop = -rules.stop_multiple * abs(trade.cash)
    return target, stop


def _summary(pnl: Floats, held: Floats, reason: npt.NDArray[np.int8]) -> ManagedOutlook:
    half = len(pnl) // 2
    won = (pnl > 0).astype(np.float64)
    tail = max(1, round(0.05 * len(pnl)))
    shares = np.bincount(reason, minlength=4) / len(pnl)
    wins, losses = pnl[pnl > 0], pnl[pnl < 0]
    return ManagedOutlook(
        float(won.mean()),
        _pair_error(won, half),
        float(pnl.mean()),
        _pair_error(pnl, half),
        float(-np.partition(pnl, tail - 1)[:tail].mean()),
        float(wins.mean()) if len(wins) else float("nan"),
        float(-losses.mean()) if len(losses) else float("nan"),
        float(held.mean() * 365),
        float(shares[0]),
        float(shares[1]),
        float(shares[2]),
        float(shares[3]),
        len(pnl),
    )


def _pair_error(values: Floats, half: int) -> float:
    pairs = (values[:half] + values[half:]) / 2
    return float(pairs.std(ddof=1) / math.sqrt(half)) if half > 1 else float("nan")


def touch_profit_probability(
    trade: Trade,
    spot: float,
    rate: float,
    *,
    paths: RandomPaths,
    realised_sigma: float,
    fraction: float = 0.5,
    dividend_yield: float = 0.0,
    drift: float | None = None,
    checks_per_day: int = 1,
) -> float:
    """P50: probability that `fraction` of the maximum profit can be taken at some check up to expiration."""
    found = simulate(
        trade, spot, rate, paths=paths, realised_sigma=realised_sigma, dividend_yield=dividend_yield, drift=drift,
        policy=ExitPolicy(profit_target=fraction, stop_multiple=None, exit_days=None), checks_per_day=checks_per_day,
    )  # fmt: skip
    return found.share_target

"""Greeks, value at risk and stress of an account with its open orders, by full revaluation.

Scenarios are joint and seeded: the same book gives the same number. In every scenario each open order counts as filled
where it loses and as not filled where it gains: no choice of fills has a greater value at risk.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from optionmath.revaluation import Book, Scenarios, calm, profit_and_loss, revalue
from optionmath.stress import stress_grid
from optionmath.value_at_risk import quantile_loss, student_t_scenarios
from risk.domain.facts import Account, Contract, Held, Market, Order, option_of
from schemas.symbols import OptionType

MULTIPLIER = 100
CONFIDENCE, SCENARIOS, SEED = 0.95, 400, 20_260_101
MARKET = "SPY"
_COARSE = 100
"""Betas and volatilities are rounded to 1/100, so that their scenarios serve many decisions."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stress:
    """The worst cell of the stress grid: moves as fractions, loss in dollars, a magnitude."""

    loss: float
    market_move: float
    volatility_move: float


@dataclass(frozen=True, slots=True)
class Block:
    """Legs that are valued together: what is held, or one order."""

    name: str
    legs: tuple[tuple[str, int], ...]
    """Symbol and signed contracts."""


def value_at_risk(account: Account, market: Market, wanted: Order | None = None) -> float | None:
    """1-day 95 % value at risk in dollars, a magnitude; None when a contract cannot be valued, 0 when it only gains.

    wanted: an order that fills for certain; all others fill where that is worse.
    """
    blocks = [_holdings(account.held), *(_block(f"order {n}", each) for n, each in enumerate(account.orders))]
    if wanted is not None:
        blocks.append(_block("wanted", wanted))
    blocks = [each for each in blocks if each.legs]
    if not blocks:
        return 0.0
    made = book_of(blocks, market)
    if made is None:
        return None
    scenarios = scenarios_of(made.underlyings, market)
    if scenarios is None:
        return None
    matrix = profit_and_loss(made, scenarios)
    may = np.array([name.startswith("order") for name in made.positions], dtype=bool)
    total = np.asarray(matrix[~may].sum(axis=0) + np.minimum(matrix[may], 0.0).sum(axis=0))
    return max(0.0, quantile_loss(total, CONFIDENCE)) if np.isfinite(total).all() else None


def worst_stress(account: Account, market: Market) -> Stress | None:
    """The worst of −20 … +10 % of the market by −25 … +100 % of volatility, for what is held; None when unknown."""
    if not account.held:
        return Stress(0.0, 0.0, 0.0)
    made = book_of([_holdings(account.held)], market)
    if made is None or not all(name in market.betas for name in made.underlyings):
        return None
    worst = stress_grid(made, market.betas).worst
    return None if worst is None else Stress(max(0.0, -worst.profit), worst.market_move, worst.volatility_move)


def model_price(legs: Sequence[tuple[str, int]], market: Market) -> float | None:
    """What one unit is worth by model as a net price, $ per share, credit positive; None when it cannot be valued."""
    made = book_of([Block("unit", tuple(legs))], market)
    if made is None:
        return None
    value = float(revalue(made, calm(made))[0, 0])
    return -value / MULTIPLIER if math.isfinite(value) else None


def greeks(legs: Iterable[tuple[str, int]], market: Market) -> tuple[float | None, float | None]:
    """Beta-weighted delta in SPY shares and vega in dollars a point, of signed contracts; None when one is missing."""
    delta: float | None = 0.0
    vega: float | None = 0.0
    weights: dict[str, float | None] = {}
    deltas, vegas = market.deltas, market.vegas
    for symbol, count in legs:
        shares = count * MULTIPLIER
        own_delta, own_vega = deltas.get(symbol), vegas.get(symbol)
        if delta is not None:
            root = symbol[:6]
            if root not in weights:
                weights[root] = _weight(underlying_of(symbol, market), market)
            weight = weights[root]
            delta = None if own_delta is None or weight is None else delta + shares * own_delta * weight
        if vega is not None:
            vega = None if own_vega is None else vega + shares * own_vega
    return delta, vega


def _weight(underlying: str, market: Market) -> float | None:
    """SPY shares that move as much as one share of the underlying."""
    spy, beta, spot = market.spy_price, market.betas.get(underlying), market.spots.get(underlying)
    return None if beta is None or spot is None or not spy else beta * spot / spy


@lru_cache(maxsize=65_536)
def _terms(occ_symbol: str) -> tuple[float, float]:
    """1 for a call, 0 for a put; strike, $ per share."""
    option = option_of(occ_symbol)
    return float(option.option_type is OptionType.CALL), float(option.strike)


def underlying_of(occ_symbol: str, market: Market) -> str:
    """The underlying under which a contract's facts are kept: its root, or what the root belongs to."""
    root = option_of(occ_symbol).root_symbol
    return root if root in market.spots else WEEKLY_ROOTS.get(root, root)


WEEKLY_ROOTS = {"SPXW": "SPX", "NDXP": "NDX", "RUTW": "RUT", "VIXW": "VIX"}
"""Roots of other series of an index."""


def book_of(blocks: Sequence[Block], market: Market) -> Book | None:
    """Columns of the blocks' legs, a position a block; None when the facts of a contract are missing."""
    names: dict[str, int] = {}
    of_root: dict[str, int] = {}
    rows = []
    spots: list[float] = []
    contracts = market.contracts
    for position, block in enumerate(blocks):
        for symbol, count in block.legs:
            contract, root = contracts.get(symbol), symbol[:6]
            if contract is None:
                return None
            at = of_root.get(root)
            if at is None:
                at = of_root[root] = names.setdefault(underlying_of(symbol, market), len(names))
                if at == len(spots):
                    spots.append(contract.spot)
            is_call, strike = _terms(symbol)
            rows.append(
                (
                    position, at, is_call, contract.american, strike, contract.years, contract.sigma, contract.rate,
                    contract.dividend_yield, count * MULTIPLIER,
                )
            )  # fmt: skip
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 10).T.copy()
    return Book(
        tuple(each.name for each in blocks),
        tuple(names),
        np.array(spots, dtype=np.float64),
        table[0].astype(np.int64),
        table[1].astype(np.int64),
        np.ones(len(rows), dtype=bool),
        table[2] > 0,
        table[3] > 0,
        *table[4:],
    )


def scenarios_of(underlyings: Sequence[str], market: Market) -> Scenarios | None:
    """Joint one-day moves of these underlyings; None when a beta or a volatility is not known."""
    own = market.volatility.get(MARKET)
    if own is None or any(name not in market.betas or name not in market.volatility for name in underlyings):
        return None
    return _scenarios(
        tuple(
            (name, round(market.betas[name] * _COARSE), round(market.volatility[name] * _COARSE))
            for name in underlyings
        ),
        round(own * _COARSE),
    )


@lru_cache(maxsize=64)
def _scenarios(moves: tuple[tuple[str, int, int], ...], market_volatility: int) -> Scenarios:
    """A name's own residual is what its volatility has beyond its beta's share of the market's."""
    at_market = market_volatility / _COARSE
    betas = {name: beta / _COARSE for name, beta, _ in moves}
    residual = {
        name: math.sqrt(max((volatility / _COARSE) ** 2 - (betas[name] * at_market) ** 2, 0.0))
        for name, _, volatility in moves
    }
    return student_t_scenarios(betas, residual, at_market, count=SCENARIOS, seed=SEED)


def warm() -> None:
    """Load the compiled code, or compile it: several seconds on a first start. To be called in a thread."""
    symbol = "SPY   300118P00600000"
    contract = Contract(600.0, 0.2, 1.0, 0.04, 0.01, True)
    market = Market({symbol: contract}, {MARKET: 1.0}, {MARKET: 0.2}, {symbol: -0.3}, {symbol: 1.0}, {MARKET: 600.0})
    account = Account(held=(Held(symbol, MARKET, 1, Decimal(1)),))
    value_at_risk(account, market)
    worst_stress(account, market)


def _holdings(held: Iterable[Held]) -> Block:
    return Block("held", tuple((each.occ_symbol, each.signed_quantity) for each in held))


def _block(name: str, order: Order) -> Block:
    return Block(name, tuple((symbol, count * order.quantity) for symbol, count in order.legs))

"""Choose the basket as a set: exact by integer programme, with the greedy choice beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from schemas.trade import Candidate
from strategies.rules import RuleSet


@dataclass(frozen=True, slots=True)
class Basket:
    """Chosen candidates (all or none), their total score, the greedy set's beside it, and why there is none."""

    chosen: tuple[Candidate, ...] = ()
    score: float | None = None
    greedy: tuple[Candidate, ...] = ()
    greedy_score: float | None = None
    delta: float | None = None
    """SPY shares."""
    vega: float | None = None
    """Dollars per volatility point."""
    message: str = ""


def choose(candidates: Sequence[Candidate], rules: RuleSet, net_liq: float | None) -> Basket:
    """The best set of exactly `basket_size`, or the message that nothing is executed.

    Candidates without score, beta-weighted delta or vega cannot be chosen: a limit on them could not be checked.
    """
    refusal = f"Fewer than {rules.basket_size} trades meet criteria, do not execute."
    usable = [each for each in candidates if _measured(each)]
    if net_liq is None or len(usable) < rules.basket_size:
        return Basket(message=refusal)
    limit = rules.basket_delta_max * 100 * net_liq / 100_000
    floor = rules.basket_vega_min / 100 * net_liq
    chosen = _optimal(usable, rules, limit, floor)
    greedy = _greedy(usable, rules, limit, floor)
    if not chosen:
        return Basket(message=refusal, greedy=greedy)
    return Basket(chosen, _total(chosen), greedy, _total(greedy) if greedy else None, _delta(chosen), _vega(chosen), "")


def _measured(candidate: Candidate) -> bool:
    return candidate.score is not None and candidate.beta_weighted_delta is not None and candidate.vega is not None


def _total(chosen: Sequence[Candidate]) -> float:
    return sum(each.score or 0.0 for each in chosen)


def _delta(chosen: Sequence[Candidate]) -> float:
    return sum(each.beta_weighted_delta or 0.0 for each in chosen)


def _vega(chosen: Sequence[Candidate]) -> float:
    return sum(each.vega or 0.0 for each in chosen)


def _optimal(candidates: Sequence[Candidate], rules: RuleSet, limit: float, floor: float) -> tuple[Candidate, ...]:
    count = len(candidates)
    rows = [np.ones(count), np.array([each.beta_weighted_delta or 0.0 for each in candidates])]
    lows, highs = [float(rules.basket_size), -limit], [float(rules.basket_size), limit]
    rows.append(np.array([each.vega or 0.0 for each in candidates]))
    lows.append(floor)
    highs.append(np.inf)
    for symbol in {each.underlying_symbol for each in candidates}:
        rows.append(np.array([float(each.underlying_symbol == symbol) for each in candidates]))
        lows.append(0.0)
        highs.append(1.0)
    for sector in {each.sector for each in candidates}:
        rows.append(np.array([float(each.sector == sector) for each in candidates]))
        lows.append(0.0)
        highs.append(float(rules.sector_max))
    solution = milp(
        -np.array([each.score or 0.0 for each in candidates]),
        constraints=LinearConstraint(np.vstack(rows), lows, highs),
        integrality=np.ones(count, dtype=np.int64),
        bounds=Bounds(0, 1),
    )
    if not solution.success or solution.x is None:
        return ()
    picked = [each for each, taken in zip(candidates, solution.x, strict=True) if taken > 0.5]
    return tuple(sorted(picked, key=lambda each: -(each.score or 0.0)))


def _greedy(candidates: Sequence[Candidate], rules: RuleSet, limit: float, floor: float) -> tuple[Candidate, ...]:
    """Best score first, each taken when the set still fits; a set that ends short or outside its limits is none."""
    taken: list[Candidate] = []
    for each in sorted(candidates, key=lambda candidate: -(candidate.score or 0.0)):
        if len(taken) == rules.basket_size:
            break
        same_sector = sum(other.sector == each.sector for other in taken)
        if same_sector < rules.sector_max and all(o.underlying_symbol != each.underlying_symbol for o in taken):
            taken.append(each)
    fits = len(taken) == rules.basket_size and abs(_delta(taken)) <= limit and _vega(taken) >= floor
    return tuple(taken) if fits else ()

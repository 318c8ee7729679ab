"""Choose the basket as a set: exact by integer programme, with the greedy choice beside it.

Maximise, in this order, the sums of score, momentum, flow and liquidity over exactly `basket_size` trades: at most one
an underlying and `sector_max` a sector, net delta and vega within their limits. Sums are compared in millionths.

Without the two limits the sets form a matroid, because an underlying has one sector, so taking the best first is
optimal; when that set keeps the limits it is the answer. Otherwise a Lagrangian bound (Fisher 1981) removes what no
optimal set can hold and HiGHS solves the rest, one objective after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.trade import Candidate
from strategies.chain import Bools, Floats
from strategies.rules import RuleSet

Rows = npt.NDArray[np.int64]
_QUANTUM = 1e-6
_ROUNDS = 80
_SMALL = 60
_EXACT = 1e-9
"""Relative slack for sums of doubles against a limit."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Candidates as columns. NaN delta, vega or score = cannot be chosen; other unknowns count as 0, neutral."""

    score: Floats
    momentum: Floats
    flow: Floats
    liquidity: Floats
    delta: Floats
    """SPY shares."""
    vega: Floats
    """Dollars per volatility point."""
    symbol: Rows
    """Equal numbers = one underlying."""
    sector: Rows

    def of(self, rows: Rows) -> Pool:
        """The candidates at `rows` alone."""
        return Pool(
            self.score[rows], self.momentum[rows], self.flow[rows], self.liquidity[rows], self.delta[rows],
            self.vega[rows], self.symbol[rows], self.sector[rows],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Selection:
    """Positions in the pool, best first; empty = no set."""

    chosen: tuple[int, ...] = ()
    greedy: tuple[int, ...] = ()


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

    @property
    def gap(self) -> float | None:
        """Score that the greedy set leaves behind; None when there is no such set."""
        return None if self.score is None or self.greedy_score is None else self.score - self.greedy_score


def choose(candidates: Sequence[Candidate], rules: RuleSet, net_liq: float | None) -> Basket:
    """The best set of exactly `basket_size`, or the message that nothing is executed.

    Candidates without score, beta-weighted delta or vega cannot be chosen: a limit on them could not be checked.
    """
    selection = select(pool_of(candidates), rules, net_liq)
    return basket_of([candidates[i] for i in selection.chosen], [candidates[i] for i in selection.greedy], rules)


def basket_of(chosen: Sequence[Candidate], greedy: Sequence[Candidate], rules: RuleSet) -> Basket:
    """The basket of two selections, with its sums; without chosen candidates, the message."""
    greedy_score = _total(greedy) if greedy else None
    if not chosen:
        message = f"Fewer than {rules.basket_size} trades meet criteria, do not execute."
        return Basket(message=message, greedy=tuple(greedy), greedy_score=greedy_score)
    delta = sum(each.beta_weighted_delta or 0.0 for each in chosen)
    vega = sum(each.vega or 0.0 for each in chosen)
    return Basket(tuple(chosen), _total(chosen), tuple(greedy), greedy_score, delta, vega, "")


def pool_of(candidates: Sequence[Candidate]) -> Pool:
    """Columns of written candidates."""
    return Pool(
        _column(candidates, lambda each: each.score),
        _column(candidates, lambda each: each.momentum_z),
        _column(candidates, lambda each: each.flow_z),
        _column(candidates, lambda each: each.score_parts.get("liquidity")),
        _column(candidates, lambda each: each.beta_weighted_delta),
        _column(candidates, lambda each: each.vega),
        numbered([each.underlying_symbol for each in candidates]),
        numbered([each.sector for each in candidates]),
    )


def numbered(names: Sequence[str]) -> Rows:
    """Equal names get equal numbers."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=np.int64)


def _column(candidates: Sequence[Candidate], value: Callable[[Candidate], float | None]) -> Floats:
    found = [value(each) for each in candidates]
    return np.array([np.nan if each is None else each for each in found], dtype=np.float64)


def _total(chosen: Sequence[Candidate]) -> float:
    return sum(each.score or 0.0 for each in chosen)


def ranks(pool: Pool) -> Rows:
    """Positions best first: score, then momentum, flow, liquidity, then the order given."""
    return _best_first(_objectives(pool))


def _best_first(objectives: Sequence[Floats]) -> Rows:
    """Positions by objectives, most important first, descending; equal ones in the order given."""
    tied = np.ones(max(len(objectives[0]) - 1, 0), dtype=np.bool_)
    in_order = True
    for column in objectives:
        step = column[1:] - column[:-1]
        in_order = in_order and not np.any(tied & (step > 0))
        tied &= step == 0
    if in_order:
        return np.arange(len(objectives[0]))
    return np.lexsort([-column for column in reversed(objectives) if np.ptp(column)])


def select(pool: Pool, rules: RuleSet, net_liq: float | None) -> Selection:
    """Positions of the optimal set and of the greedy one. Without net liq the limits are unknown: nothing is chosen."""
    if net_liq is None or not net_liq > 0:
        return Selection()
    usable = np.nonzero(np.isfinite(pool.score) & np.isfinite(pool.delta) & np.isfinite(pool.vega))[0]
    if len(usable) < rules.basket_size:
        return Selection()
    problem = _Problem(
        [column[usable] for column in _objectives(pool)], pool.delta[usable], pool.vega[usable], pool.symbol[usable],
        pool.sector[usable], rules.basket_size, rules.sector_max, rules.basket_delta_max * net_liq / 1000,
        rules.basket_vega_min / 100 * net_liq,
    )  # fmt: skip
    chosen, greedy = problem.optimal(), problem.greedy()
    best_first = sorted(chosen, key=lambda i: (*(-column[i] for column in problem.objectives), i))
    return Selection(tuple(int(usable[i]) for i in best_first), tuple(int(usable[i]) for i in greedy))


def _objectives(pool: Pool) -> list[Floats]:
    """Objectives in millionths, most important first; whole numbers, so that their sums are exact."""
    columns = (pool.score, pool.momentum, pool.flow, pool.liquidity)
    return [np.round(np.nan_to_num(column, nan=0.0 if k else -1e6) / _QUANTUM) for k, column in enumerate(columns)]


@dataclass(frozen=True, slots=True)
class _Problem:
    """The integer programme over columns of usable candidates."""

    objectives: list[Floats]
    delta: Floats
    vega: Floats
    symbol: Rows
    sector: Rows
    size: int
    sector_max: int
    limit: float
    floor: float

    def fits(self, picked: Sequence[int], *, complete: bool = True) -> bool:
        """Whether a set keeps the limits; a complete one also has the right number."""
        rows = list(picked)
        delta, vega = float(self.delta[rows].sum()), float(self.vega[rows].sum())
        slack = _EXACT * max(1.0, self.limit, abs(self.floor))
        within = abs(delta) <= self.limit + slack and vega >= self.floor - slack
        return within and (not complete or len(rows) == self.size)

    def optimal(self) -> list[int]:
        """The best set; empty when there is none."""
        sector_of = np.zeros(int(self.symbol.max()) + 1, dtype=np.int64)
        sector_of[self.symbol] = self.sector
        if np.any(sector_of[self.symbol] != self.sector):
            return self._programme(np.arange(len(self.symbol)))  # an underlying of two sectors: no matroid
        best = self._best_first(_best_first(self.objectives))
        if len(best) < self.size:
            return []  # not even without the limits
        return best if self.fits(best) else self._programme(self._promising())

    def greedy(self) -> list[int]:
        """Best first, each taken when the set still fits; empty when that ends short."""
        order = _best_first(self.objectives)
        free = np.ones(len(order), dtype=np.bool_)
        taken: list[int] = []
        slack = _EXACT * max(1.0, self.limit, abs(self.floor))
        while len(taken) < self.size:
            delta, vega = self.delta[taken].sum() + self.delta, self.vega[taken].sum() + self.vega
            open_ = free & (np.abs(delta) <= self.limit + slack) & (vega >= self.floor - slack)
            ranked = order[open_[order]]
            if not len(ranked):
                return []
            taken.append(int(ranked[0]))
            free &= self._beside(taken)
        return taken

    def _beside(self, taken: Sequence[int]) -> Bools:
        """Who may still join: another underlying, a sector with room."""
        last = taken[-1]
        free = self.symbol != self.symbol[last]
        if sum(int(self.sector[i] == self.sector[last]) for i in taken) >= self.sector_max:
            free &= self.sector != self.sector[last]
        return np.asarray(free)

    def _best_first(self, order: Rows) -> list[int]:
        """Best first under the counting rules alone: optimal for them, because they form a matroid."""
        _, first = np.unique(self.symbol[order], return_index=True)
        taken: list[int] = []
        in_sector: dict[int, int] = {}
        for i in order[np.sort(first)].tolist():
            sector = int(self.sector[i])
            if in_sector.get(sector, 0) < self.sector_max:
                in_sector[sector] = in_sector.get(sector, 0) + 1
                taken.append(i)
                if len(taken) == self.size:
                    break
        return taken

    def _promising(self) -> Rows:
        """Positions that an optimal set can hold.

        L(λ, μ) = max Σ(s − λδ + μν) + |λ| limit − μ floor bounds every feasible set's score; with one candidate forced
        in, the bound falls by what the candidate displaces. Below the best feasible score found it is out.
        """
        score, best = self.objectives[0], -np.inf
        low = np.full(len(score), np.inf)
        step = float(np.ptp(score)) + 1.0
        price, worth = 0.0, 0.0
        sizes = float(np.abs(self.delta).max()) + 1e-12, float(np.abs(self.vega).max()) + 1e-12
        incumbent = self.greedy()
        if incumbent:
            best = float(score[incumbent].sum())
        for turn in range(_ROUNDS):
            weight = score - price * self.delta + worth * self.vega
            taken = self._best_first(np.argsort(-weight, kind="stable"))
            bound = float(weight[taken].sum()) + abs(price) * self.limit - worth * self.floor
            low = np.minimum(low, bound + weight - self._displaced(weight, taken))
            if self.fits(taken):
                best = max(best, float(score[taken].sum()))
            delta, vega = float(self.delta[taken].sum()), float(self.vega[taken].sum())
            pull = step / (1.0 + turn)
            excess = (
                delta - np.sign(price) * self.limit if price else np.sign(delta) * max(abs(delta) - self.limit, 0.0)
            )
            price += pull * excess / (sizes[0] * max(self.limit, sizes[0]))
            worth = max(worth + pull * (self.floor - vega) / (sizes[1] * max(abs(self.floor), sizes[1])), 0.0)
        rows = np.nonzero(low >= best - 1.0)[0]
        if len(rows) > 2 * _SMALL:  # the most promising few give a better set to measure the others against
            few = self._programme(rows[np.argsort(-low[rows], kind="stable")[:_SMALL]])
            best = max(best, float(score[few].sum()) if few else -np.inf)
            rows = rows[low[rows] >= best - 1.0]
        return rows

    def _displaced(self, weight: Floats, taken: Sequence[int]) -> Floats:
        """Weight of the least member that must leave when each candidate is forced into the set."""
        out = np.full(len(weight), float(weight[list(taken)].min()))
        counts = {int(self.sector[i]): 0 for i in taken}
        for i in taken:
            counts[int(self.sector[i])] += 1
        for sector, count in counts.items():
            if count >= self.sector_max:
                members = [i for i in taken if self.sector[i] == sector]
                out[self.sector == sector] = float(weight[members].min())
        for i in taken:
            out[self.symbol == self.symbol[i]] = float(weight[i])
        return out

    def _programme(self, rows: Rows) -> list[int]:
        """Solve over `rows`, one objective after the other, each fixed before the next. Raises when HiGHS gives up."""
        if len(rows) < self.size:
            return []
        from scipy.optimize import Bounds, LinearConstraint, milp  # heavy, and seldom needed

        count = len(rows)
        matrix = [np.ones(count), self.delta[rows] / max(self.limit, _QUANTUM), self.vega[rows] / max(-self.floor, 1.0)]
        lows, highs = [float(self.size), -1.0, self.floor / max(-self.floor, 1.0)], [float(self.size), 1.0, np.inf]
        for column, most in ((self.symbol[rows], 1.0), (self.sector[rows], float(self.sector_max))):
            for value in np.unique(column):
                matrix.append((column == value).astype(np.float64))
                lows.append(0.0)
                highs.append(most)
        picked: list[int] = []
        for objective in self.objectives:
            worth = objective[rows]
            if picked and not np.ptp(worth):
                continue
            solution = milp(
                -worth,
                constraints=LinearConstraint(np.vstack(matrix), lows, highs),
                integrality=np.ones(count, dtype=np.int64),
                bounds=Bounds(0, 1),
                options={"mip_rel_gap": 0.0},
            )
            if solution.status == 2:  # infeasible
                return []
            if solution.x is None or solution.status != 0:
                raise RuntimeError(f"the basket's integer programme ended without an answer: {solution.message}")
            picked = np.nonzero(solution.x > 0.5)[0].tolist()
            matrix.append(worth)
            lows.append(float(worth[picked].sum()) - 0.5)
            highs.append(np.inf)
        return [int(rows[i]) for i in picked]

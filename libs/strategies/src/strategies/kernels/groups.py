"""Every credit vertical, iron condor and iron butterfly of many expirations, judged by every rule in one pass.

Exact counts without a row a structure: a condor's price, width, loss and gap to the smile are sums and maxima of its
two verticals', each rule is one comparison with a bound that depends on the pair's strikes or the wider side alone, and
rows of comparisons are vectorised. What passes and what could be a near miss is then measured one by one.
"""

from __future__ import annotations

import numpy as np

from strategies.chain import Floats
from strategies.kernels.cdf import CELLS, below, index_grid, slopes_of
from strategies.kernels.compile import compiled, compiled_plain
from strategies.kernels.pairs import TILE, TILE_ROWS, Places, Table, judge_pairs
from strategies.kernels.record import (
    G_BASE,
    G_FEE,
    G_LOSS_MAX,
    G_MARKET,
    G_REFUSED,
    keep_best,
    keep_nearest,
    score_of,
    shortfall,
)
from strategies.kernels.verticals import (
    DELTA,
    GAP,
    L_DELTA_MAX,
    L_DELTA_MIN,
    L_POP,
    LOSS,
    POP,
    RATIO,
    STRIKE,
    V_GAP,
    V_GAP_AT,
    V_MID,
    V_NATURAL,
    V_RATIO_AT,
    V_SHARE,
    V_WIDTH,
    VERTICAL_ROWS,
    Bytes,
    Ints,
    judge_legs,
    verticals,
)

PUT_SPREAD, CALL_SPREAD, CONDOR, BUTTERFLY = range(4)
KINDS = 4


@compiled_plain
def _singles(
    group: int, kind: int, direction: int, sides: Table, shorts: Ints, longs: Ints, masks: Bytes, legs: Table,
    gaps: Table, worth: Table, limits: Floats, facts: Floats, grid: Floats, cdf: Floats, slope: Floats, table: Ints,
    origin: float, scale: float, seen: Ints, top: Floats, top_legs: Places, near: Floats, places: Places, state: Floats,
) -> int:  # fmt: skip
    """Judge each vertical of a side by itself. Returns how many best are kept."""
    kept, fees = 0, 2 * facts[G_FEE]
    for i in range(sides.shape[1]):
        short, long = shorts[i], longs[i]
        width, gap = sides[V_WIDTH, i], sides[V_GAP, i]
        m, n = sides[V_MID, i], sides[V_NATURAL, i]
        credit = m - sides[V_SHARE, i] * (m - n)
        loss = width - credit
        pop = np.nan
        if facts[G_MARKET] > 0.0:
            pop = 0.0
            if credit > 0.01:
                if direction > 0:
                    pop = below(grid, cdf, slope, table, origin, scale, legs[STRIKE, short] + credit - 0.01)
                else:
                    pop = 1.0 - below(grid, cdf, slope, table, origin, scale, legs[STRIKE, short] - credit + 0.01)
        failed = int(masks[i])
        if not pop >= limits[L_POP]:
            failed |= POP
        if not abs(gap) <= sides[V_GAP_AT, i]:
            failed |= GAP
        if not (credit >= sides[V_RATIO_AT, i] and loss > 0.0):
            failed |= RATIO
        if not loss <= facts[G_LOSS_MAX]:
            failed |= LOSS
        seen[failed] += 1
        if failed == 0 and facts[G_REFUSED] == 0.0:
            score = score_of(credit, width, worth[1, short] - worth[1, long], worth[2, short] - worth[2, long], fees)
            kept = keep_best(
                score, (short, long, -1, -1) if direction < 0 else (-1, -1, short, long), top, top_legs, kept
            )
            continue
        least, bits = facts[G_BASE], failed
        while bits:
            least += 1.0
            bits &= bits - 1
        if least <= state[1]:
            leg_gaps = (
                max(gaps[0, short], gaps[0, long]),
                max(gaps[1, short], gaps[1, long]),
                max(gaps[2, short], gaps[2, long]),
                max(gaps[3, short], gaps[3, long]),
            )
            distance = shortfall(pop, gap, credit, width, leg_gaps, limits, facts)
            place = (group, kind, short, long, -1, -1) if direction < 0 else (group, kind, -1, -1, short, long)
            keep_nearest(distance, place, near, places, state)
    return kept


@compiled
def _sellable(legs: Table, limits: Floats) -> Bytes:
    """1 for each leg whose delta lies within the bounds of what may be sold."""
    out = np.zeros(legs.shape[1], dtype=np.uint8)
    for leg in range(legs.shape[1]):
        out[leg] = limits[L_DELTA_MIN] <= legs[DELTA, leg] <= limits[L_DELTA_MAX]
    return out


@compiled
def _sell_at_one_strike(put_legs: Table, call_legs: Table, limits: Floats, puts: Bytes, calls: Bytes) -> None:
    """Sellable by pairs of one strike: the smaller of the two deltas counts, because they complement each other."""
    puts[:] = 0
    calls[:] = 0
    k = 0
    for leg in range(put_legs.shape[1]):
        while k < call_legs.shape[1] and call_legs[STRIKE, k] < put_legs[STRIKE, leg]:
            k += 1
        if k < call_legs.shape[1] and call_legs[STRIKE, k] == put_legs[STRIKE, leg]:
            put, call, least = put_legs[DELTA, leg], call_legs[DELTA, k], limits[L_DELTA_MIN]
            sold = put >= least and call >= least and min(put, call) <= limits[L_DELTA_MAX]
            puts[leg] = calls[k] = sold


@compiled
def _side(
    legs: Table, masks: Bytes, gaps: Table, values: Floats, sellable: Bytes, limits: Floats, direction: int
) -> tuple[Table, Ints, Ints, Bytes]:
    """The verticals of one side: table, short and long legs, rules that their legs fail."""
    n = legs.shape[1]
    most = 0
    for leg in range(n):
        if sellable[leg]:
            most += n - 1 - leg if direction > 0 else leg
    table = np.empty((VERTICAL_ROWS, most))
    shorts, longs = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
    own = np.empty(most, dtype=np.uint8)
    count = verticals(
        legs,
        masks,
        gaps,
        values,
        sellable,
        limits,
        direction,
        table,
        shorts,
        longs,
        own,
        np.empty(n),
        np.empty(n),
        np.empty(n),
    )
    return table[:, :count].copy(), shorts[:count], longs[:count], own[:count]


@compiled
def scan_groups(
    first: int, last: int, offsets: np.ndarray[tuple[int, int], np.dtype[np.int64]], legs: Table, facts: Table,
    worth: Table, grids: Table, cdfs: Table, sizes: Ints, limits: Floats, enabled: Bytes,
    seen: np.ndarray[tuple[int, int, int], np.dtype[np.int64]],
    top: np.ndarray[tuple[int, int, int], np.dtype[np.float64]],
    top_legs: np.ndarray[tuple[int, int, int, int], np.dtype[np.int64]],
    top_count: np.ndarray[tuple[int, int], np.dtype[np.int64]], near: Floats,
    places: Places, state: Floats,
) -> None:  # fmt: skip
    """Judge the groups first..last.

    offsets[g] = (first put, first call, end) in `legs`, both sides ascending by strike; facts[g] as `record.G_*`;
    worth: expected payoff of each leg under the market's, the forecast's and the pessimist's distribution; grids[g] and
    cdfs[g]: the market's distribution function, sizes[g] its points.
    seen[refused, kind] counts the structures of a kind in the groups whose group-wide refusals are the bits `refused`,
    as `pairs.COUNTED` says; it is added to. top* are per group; near, places and state over the whole range.
    """
    cells, tile, bounds = np.empty(CELLS, dtype=np.int64), np.zeros(TILE_ROWS * TILE), np.empty(5)
    masks, reachable = np.zeros(TILE, dtype=np.uint8), np.zeros(TILE, dtype=np.uint8)
    words, near_words = np.zeros(TILE // 8, dtype=np.uint64), np.zeros(TILE // 8, dtype=np.uint64)
    flags, near_flags = words.view(np.uint8), near_words.view(np.uint8)
    legs_fail = np.zeros((4, TILE + 1), dtype=np.int64)
    for g in range(first, last):
        begin, middle, end = offsets[g]
        put_legs, call_legs = legs[:, begin:middle].copy(), legs[:, middle:end].copy()
        n_puts, n_calls = middle - begin, end - middle
        known = facts[g, G_MARKET] > 0.0
        grid, cdf = grids[g, : sizes[g]], cdfs[g, : sizes[g]]
        slope, origin, scale = np.zeros(grid.shape[0]), 0.0, 0.0
        if known and end > begin:
            low, high = np.min(legs[STRIKE, begin:end]), np.max(legs[STRIKE, begin:end])
            origin = low - 0.1 * (high - low)  # breakevens lie little outside the strikes
            scale = index_grid(grid, cells, origin, high + 0.1 * (high - low))
            slopes_of(grid, cdf, slope)
        put_masks, call_masks = np.empty(n_puts, dtype=np.uint8), np.empty(n_calls, dtype=np.uint8)
        put_gaps, call_gaps = np.empty((4, n_puts)), np.empty((4, n_calls))
        judge_legs(put_legs, limits, put_masks, put_gaps)
        judge_legs(call_legs, limits, call_masks, call_gaps)
        put_worth, call_worth = worth[:, begin:middle].copy(), worth[:, middle:end].copy()
        put_core, call_core = _sellable(put_legs, limits), _sellable(call_legs, limits)
        puts, put_shorts, put_longs, put_own = _side(put_legs, put_masks, put_gaps, put_worth[0], put_core, limits, -1)
        calls, call_shorts, call_longs, call_own = _side(
            call_legs, call_masks, call_gaps, call_worth[0], call_core, limits, 1
        )
        refused = int(facts[g, G_REFUSED])
        if enabled[PUT_SPREAD]:
            top_count[g, PUT_SPREAD] = _singles(
                g, PUT_SPREAD, -1, puts, put_shorts, put_longs, put_own, put_legs, put_gaps, put_worth, limits,
                facts[g], grid, cdf, slope, cells, origin, scale, seen[refused, PUT_SPREAD], top[g, PUT_SPREAD],
                top_legs[g, PUT_SPREAD], near, places, state,
            )  # fmt: skip
        if enabled[CALL_SPREAD]:
            top_count[g, CALL_SPREAD] = _singles(
                g, CALL_SPREAD, 1, calls, call_shorts, call_longs, call_own, call_legs, call_gaps, call_worth, limits,
                facts[g], grid, cdf, slope, cells, origin, scale, seen[refused, CALL_SPREAD], top[g, CALL_SPREAD],
                top_legs[g, CALL_SPREAD], near, places, state,
            )  # fmt: skip
        for kind in (CONDOR, BUTTERFLY):
            if not enabled[kind]:
                continue
            if kind == BUTTERFLY:
                _sell_at_one_strike(put_legs, call_legs, limits, put_core, call_core)
                puts, put_shorts, put_longs, put_own = _side(
                    put_legs, put_masks, put_gaps, put_worth[0], put_core, limits, -1
                )
                calls, call_shorts, call_longs, call_own = _side(
                    call_legs, call_masks, call_gaps, call_worth[0], call_core, limits, 1
                )
            best_put, best_call = np.full(n_puts, -np.inf), np.full(n_calls, -np.inf)
            top_count[g, kind] = judge_pairs(
                g, kind, kind == BUTTERFLY, puts, put_shorts, put_longs, put_own, put_legs, put_gaps, put_worth, calls,
                call_shorts, call_longs, call_own, call_legs, call_gaps, call_worth, limits, facts[g], grid, cdf, slope,
                cells, origin, scale, seen[refused, kind], top[g, kind], top_legs[g, kind], near, places, state, tile,
                masks, reachable, words, flags, near_words, near_flags, bounds, best_put, best_call, np.empty(n_puts),
                np.empty(n_calls), np.empty((n_puts, n_calls)), np.empty((n_puts, n_calls)), legs_fail,
                np.empty(n_calls, dtype=np.int64),
            )  # fmt: skip

"""Every credit vertical, iron condor and iron butterfly of many expirations, judged by every rule in one pass.

Exact counts without a row a structure: a condor's price, width, loss and gap to the smile are sums and maxima of its
two verticals', each rule is one comparison with a bound that depends on the pair's strikes or the wider side alone, and
rows of comparisons are vectorised. What passes and what could be a near miss is then measured one by one.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from strategies.chain import Floats
from strategies.kernels.cdf import CELLS, below, credit_for_probability, index_grid, put_values, slopes_of
from strategies.kernels.record import (
    G_BASE,
    G_FEE,
    G_LOSS_MAX,
    G_MARKET,
    G_REFUSED,
    keep_best,
    keep_nearest,
    least_distance,
    relaxed,
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
    V_FAR,
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
TILE = 256
"""Call verticals judged at a time: their columns stay in the first-level cache."""
_T_MID, _T_NATURAL, _T_SHARE, _T_WIDTH, _T_RATIO_AT, _T_GAP_AT, _T_GAP, _T_POP_AT, _T_POP_NEAR = (
    0, TILE, 2 * TILE, 3 * TILE, 4 * TILE, 5 * TILE, 6 * TILE, 7 * TILE, 8 * TILE,
)  # fmt: skip
_TILE_ROWS = 9

Table = np.ndarray[tuple[int, int], np.dtype[np.float64]]


@njit(cache=True, nogil=True, error_model="numpy")
def _row(
    tile: Floats, masks: Bytes, reachable: Bytes, first: int, last: int, mid: float, natural: float, share: float,
    width: float, ratio_at: float, gap_at: float, gap: float, mask: int, loss_max: float, bounds: Floats,
    flags: Bytes, near: Bytes,
) -> None:  # fmt: skip
    """One put vertical against the call verticals first..last of a tile: failed rules as bits, and what may be near."""
    ratio_near, loss_near, gap_near = bounds[0], bounds[1], bounds[2]
    own = np.uint8(mask)
    for j in range(first, last):
        m = mid + tile[_T_MID + j]
        n = natural + tile[_T_NATURAL + j]
        s = max(share, tile[_T_SHARE + j])
        w = max(width, tile[_T_WIDTH + j])
        c = m - s * (m - n)
        loss = w - c
        g = abs(gap + tile[_T_GAP + j])
        f = np.uint8(not (c >= tile[_T_POP_AT + j]))
        f |= np.uint8(not (g <= max(gap_at, tile[_T_GAP_AT + j]))) << np.uint8(1)
        f |= np.uint8(not ((c >= max(ratio_at, tile[_T_RATIO_AT + j])) & (loss > 0.0))) << np.uint8(2)
        f |= np.uint8(not (loss <= loss_max)) << np.uint8(3)
        flags[j] = f | own | masks[j]
        near[j] = (
            np.uint8(
                (c >= ratio_near * w) & (loss <= loss_near) & (not (g > gap_near * w)) & (c >= tile[_T_POP_NEAR + j])
            )
            & reachable[j]
        )


@njit(cache=True, nogil=True, error_model="numpy")
def _count(words: np.ndarray[tuple[int], np.dtype[np.uint64]], flags: Bytes, first: int, last: int, seen: Ints) -> None:
    """Add the flags first..last to the histogram; runs of eight equal ones, the usual case, at once."""
    start, stop = (first + 7) // 8, last // 8
    if start > stop:
        for j in range(first, last):
            seen[flags[j]] += 1
        return
    for j in range(first, start * 8):
        seen[flags[j]] += 1
    for k in range(start, stop):
        word = words[k]
        if word == (word & np.uint64(255)) * np.uint64(0x0101010101010101):
            seen[word & np.uint64(255)] += 8
        else:
            for j in range(8 * k, 8 * k + 8):
                seen[flags[j]] += 1
    for j in range(stop * 8, last):
        seen[flags[j]] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _pairs(
    group: int, kind: int, puts: Table, put_shorts: Ints, put_longs: Ints, put_masks: Bytes, put_legs: Table, put_gaps: Table, put_worth: Table,
    calls: Table, call_shorts: Ints, call_longs: Ints, call_masks: Bytes, call_legs: Table, call_gaps: Table,
    call_worth: Table, limits: Floats, facts: Floats, grid: Floats, cdf: Floats, slope: Floats,
    table: Ints, scale: float, seen: Ints, top: Floats, top_legs: np.ndarray[tuple[int, int], np.dtype[np.int64]],
    near: Floats, places: np.ndarray[tuple[int, int], np.dtype[np.int64]], state: Floats,
) -> int:  # fmt: skip
    """Judge put verticals × call verticals whose sold strikes ascend (or are the same). Returns how many best are kept."""
    tile = np.zeros(_TILE_ROWS * TILE)
    masks, reachable = np.zeros(TILE, dtype=np.uint8), np.zeros(TILE, dtype=np.uint8)
    words, near_words = np.zeros(TILE // 8, dtype=np.uint64), np.zeros(TILE // 8, dtype=np.uint64)
    flags, near_flags = words.view(np.uint8), near_words.view(np.uint8)
    bounds = np.empty(5)
    kept, fees, least = 0, 4 * facts[G_FEE], least_distance(facts)
    same_strike = kind == BUTTERFLY
    best_put, best_call = np.full(put_legs.shape[1], -np.inf), np.full(call_legs.shape[1], -np.inf)
    for i in range(puts.shape[1]):
        best_put[put_shorts[i]] = max(best_put[put_shorts[i]], puts[V_MID, i])
    for i in range(calls.shape[1]):
        best_call[call_shorts[i]] = max(best_call[call_shorts[i]], calls[V_MID, i])
    for begin in range(0, calls.shape[1], TILE):
        size = min(TILE, calls.shape[1] - begin)
        for j in range(size):
            v = begin + j
            tile[_T_MID + j], tile[_T_NATURAL + j] = calls[V_MID, v], calls[V_NATURAL, v]
            tile[_T_SHARE + j], tile[_T_WIDTH + j] = calls[V_SHARE, v], calls[V_WIDTH, v]
            tile[_T_RATIO_AT + j], tile[_T_GAP_AT + j] = calls[V_RATIO_AT, v], calls[V_GAP_AT, v]
            tile[_T_GAP + j], masks[j] = calls[V_GAP, v], call_masks[v]
        first, sold = 0, -1
        for i in range(puts.shape[1]):
            short = put_shorts[i]
            if short != sold:
                sold = short
                strike = put_legs[STRIKE, short]
                while first < size and (
                    call_legs[STRIKE, call_shorts[begin + first]] < strike
                    or (not same_strike and call_legs[STRIKE, call_shorts[begin + first]] == strike)
                ):
                    first += 1
                if first == size:
                    break
                nearest_put = nearest_call = np.inf
                for k in range(i, puts.shape[1]):
                    if put_shorts[k] != short:
                        break
                    nearest_put = min(nearest_put, puts[V_FAR, k])
                for j in range(first, size):
                    reachable[j] = calls[V_FAR, begin + j] + least <= state[1]
                    nearest_call = min(nearest_call, calls[V_FAR, begin + j])
                relaxed(limits, facts, state[1] - 1.0 - least - max(nearest_put, nearest_call), bounds)
                at, close, previous, guess = np.inf, np.inf, -1, -1.0
                for j in range(first, size):
                    other = call_shorts[begin + j]
                    if other != previous:
                        previous = other
                        if facts[G_MARKET] > 0.0:
                            most = best_put[short] + best_call[other]
                            level = call_legs[STRIKE, other]
                            at = credit_for_probability(
                                grid, cdf, slope, table, scale, strike, level, limits[L_POP], most, guess
                            )
                            guess = at if np.isfinite(at) else guess
                            close = (
                                credit_for_probability(
                                    grid, cdf, slope, table, scale, strike, level, bounds[3], most, guess
                                )
                                - 1e-9
                            )
                        else:
                            at, close = np.inf, -np.inf
                    tile[_T_POP_AT + j], tile[_T_POP_NEAR + j] = at, close
            last = size
            if same_strike:
                last = first
                while last < size and call_legs[STRIKE, call_shorts[begin + last]] == strike:
                    last += 1
                if last == first:
                    continue
            _row(
                tile, masks, reachable, first, last, puts[V_MID, i], puts[V_NATURAL, i], puts[V_SHARE, i],
                puts[V_WIDTH, i], puts[V_RATIO_AT, i], puts[V_GAP_AT, i], puts[V_GAP, i], put_masks[i],
                facts[G_LOSS_MAX], bounds, flags, near_flags,
            )  # fmt: skip
            _count(words, flags, first, last, seen)
            everything = bounds[4] > 0.0
            if puts[V_FAR, i] + least > state[1] and facts[G_REFUSED] > 0.0:
                continue
            for k in range(first // 8, (last + 7) // 8):
                if near_words[k] == 0 and not everything:
                    continue
                for j in range(max(first, 8 * k), min(last, 8 * k + 8)):
                    if not (near_flags[j] or everything):
                        continue
                    v = begin + j
                    other = call_shorts[v]
                    m, n = puts[V_MID, i] + calls[V_MID, v], puts[V_NATURAL, i] + calls[V_NATURAL, v]
                    credit = m - max(puts[V_SHARE, i], calls[V_SHARE, v]) * (m - n)
                    width = max(puts[V_WIDTH, i], calls[V_WIDTH, v])
                    bought, cover = put_longs[i], call_longs[v]
                    if flags[j] == 0 and facts[G_REFUSED] == 0.0:
                        forecast = (put_worth[1, short] - put_worth[1, bought]) + (
                            call_worth[1, other] - call_worth[1, cover]
                        )
                        pessimist = (put_worth[2, short] - put_worth[2, bought]) + (
                            call_worth[2, other] - call_worth[2, cover]
                        )
                        score = score_of(credit, width, forecast, pessimist, fees)
                        kept = keep_best(score, (short, bought, other, cover), top, top_legs, kept)
                        continue
                    pop = np.nan
                    if facts[G_MARKET] > 0.0:
                        pop = 0.0
                        if credit > 0.01:
                            pop = max(
                                below(grid, cdf, slope, table, scale, call_legs[STRIKE, other] + credit - 0.01)
                                - below(grid, cdf, slope, table, scale, strike - credit + 0.01),
                                0.0,
                            )
                    leg_gaps = (
                        max(
                            max(put_gaps[0, short], put_gaps[0, bought]), max(call_gaps[0, other], call_gaps[0, cover])
                        ),
                        max(
                            max(put_gaps[1, short], put_gaps[1, bought]), max(call_gaps[1, other], call_gaps[1, cover])
                        ),
                        max(
                            max(put_gaps[2, short], put_gaps[2, bought]), max(call_gaps[2, other], call_gaps[2, cover])
                        ),
                        max(
                            max(put_gaps[3, short], put_gaps[3, bought]), max(call_gaps[3, other], call_gaps[3, cover])
                        ),
                    )
                    gap = puts[V_GAP, i] + calls[V_GAP, v]
                    distance = shortfall(pop, gap, credit, width, leg_gaps, limits, facts)
                    keep_nearest(distance, (group, kind, short, bought, other, cover), near, places, state)
    return kept


@njit(cache=True, nogil=True, error_model="numpy")
def _singles(
    group: int, kind: int, direction: int, sides: Table, shorts: Ints, longs: Ints, masks: Bytes, legs: Table, gaps: Table, worth: Table, limits: Floats, facts: Floats, grid: Floats, cdf: Floats,
    slope: Floats, table: Ints, scale: float, seen: Ints, top: Floats,
    top_legs: np.ndarray[tuple[int, int], np.dtype[np.int64]], near: Floats,
    places: np.ndarray[tuple[int, int], np.dtype[np.int64]], state: Floats,
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
                    pop = below(grid, cdf, slope, table, scale, legs[STRIKE, short] + credit - 0.01)
                else:
                    pop = 1.0 - below(grid, cdf, slope, table, scale, legs[STRIKE, short] - credit + 0.01)
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


@njit(cache=True, nogil=True, error_model="numpy")
def _sellable(legs: Table, limits: Floats) -> Bytes:
    """1 for each leg whose delta lies within the bounds of what may be sold."""
    out = np.zeros(legs.shape[1], dtype=np.uint8)
    for leg in range(legs.shape[1]):
        out[leg] = limits[L_DELTA_MIN] <= legs[DELTA, leg] <= limits[L_DELTA_MAX]
    return out


@njit(cache=True, nogil=True, error_model="numpy")
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


@njit(cache=True, nogil=True, error_model="numpy")
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
    count = verticals(legs, masks, gaps, values, sellable, limits, direction, table, shorts, longs, own)
    return table[:, :count].copy(), shorts[:count], longs[:count], own[:count]


@njit(cache=True, nogil=True, error_model="numpy")
def _worth(grids: Table, integrals: Table, strikes: Floats, is_call: bool, known: bool, out: Table) -> None:
    """Undiscounted value of each strike's option under the market's, the forecast's and the pessimist's distribution."""
    for k in range(3):
        if not known:
            out[k, :] = np.nan
            continue
        put_values(grids[k], integrals[k], strikes, out[k])
        if is_call:
            mean = grids[k, -1] - integrals[k, -1]
            for leg in range(strikes.shape[0]):
                out[k, leg] = out[k, leg] + mean - strikes[leg]


@njit(cache=True, nogil=True, error_model="numpy")
def scan_groups(
    first: int, last: int, offsets: np.ndarray[tuple[int, int], np.dtype[np.int64]], legs: Table, facts: Table,
    grids: np.ndarray[tuple[int, int, int], np.dtype[np.float64]],
    cdfs: Table, integrals: np.ndarray[tuple[int, int, int], np.dtype[np.float64]], limits: Floats, enabled: Bytes,
    seen: np.ndarray[tuple[int, int, int], np.dtype[np.int64]],
    top: np.ndarray[tuple[int, int, int], np.dtype[np.float64]],
    top_legs: np.ndarray[tuple[int, int, int, int], np.dtype[np.int64]],
    top_count: np.ndarray[tuple[int, int], np.dtype[np.int64]], near: Floats,
    places: np.ndarray[tuple[int, int], np.dtype[np.int64]], state: Floats,
) -> None:  # fmt: skip
    """Judge the groups first..last.

    offsets[g] = (first put, first call, end) in `legs`, both sides ascending by strike; facts[g] as `record.G_*`;
    grids, cdfs and integrals are the market's, the forecast's and the pessimist's distribution of each group.
    seen[refused, kind] is the histogram of failed rules (bits) of the structures of a kind in the groups whose group-wide
    refusals are the bits `refused`; it is added to. top* are per group; near, places and state over the whole range.
    """
    cells = np.empty(CELLS, dtype=np.int64)
    for g in range(first, last):
        begin, middle, end = offsets[g]
        put_legs, call_legs = legs[:, begin:middle].copy(), legs[:, middle:end].copy()
        n_puts, n_calls = middle - begin, end - middle
        known = facts[g, G_MARKET] > 0.0
        grid, cdf = grids[g, 0], cdfs[g]
        slope, scale = np.zeros(grid.shape[0]), 0.0
        if known:
            scale = index_grid(grid, cells)
            slopes_of(grid, cdf, slope)
        put_masks, call_masks = np.empty(n_puts, dtype=np.uint8), np.empty(n_calls, dtype=np.uint8)
        put_gaps, call_gaps = np.empty((4, n_puts)), np.empty((4, n_calls))
        judge_legs(put_legs, limits, put_masks, put_gaps)
        judge_legs(call_legs, limits, call_masks, call_gaps)
        put_worth, call_worth = np.empty((3, n_puts)), np.empty((3, n_calls))
        _worth(grids[g], integrals[g], put_legs[STRIKE], False, known, put_worth)
        _worth(grids[g], integrals[g], call_legs[STRIKE], True, known, call_worth)
        put_core, call_core = _sellable(put_legs, limits), _sellable(call_legs, limits)
        puts, put_shorts, put_longs, put_own = _side(put_legs, put_masks, put_gaps, put_worth[0], put_core, limits, -1)
        calls, call_shorts, call_longs, call_own = _side(
            call_legs, call_masks, call_gaps, call_worth[0], call_core, limits, 1
        )
        refused = int(facts[g, G_REFUSED])
        if enabled[PUT_SPREAD]:
            top_count[g, PUT_SPREAD] = _singles(
                g, PUT_SPREAD, -1, puts, put_shorts, put_longs, put_own, put_legs, put_gaps, put_worth, limits,
                facts[g], grid, cdf, slope, cells, scale, seen[refused, PUT_SPREAD], top[g, PUT_SPREAD],
                top_legs[g, PUT_SPREAD], near, places, state,
            )  # fmt: skip
        if enabled[CALL_SPREAD]:
            top_count[g, CALL_SPREAD] = _singles(
                g, CALL_SPREAD, 1, calls, call_shorts, call_longs, call_own, call_legs, call_gaps, call_worth, limits,
                facts[g], grid, cdf, slope, cells, scale, seen[refused, CALL_SPREAD], top[g, CALL_SPREAD],
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
            top_count[g, kind] = _pairs(
                g, kind, puts, put_shorts, put_longs, put_own, put_legs, put_gaps, put_worth, calls, call_shorts,
                call_longs, call_own, call_legs, call_gaps, call_worth, limits, facts[g], grid, cdf, slope, cells,
                scale, seen[refused, kind], top[g, kind], top_legs[g, kind], near, places, state,
            )  # fmt: skip

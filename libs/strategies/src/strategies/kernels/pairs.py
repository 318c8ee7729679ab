"""Put verticals × call verticals: iron condors and iron butterflies, counted row by row in tiles."""

from __future__ import annotations

import numpy as np

from strategies.chain import Floats
from strategies.kernels.cdf import below, credits_for_probabilities
from strategies.kernels.compile import compiled_plain
from strategies.kernels.record import (
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
    L_POP,
    POP,
    STRIKE,
    V_FAR,
    V_GAP,
    V_GAP_AT,
    V_MID,
    V_NATURAL,
    V_RATIO_AT,
    V_SHARE,
    V_WIDTH,
    Bytes,
    Ints,
)

TILE = 512
"""Call verticals judged at a time: few enough for the caches, enough for long rows."""
COUNTED, REFUSED, ALONE, COUNTS = 256, 257, 265, 273
"""In an array of counts: 0–255 structures by the bits of the rules they fail; then, of structures counted by rows that
fail some rule throughout: how many, how many fail each bit, and how many fail that bit alone."""
_T_MID, _T_NATURAL, _T_SHARE, _T_WIDTH, _T_RATIO_AT, _T_GAP_AT, _T_GAP, _T_POP_AT, _T_POP_NEAR = (
    np.uint64(row * TILE) for row in range(9)
)
"""Where each column of a tile begins; unsigned, because indices that cannot be negative let the rows vectorise."""
TILE_ROWS = 9
_STRIDE = 16
"""Rows are judged in whole strides, so that none ends in a scalar remainder; what lies outside is not counted."""
_ONES, _LOW = np.uint64(0x0101010101010101), np.uint64(0x7F7F7F7F7F7F7F7F)
_EVEN = np.uint64(0x00FF00FF00FF00FF)

Table = np.ndarray[tuple[int, int], np.dtype[np.float64]]
Words = np.ndarray[tuple[int], np.dtype[np.uint64]]
Places = np.ndarray[tuple[int, int], np.dtype[np.int64]]


@compiled_plain
def _row(
    tile: Floats, masks: Bytes, first: int, last: int, mid: float, natural: float, share: float, width: float,
    ratio_at: float, gap_at: float, gap: float, mask: int, loss_max: float, flags: Bytes,
) -> None:  # fmt: skip
    """One put vertical against the call verticals first..last of a tile: the rules failed, as bits."""
    own = np.uint8(mask)
    for j in range(np.uint64(first), np.uint64(last)):
        m = mid + tile[_T_MID + j]
        n = natural + tile[_T_NATURAL + j]
        c = m - max(share, tile[_T_SHARE + j]) * (m - n)
        loss = max(width, tile[_T_WIDTH + j]) - c
        g = abs(gap + tile[_T_GAP + j])
        f = np.uint8(not (c >= tile[_T_POP_AT + j]))
        f |= np.uint8(not (g <= max(gap_at, tile[_T_GAP_AT + j]))) << np.uint8(1)
        f |= np.uint8(not ((c >= max(ratio_at, tile[_T_RATIO_AT + j])) & (loss > 0.0))) << np.uint8(2)
        f |= np.uint8(not (loss <= loss_max)) << np.uint8(3)
        flags[j] = f | own | masks[j]


@compiled_plain
def _near_row(
    tile: Floats, reachable: Bytes, first: int, last: int, mid: float, natural: float, share: float, width: float,
    gap: float, bounds: Floats, near: Bytes,
) -> None:  # fmt: skip
    """Mark what passes, or may be near enough to passing to be kept."""
    ratio_near, loss_near, gap_near = bounds[0], bounds[1], bounds[2]
    for j in range(np.uint64(first), np.uint64(last)):
        m = mid + tile[_T_MID + j]
        n = natural + tile[_T_NATURAL + j]
        w = max(width, tile[_T_WIDTH + j])
        c = m - max(share, tile[_T_SHARE + j]) * (m - n)
        far = abs(gap + tile[_T_GAP + j]) > gap_near * w
        near[j] = (
            np.uint8((c >= ratio_near * w) & (w - c <= loss_near) & (not far) & (c >= tile[_T_POP_NEAR + j]))
            & reachable[j]
        )


@compiled_plain
def _hopeless_row(
    tile: Floats, masks: Bytes, first: int, last: int, mid: float, natural: float, share: float, width: float,
    ratio_at: float, mask: int, loss_max: float, flags: Bytes,
) -> None:  # fmt: skip
    """The same where no credit reaches the probability and no gap to the smile is too large."""
    own = np.uint8(mask) | np.uint8(POP)
    for j in range(np.uint64(first), np.uint64(last)):
        m = mid + tile[_T_MID + j]
        n = natural + tile[_T_NATURAL + j]
        c = m - max(share, tile[_T_SHARE + j]) * (m - n)
        loss = max(width, tile[_T_WIDTH + j]) - c
        f = np.uint8(not ((c >= max(ratio_at, tile[_T_RATIO_AT + j])) & (loss > 0.0))) << np.uint8(2)
        f |= np.uint8(not (loss <= loss_max)) << np.uint8(3)
        flags[j] = f | own | masks[j]


@compiled_plain
def _count(words: Words, flags: Bytes, first: int, last: int, seen: Ints) -> None:
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
        if word == (word & np.uint64(255)) * _ONES:
            seen[word & np.uint64(255)] += 8
        else:
            for j in range(8 * k, 8 * k + 8):
                seen[flags[j]] += 1
    for j in range(stop * 8, last):
        seen[flags[j]] += 1


@compiled_plain
def _count_certain(words: Words, flags: Bytes, first: int, last: int, certain: int, seen: Ints) -> None:
    """Count the flags first..last, all of which have the bit `certain`: eight bytes at a time, bit by bit.

    Only that rule can be the one that refuses alone. A byte sum stays below 256 because a tile has 64 words.
    """
    start, stop = first // 8, (last + 7) // 8
    for j in range(8 * start, first):
        flags[j] = 0
    for j in range(last, 8 * stop):
        flags[j] = 0
    single = _ONES << np.uint64(certain)
    b0 = b1 = b2 = b3 = b4 = b5 = b6 = b7 = only = np.uint64(0)
    for k in range(np.uint64(start), np.uint64(stop)):
        word = words[k]
        b0 += word & _ONES
        b1 += (word >> np.uint64(1)) & _ONES
        b2 += (word >> np.uint64(2)) & _ONES
        b3 += (word >> np.uint64(3)) & _ONES
        b4 += (word >> np.uint64(4)) & _ONES
        b5 += (word >> np.uint64(5)) & _ONES
        b6 += (word >> np.uint64(6)) & _ONES
        b7 += (word >> np.uint64(7)) & _ONES
        other = word ^ single  # a byte is 0 here where no other bit is set
        only += (~(((other & _LOW) + _LOW) | other | _LOW) >> np.uint64(7)) & _ONES
    seen[COUNTED] += last - first
    for to, bytes_ in (
        (REFUSED, b0), (REFUSED + 1, b1), (REFUSED + 2, b2), (REFUSED + 3, b3), (REFUSED + 4, b4), (REFUSED + 5, b5),
        (REFUSED + 6, b6), (REFUSED + 7, b7), (ALONE + certain, only),
    ):  # fmt: skip
        pairs = (bytes_ & _EVEN) + ((bytes_ >> np.uint64(8)) & _EVEN)
        seen[to] += np.int64((pairs * np.uint64(0x0001000100010001)) >> np.uint64(48))


@compiled_plain
def _count_lost(legs_fail: Places, mask: int, first: int, last: int, seen: Ints) -> None:
    """Count a row that fails the probability, the ratio and the loss throughout: only its legs' rules vary."""
    count = last - first
    seen[COUNTED] += count
    for bit in (0, 2, 3):
        seen[REFUSED + bit] += count
    for bit in range(4):
        seen[REFUSED + 4 + bit] += count if mask & (16 << bit) else legs_fail[bit, last] - legs_fail[bit, first]


@compiled_plain
def _bounds_of_probability(
    put_legs: Table, call_legs: Table, best_put: Floats, best_call: Floats, same_strike: bool, wanted: float,
    least: float, known: bool, grid: Floats, cdf: Floats, slope: Floats, table: Ints, origin: float, scale: float,
    below_put: Floats, below_call: Floats, at: Table, close: Table,
) -> None:  # fmt: skip
    """Per pair of sold strikes: the credit that reaches the probability, and the one that comes near it."""
    for a in range(at.shape[0]):
        for b in range(at.shape[1]):
            at[a, b], close[a, b] = np.inf, -np.inf
    if not known:
        return
    for a in range(put_legs.shape[1]):
        below_put[a] = below(grid, cdf, slope, table, origin, scale, put_legs[STRIKE, a])
    for b in range(call_legs.shape[1]):
        below_call[b] = below(grid, cdf, slope, table, origin, scale, call_legs[STRIKE, b])
    for a in range(put_legs.shape[1]):
        if best_put[a] == -np.inf:
            continue
        guess, strike = -1.0, put_legs[STRIKE, a]
        for b in range(call_legs.shape[1]):
            level = call_legs[STRIKE, b]
            if best_call[b] == -np.inf or level < strike or (level == strike) != same_strike:
                continue
            first, second = credits_for_probabilities(
                grid, cdf, slope, table, origin, scale, strike, level, below_call[b] - below_put[a], wanted, least,
                best_put[a] + best_call[b], guess,
            )  # fmt: skip
            at[a, b], close[a, b] = first, second - 1e-9
            guess = first if np.isfinite(first) else guess


@compiled_plain
def judge_pairs(
    group: int, kind: int, same_strike: bool, puts: Table, put_shorts: Ints, put_longs: Ints, put_masks: Bytes,
    put_legs: Table, put_gaps: Table, put_worth: Table, calls: Table, call_shorts: Ints, call_longs: Ints,
    call_masks: Bytes, call_legs: Table, call_gaps: Table, call_worth: Table, limits: Floats, facts: Floats,
    grid: Floats, cdf: Floats, slope: Floats, table: Ints, origin: float, scale: float, seen: Ints, top: Floats,
    top_legs: Places, near: Floats, places: Places, state: Floats, tile: Floats, masks: Bytes, reachable: Bytes,
    words: Words, flags: Bytes, near_words: Words, near_flags: Bytes, bounds: Floats, best_put: Floats,
    best_call: Floats, below_put: Floats, below_call: Floats, at: Table, close: Table,
    legs_fail: Places, call_ends: Ints,
) -> int:  # fmt: skip
    """Judge put verticals × call verticals whose sold strikes ascend (or are the same). Returns how many best are kept.

    From `tile` on, the arguments are room to work in: best_* hold −inf; flags and near_flags view the words.
    """
    if puts.shape[1] == 0 or calls.shape[1] == 0:
        return 0
    kept, fees, least, known = 0, 4 * facts[G_FEE], least_distance(facts), facts[G_MARKET] > 0.0
    for i in range(puts.shape[1]):
        best_put[put_shorts[i]] = max(best_put[put_shorts[i]], puts[V_MID, i])
    for i in range(calls.shape[1]):
        best_call[call_shorts[i]] = max(best_call[call_shorts[i]], calls[V_MID, i])
        call_ends[call_shorts[i]] = i + 1
    nearest_put = nearest_call = np.inf
    for i in range(puts.shape[1]):
        nearest_put = min(nearest_put, puts[V_FAR, i])
    for i in range(calls.shape[1]):
        nearest_call = min(nearest_call, calls[V_FAR, i])
    relaxed(limits, facts, state[1] - 1.0 - least - max(nearest_put, nearest_call), bounds)
    everything = bounds[4] > 0.0
    _bounds_of_probability(
        put_legs, call_legs, best_put, best_call, same_strike, limits[L_POP], bounds[3], known, grid, cdf, slope,
        table, origin, scale, below_put, below_call, at, close,
    )  # fmt: skip
    for begin in range(0, calls.shape[1], TILE):
        size = min(TILE, calls.shape[1] - begin)
        gap_most, gap_limit = 0.0, np.inf
        for bit in range(4):
            legs_fail[bit, 0] = 0
        for slot in range(size):
            v, to = begin + slot, np.uint64(slot)
            tile[_T_MID + to], tile[_T_NATURAL + to] = calls[V_MID, v], calls[V_NATURAL, v]
            tile[_T_SHARE + to], tile[_T_WIDTH + to] = calls[V_SHARE, v], calls[V_WIDTH, v]
            tile[_T_RATIO_AT + to], tile[_T_GAP_AT + to] = calls[V_RATIO_AT, v], calls[V_GAP_AT, v]
            tile[_T_GAP + to], masks[to] = calls[V_GAP, v], call_masks[v]
            gap_most, gap_limit = max(gap_most, abs(calls[V_GAP, v])), min(gap_limit, calls[V_GAP_AT, v])
            for bit in range(4):
                legs_fail[bit, slot + 1] = legs_fail[bit, slot] + ((np.int64(call_masks[v]) >> (bit + 4)) & 1)
        first, last, hot, sold, reach, most, hot_most = 0, size, 0, -1, -1.0, -np.inf, -np.inf
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
                if state[1] != reach:
                    reach = state[1]
                    for j in range(size):
                        reachable[j] = calls[V_FAR, begin + j] + least <= reach
                last = hot = size
                j, most, hot_most = first, -np.inf, -np.inf
                while j < size:
                    other, start = call_shorts[begin + j], j
                    if same_strike and call_legs[STRIKE, other] != strike:
                        last, hot = j, min(hot, j)
                        break
                    enough, almost = at[short, other], close[short, other]
                    if almost < np.inf:
                        hot = min(hot, j)
                    if hot == size:
                        most = max(most, best_call[other])
                    else:
                        hot_most = max(hot_most, best_call[other])
                    j = min(call_ends[other] - begin, size)
                    for place in range(np.uint64(start), np.uint64(j)):
                        tile[_T_POP_AT + place], tile[_T_POP_NEAR + place] = enough, almost
                if everything:
                    hot, hot_most = first, max(most, hot_most)
            if last == first:
                continue
            cut = hot if abs(puts[V_GAP, i]) + gap_most <= max(puts[V_GAP_AT, i], gap_limit) else first
            credit_most = puts[V_MID, i] + most
            if cut > first and (
                credit_most < puts[V_RATIO_AT, i] and puts[V_WIDTH, i] - credit_most > facts[G_LOSS_MAX] and cut == hot
            ):
                _count_lost(legs_fail, int(put_masks[i]), first, cut, seen)
            elif cut > first:
                _hopeless_row(
                    tile, masks, first & -_STRIDE, (cut + _STRIDE - 1) & -_STRIDE, puts[V_MID, i], puts[V_NATURAL, i],
                    puts[V_SHARE, i], puts[V_WIDTH, i], puts[V_RATIO_AT, i], put_masks[i], facts[G_LOSS_MAX], flags,
                )  # fmt: skip
                _count_certain(words, flags, first, cut, 0, seen)
            if cut == last:
                continue
            begin_row, end_row = cut & -_STRIDE, (last + _STRIDE - 1) & -_STRIDE
            _row(
                tile, masks, begin_row, end_row, puts[V_MID, i], puts[V_NATURAL, i], puts[V_SHARE, i], puts[V_WIDTH, i],
                puts[V_RATIO_AT, i], puts[V_GAP_AT, i], puts[V_GAP, i], put_masks[i], facts[G_LOSS_MAX], flags,
            )  # fmt: skip
            credit_most = puts[V_MID, i] + (hot_most if cut == hot else max(most, hot_most))
            certain = -1
            if put_masks[i]:
                certain = 4
                while not (np.int64(put_masks[i]) >> certain) & 1:
                    certain += 1
            elif credit_most < puts[V_RATIO_AT, i]:
                certain = 2
            elif puts[V_WIDTH, i] - credit_most > facts[G_LOSS_MAX]:
                certain = 3
            if certain < 0:
                _count(words, flags, cut, last, seen)
            else:
                _count_certain(words, flags, cut, last, certain, seen)
            if puts[V_FAR, i] + least > state[1] or not (
                everything
                or (credit_most >= bounds[0] * puts[V_WIDTH, i] and puts[V_WIDTH, i] - credit_most <= bounds[1])
            ):
                continue
            _near_row(
                tile, reachable, begin_row, end_row, puts[V_MID, i], puts[V_NATURAL, i], puts[V_SHARE, i],
                puts[V_WIDTH, i], puts[V_GAP, i], bounds, near_flags,
            )  # fmt: skip
            for k in range(cut // 8, (last + 7) // 8):
                if near_words[k] == 0 and not everything:
                    continue
                for j in range(max(cut, 8 * k), min(last, 8 * k + 8)):
                    if near_flags[j] or everything:
                        kept = _measure(
                            group, kind, flags[j], i, begin + j, kept, fees, puts, put_shorts, put_longs, put_legs,
                            put_gaps, put_worth, calls, call_shorts, call_longs, call_legs, call_gaps, call_worth,
                            limits, facts, grid, cdf, slope, table, origin, scale, top, top_legs, near, places, state,
                        )  # fmt: skip
    return kept


@compiled_plain
def _measure(
    group: int, kind: int, failed: int, i: int, v: int, kept: int, fees: float, puts: Table, put_shorts: Ints,
    put_longs: Ints, put_legs: Table, put_gaps: Table, put_worth: Table, calls: Table, call_shorts: Ints,
    call_longs: Ints, call_legs: Table, call_gaps: Table, call_worth: Table, limits: Floats, facts: Floats,
    grid: Floats, cdf: Floats, slope: Floats, table: Ints, origin: float, scale: float, top: Floats,
    top_legs: Places, near: Floats, places: Places, state: Floats,
) -> int:  # fmt: skip
    """Score one pair that passed, or measure how far one that may be near is from passing."""
    short, bought, other, cover = put_shorts[i], put_longs[i], call_shorts[v], call_longs[v]
    m, n = puts[V_MID, i] + calls[V_MID, v], puts[V_NATURAL, i] + calls[V_NATURAL, v]
    credit = m - max(puts[V_SHARE, i], calls[V_SHARE, v]) * (m - n)
    width = max(puts[V_WIDTH, i], calls[V_WIDTH, v])
    if failed == 0 and facts[G_REFUSED] == 0.0:
        forecast = (put_worth[1, short] - put_worth[1, bought]) + (call_worth[1, other] - call_worth[1, cover])
        pessimist = (put_worth[2, short] - put_worth[2, bought]) + (call_worth[2, other] - call_worth[2, cover])
        score = score_of(credit, width, forecast, pessimist, fees)
        return keep_best(score, (short, bought, other, cover), top, top_legs, kept)
    pop = np.nan
    if facts[G_MARKET] > 0.0:
        pop = 0.0
        if credit > 0.01:
            up = below(grid, cdf, slope, table, origin, scale, call_legs[STRIKE, other] + credit - 0.01)
            pop = max(up - below(grid, cdf, slope, table, origin, scale, put_legs[STRIKE, short] - credit + 0.01), 0.0)
    leg_gaps = (
        max(max(put_gaps[0, short], put_gaps[0, bought]), max(call_gaps[0, other], call_gaps[0, cover])),
        max(max(put_gaps[1, short], put_gaps[1, bought]), max(call_gaps[1, other], call_gaps[1, cover])),
        max(max(put_gaps[2, short], put_gaps[2, bought]), max(call_gaps[2, other], call_gaps[2, cover])),
        max(max(put_gaps[3, short], put_gaps[3, bought]), max(call_gaps[3, other], call_gaps[3, cover])),
    )
    gap = puts[V_GAP, i] + calls[V_GAP, v]
    distance = shortfall(pop, gap, credit, width, leg_gaps, limits, facts)
    keep_nearest(distance, (group, kind, short, bought, other, cover), near, places, state)
    return kept

"""Credit verticals of one side of one expiration: legs, prices and the limits that their width sets, as columns."""

from __future__ import annotations

import numpy as np

from strategies.chain import Floats
from strategies.kernels.compile import compiled_plain

STRIKE, BID, ASK, MID, SPREAD, SHARE, INTEREST, VOLUME, AGE, DELTA = range(10)
"""Rows of a leg table: $ per share, bid–ask spread in % of mid, share of the way to natural, contracts, s, |delta|."""
LEG_ROWS = 10
V_MID, V_NATURAL, V_SHARE, V_WIDTH, V_RATIO_AT, V_GAP_AT, V_GAP, V_FAR = range(8)
"""Rows of a vertical table: prices credit positive, $ per share; least credit for the ratio rule; largest and actual
gap to the smile's value; how far its own legs are from passing (`shortfall`)."""
VERTICAL_ROWS = 8
POP, GAP, RATIO, LOSS, INTEREST_BIT, VOLUME_BIT, SPREAD_BIT, AGE_BIT = 1, 2, 4, 8, 16, 32, 64, 128
"""One bit a rule, in the order of `filters.RULES`."""
L_POP, L_GAP, L_RATIO, L_LOSS, L_INTEREST, L_VOLUME, L_SPREAD, L_AGE, L_DELTA_MIN, L_DELTA_MAX, L_WIDTH = range(11)
"""Positions in the array of limits."""

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]
Bytes = np.ndarray[tuple[int], np.dtype[np.uint8]]


@compiled_plain
def relative(value: float, limit: float) -> float:
    """Distance of a value from its limit relative to the limit, at most 100; a missing value is 100 away."""
    gap = abs(value - limit) / (abs(limit) if limit != 0.0 else 1.0)
    return 100.0 if not gap < 100.0 else float(gap)


@compiled_plain
def judge_legs(legs: Floats, limits: Floats, masks: Bytes, gaps: Floats) -> None:
    """Per leg: the rules that it fails by itself as bits, and its relative distance to each (0 where it passes)."""
    for leg in range(legs.shape[1]):
        mask = 0
        for rule in range(4):
            gaps[rule, leg] = 0.0
        for rule, row, limit in (
            (0, INTEREST, limits[L_INTEREST]),
            (1, VOLUME, limits[L_VOLUME]),
        ):
            if not legs[row, leg] >= limit:
                mask |= INTEREST_BIT << rule
                gaps[rule, leg] = relative(legs[row, leg], limit)
        for rule, row, limit in ((2, SPREAD, limits[L_SPREAD]), (3, AGE, limits[L_AGE])):
            if not legs[row, leg] <= limit:
                mask |= INTEREST_BIT << rule
                gaps[rule, leg] = relative(legs[row, leg], limit)
        masks[leg] = mask


@compiled_plain
def ratio_credit(width: float, limit: float) -> float:
    """Least double c < width with c / (width − c) >= limit, exactly as those two operations round."""
    credit = width * limit / (1.0 + limit)
    while credit > 0.0 and (width - credit <= 0.0 or credit / (width - credit) >= limit):
        credit = np.nextafter(credit, -np.inf)
    while width - credit > 0.0 and credit / (width - credit) < limit:
        credit = np.nextafter(credit, np.inf)
    return float(credit)


@compiled_plain
def gap_limit(width: float, limit: float) -> float:
    """Largest double g with 100 · g / width <= limit, exactly as those two operations round."""
    gap = limit * width / 100.0
    while 100.0 * gap / width <= limit:
        gap = np.nextafter(gap, np.inf)
    while gap > 0.0 and 100.0 * gap / width > limit:
        gap = np.nextafter(gap, -np.inf)
    return float(gap)


@compiled_plain
def verticals(
    legs: Floats,
    masks: Bytes,
    gaps: Floats,
    values: Floats,
    sellable: Bytes,
    limits: Floats,
    direction: int,
    out: Floats,
    shorts: Ints,
    longs: Ints,
    own: Bytes,
    known: Floats,
    known_ratio: Floats,
    known_gap: Floats,
) -> int:
    """Every vertical that sells a sellable leg and buys one further out of the money within the width bound.

    legs ascend by strike; direction is +1 for calls (the bought strike is higher), −1 for puts. values: the smile's own
    value of each leg, NaN without a smile. Ordered by (short, long); known* are room to
    work in, one element a leg. Returns the number of verticals.
    """
    count, n = 0, legs.shape[1]
    for step in range(n):
        known[step] = -1.0
    for short in range(n):
        if sellable[short] == 0:
            continue
        first, last = (short + 1, n) if direction > 0 else (0, short)
        for long in range(first, last):
            width = np.floor(abs(legs[STRIKE, short] - legs[STRIKE, long]) * 1e6 + 0.5) / 1e6
            if width > limits[L_WIDTH]:
                if direction > 0:
                    break
                continue
            if not width > 0.0:
                continue
            step = abs(long - short)
            if known[step] != width:  # strikes are mostly even: the limits of a width are found once
                known[step] = width
                known_ratio[step] = ratio_credit(width, limits[L_RATIO])
                known_gap[step] = gap_limit(width, limits[L_GAP])
            out[V_MID, count] = legs[MID, short] - legs[MID, long]
            out[V_NATURAL, count] = legs[BID, short] - legs[ASK, long]
            out[V_SHARE, count] = max(legs[SHARE, short], legs[SHARE, long])
            out[V_WIDTH, count] = width
            out[V_RATIO_AT, count] = known_ratio[step]
            out[V_GAP_AT, count] = known_gap[step]
            out[V_GAP, count] = out[V_MID, count] - (values[short] - values[long])
            mask = masks[short] | masks[long]
            far = 0.0
            if mask:
                for rule in range(4):
                    if mask & (INTEREST_BIT << rule):
                        far += 1.0 + max(gaps[rule, short], gaps[rule, long])
            out[V_FAR, count] = far
            own[count] = mask
            shorts[count], longs[count] = short, long
            count += 1
    return count

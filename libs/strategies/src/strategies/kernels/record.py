"""Keep what matters of the structures judged: the best that passed of each expiration and the nearest misses."""

from __future__ import annotations

import numpy as np

from strategies.chain import Floats
from strategies.kernels.compile import compiled_plain
from strategies.kernels.verticals import L_GAP, L_LOSS, L_POP, L_RATIO, Ints, relative

G_MULTIPLIER, G_NET_LIQ, G_LOSS_MAX, G_FEE, G_BASE, G_REFUSED, G_MARKET = range(7)
"""A group's facts: contract multiplier; dollars (NaN = unknown); most $ per share that may be lost; $ a share and leg;
distance by the rules that refuse the whole group, and these as bits; 1 with a smile."""
GROUP_FACTS = 7
MISSING = 101.0
"""Distance that a rule without its fact adds."""


@compiled_plain
def _comes_before(key: float, place: tuple[int, ...], other_key: float, other_place: Ints) -> bool:
    """Whether (key, place) sorts before (other_key, other_place): equal keys keep the order of enumeration."""
    if key != other_key:
        return bool(key < other_key)
    for k in range(len(place)):
        if place[k] != other_place[k]:
            return bool(place[k] < other_place[k])
    return False


@compiled_plain
def keep_nearest(
    distance: float,
    place: tuple[int, int, int, int, int, int],
    near: Floats,
    near_places: np.ndarray[tuple[int, int], np.dtype[np.int64]],
    state: Floats,
) -> None:
    """Insert by (distance, place); state is [how many are kept, distance that a newcomer must not exceed]."""
    size, room = int(state[0]), near.shape[0]
    if room == 0 or not distance <= state[1]:
        return
    if size == room and not _comes_before(distance, place, near[room - 1], near_places[room - 1]):
        return
    at = size if size < room else room - 1
    while at > 0 and _comes_before(distance, place, near[at - 1], near_places[at - 1]):
        near[at] = near[at - 1]
        for k in range(6):
            near_places[at, k] = near_places[at - 1, k]
        at -= 1
    near[at] = distance
    for k in range(6):
        near_places[at, k] = place[k]
    if size < room:
        size += 1
        state[0] = size
    if size == room and near[room - 1] < state[1]:
        state[1] = near[room - 1]


@compiled_plain
def keep_best(
    score: float,
    legs: tuple[int, int, int, int],
    scores: Floats,
    places: np.ndarray[tuple[int, int], np.dtype[np.int64]],
    size: int,
) -> int:
    """Insert by (descending score, legs); returns how many are kept."""
    room = scores.shape[0]
    if size == room and not _comes_before(-score, legs, -scores[room - 1], places[room - 1]):
        return size
    at = size if size < room else room - 1
    while at > 0 and _comes_before(-score, legs, -scores[at - 1], places[at - 1]):
        scores[at] = scores[at - 1]
        for k in range(4):
            places[at, k] = places[at - 1, k]
        at -= 1
    scores[at] = score
    for k in range(4):
        places[at, k] = legs[k]
    return int(min(size + 1, room))


@compiled_plain
def shortfall(
    pop: float,
    gap: float,
    credit: float,
    width: float,
    leg_gaps: tuple[float, float, float, float],
    limits: Floats,
    facts: Floats,
) -> float:
    """Distance from passing: 1 + the relative miss of each rule failed, in the order of the rules; 0 = passes all.

    pop and gap are NaN without a smile. leg_gaps: relative misses of the four leg rules, 0 where passed.
    """
    loss = width - credit
    ratio = credit / loss if loss > 0.0 else np.nan
    gap_pct = 100.0 * abs(gap) / width
    loss_pct = 100.0 * loss * facts[G_MULTIPLIER] / facts[G_NET_LIQ]
    total = 0.0
    if not pop >= limits[L_POP]:
        total += 1.0 + relative(pop, limits[L_POP])
    if not gap_pct <= limits[L_GAP]:
        total += 1.0 + relative(gap_pct, limits[L_GAP])
    if not ratio >= limits[L_RATIO]:
        total += 1.0 + relative(ratio, limits[L_RATIO])
    if not loss_pct <= limits[L_LOSS]:
        total += 1.0 + relative(loss_pct, limits[L_LOSS])
    for k in range(4):
        if leg_gaps[k] > 0.0:
            total += 1.0 + leg_gaps[k]
    return float(total + facts[G_BASE])


@compiled_plain
def score_of(credit: float, width: float, forecast: float, pessimist: float, fees: float) -> float:
    """model_score: expected value under the forecast, less one standard error, per dollar of max loss."""
    expected = credit - forecast - fees
    error = abs(expected - (credit - pessimist - fees))
    return float((expected - error) / max(width - credit, 0.01))


@compiled_plain
def least_distance(facts: Floats) -> float:
    """Distance of the group's structures by group-wide refusals and missing facts alone."""
    least = facts[G_BASE]
    if facts[G_MARKET] == 0.0:
        least += 2.0 * MISSING
    if np.isnan(facts[G_NET_LIQ]):
        least += MISSING
    return float(least)


@compiled_plain
def relaxed(limits: Floats, facts: Floats, room: float, out: Floats) -> None:
    """Bounds that hold wherever one rule misses by at most `room`, relative: [ratio, loss, gap, probability, all].

    Credit at least ratio × width, loss at most loss $ per share, gap at most gap × width, POP at least probability.
    all = 1: a miss of any size is within room. Rounded outwards; a missing fact bounds nothing.
    """
    out[4] = 0.0 if room < 100.0 else 1.0
    room = min(max(room, 0.0), 100.0) * (1.0 + 1e-9) + 1e-12
    ratio = limits[L_RATIO] - room * (limits[L_RATIO] if limits[L_RATIO] != 0.0 else 1.0)
    out[0] = ratio / (1.0 + ratio) - 1e-9 if ratio > -1.0 else -np.inf
    out[1] = np.inf if np.isnan(facts[G_NET_LIQ]) else facts[G_LOSS_MAX] * (1.0 + room) + 1e-9
    out[2] = limits[L_GAP] * (1.0 + room) / 100.0 + 1e-12
    out[3] = limits[L_POP] - room * (limits[L_POP] if limits[L_POP] != 0.0 else 1.0)


__all__ = ("Ints", "keep_best", "keep_nearest", "least_distance", "relaxed", "score_of", "shortfall")

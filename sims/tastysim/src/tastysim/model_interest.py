"""How many contracts a day trades and how many are open, by strike and expiration.

People trade near the money, at round strikes, in monthly expirations, and puts more than calls below the price.
"""

from __future__ import annotations

import numpy as np

from optionmath.calendar import ExpirationKind, expiration_kind
from tastysim.counters import Floats, Words, mix, normal
from tastysim.listed import Listed
from tastysim.model_listing import Listing

_WIDTH = 0.08
_ROUND, _MONTHLY, _PUTS = 3.0, 1.5, 1.25
_BY_TIER = np.array((1.3, 1.0, 0.15, 0.04))
_FEW_TRADED, _TRADED, _FEW_OPEN, _OPEN = 4.0, 1500.0, 40.0, 9000.0
_NOISE, _KEPT, _WANDER = 0.5, 0.02, 0.15
_VOLUME, _INTEREST, _NIGHT = 21, 22, 23


def crowd(listing: Listing, listed: tuple[Listed, ...], spot: Floats) -> Floats:
    """Interest in each contract, about 1 at the money."""
    own = listing.cell_underlying[listing.cell]
    apart = np.log(listing.strike / spot[own])
    step = np.array([round(each.step * 5000) for each in listed], dtype=np.int64)[own]
    monthly = np.array([expiration_kind(cell.expiration) is ExpirationKind.MONTHLY for cell in listing.cells])
    found = np.exp(-((apart / _WIDTH) ** 2)) * np.array([_BY_TIER[each.tier] for each in listed])[own]
    found *= np.where(listing.mills % step == 0, _ROUND, 1.0)
    found *= np.where(monthly[listing.cell], _MONTHLY, 1.0)
    return np.asarray(found * np.where(~listing.is_call & (apart < 0), _PUTS, 1.0))


def day_volume(crowds: Floats, ids: Words, day: int) -> Floats:
    """Contracts that a day trades."""
    noise = np.exp(_NOISE * normal(mix(mix(ids, _VOLUME), day)))
    return np.asarray(np.round(_FEW_TRADED * np.minimum(1, 20 * crowds) + _TRADED * crowds * noise))


def first_interest(crowds: Floats, ids: Words) -> Floats:
    """Contracts open at the start."""
    return np.asarray(np.round(_FEW_OPEN + _OPEN * crowds * np.exp(_NOISE * normal(mix(ids, _INTEREST)))))


def after_night(interest: Floats, traded: Floats, ids: Words, day: int) -> Floats:
    """Contracts open after a day that traded so many: some stay open, some were closed."""
    change = traded * (_KEPT + _WANDER * normal(mix(mix(ids, _NIGHT), day)))
    least = np.minimum(interest, 0.3 * interest + 0.05 * traded)
    return np.asarray(np.round(np.maximum(interest + change, least)))

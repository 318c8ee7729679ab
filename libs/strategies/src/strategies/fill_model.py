"""Where an order is expected to trade between mid and natural."""

from __future__ import annotations

import numpy as np

from strategies.chain import Floats

_TIGHT, _WIDE = 0.25, 0.50
_WIDE_AT_SPREAD_PCT = 25.0


def expected_fill(mid: Floats, natural: Floats, widest_spread_pct: Floats) -> Floats:
    """Net price, $ per share, credit positive: a quarter of the way to natural when tight, half when 25 % wide."""
    share = np.clip(_TIGHT + (_WIDE - _TIGHT) * widest_spread_pct / _WIDE_AT_SPREAD_PCT, _TIGHT, _WIDE)
    return np.asarray(mid - share * (mid - natural))

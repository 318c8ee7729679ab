"""What each position has lost since it was opened, at the mid."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from risk.domain.facts import Held, Market, option_of
from risk.domain.worst_case import MULTIPLIER


def losses(held: Iterable[Held], market: Market) -> dict[str, Decimal | None]:
    """Position ("SPY 2027-01-15": underlying and expiration) → loss in dollars, at least 0; None without a mark."""
    found: dict[str, Decimal | None] = {}
    for each in held:
        name = f"{each.underlying_symbol} {option_of(each.occ_symbol).expiration.isoformat()}"
        mark, before = market.marks.get(each.occ_symbol), found.get(name, Decimal(0))
        if mark is None or before is None:
            found[name] = None
        else:
            found[name] = before + each.signed_quantity * MULTIPLIER * (each.average_open_price - mark)
    return {name: None if amount is None else max(Decimal(0), amount) for name, amount in found.items()}

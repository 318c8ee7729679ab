"""An intent's structure in today's market: its book and the prices that are valid for it."""

from __future__ import annotations

from datetime import datetime

from executor.domain.pricing import Book, grid_of
from ledger import intents
from ledger.tables import Intent
from optionmath.ticks import TickGrid
from strategies.live_chain import LiveMarket


def book_of(market: LiveMarket, intent: Intent, now: datetime, max_age_seconds: float) -> Book | None:
    """Net book of an intent's structure when it can be traded on; None when a leg is stale, one-sided or crossed."""
    legs = [(leg.occ_symbol, leg.action.sign * leg.quantity) for leg in intents.legs_of(intent)]
    found = market.net_book(legs)
    if found is None:
        return None
    book = Book(found.mid, found.natural, max(0.0, (now - found.oldest_quote_at).total_seconds()))
    return book if book.tradable(max_age_seconds) else None


def grid_for(market: LiveMarket, intent: Intent) -> TickGrid:
    """Valid net prices of an intent: the broker's ticks of its contract, or of its root's spreads."""
    legs = intents.legs_of(intent)
    chain = market.chain_of(legs[0].occ_symbol)
    sizes = [(each.threshold, each.value) for each in chain.chain.tick_sizes] if chain else []
    return grid_of(legs[0].occ_symbol[:6].rstrip(), len(legs), sizes, intent.tick_size)

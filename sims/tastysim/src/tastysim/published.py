"""The lists that the simulated broker publishes: made of what its market lists."""

from __future__ import annotations

from typing import Any

from optionmath.sessions import market_date
from tastysim.followers import FollowedMarket
from tastysim.futures import active, contracts
from tastysim.products import COINS, PRODUCTS
from tastysim.reference import equities

_PAIRS = {
    "Stocks": (("KO", "PEP"), ("JPM", "BAC"), ("AAPL", "MSFT"), ("GOOGL", "META")),
    "Funds": (("SPY", "QQQ"), ("SPY", "IWM"), ("GLD", "SLV"), ("XLE", "USO")),
}  # fmt: skip


def public(market: FollowedMarket) -> dict[str, dict[str, Any]]:
    """Watchlists of everybody by name: by sector, the funds, the most traded, indices, futures and coins."""
    names = equities(market)
    lists: dict[str, list[tuple[str, str]]] = {"Tom's Watchlist": [(each, "Equity") for each in list(market.rows)[:12]]}
    for symbol, index in names.items():
        sector = market.listed[index].sector
        kind = "Index" if sector == "Index" else "Equity"
        lists.setdefault(
            {"ETF": "Liquid ETFs", "Index": "Indices", "Equity": "Other names"}.get(sector, sector), []
        ).append((symbol, kind))
    today = market_date(market.now)
    nearest = [contracts(each, today)[active(each, today)].symbol for each in PRODUCTS]
    lists["Futures"] = [(each, "Future") for each in nearest if market.follower(each)]
    lists["Crypto"] = [(each.symbol, "Cryptocurrency") for each in COINS if market.follower(each.symbol)]
    return {
        name: {
            "name": name, "group-name": "Simulator", "order-index": order,
            "watchlist-entries": [{"symbol": symbol, "instrument-type": kind} for symbol, kind in entries],
        }
        for order, (name, entries) in enumerate(lists.items())
    }  # fmt: skip


def pairs(market: FollowedMarket) -> dict[str, dict[str, Any]]:
    """Pairs watchlists by name, of the names that this market has."""
    names = equities(market)
    return {
        name: {
            "name": name, "order-index": order,
            "pairs-equations": [
                {
                    "left-action": "Buy to Open", "left-symbol": left, "left-quantity": 1,
                    "right-action": "Sell to Open", "right-symbol": right, "right-quantity": 1,
                }
                for left, right in couples if left in names and right in names
            ],
        }
        for order, (name, couples) in enumerate(_PAIRS.items())
    }  # fmt: skip

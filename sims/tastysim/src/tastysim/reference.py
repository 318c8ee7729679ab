"""The shapes of equities, options, chains and market data, from the market. Futures and coins: `future_shapes`."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

from optionmath.calendar import CASH_INDEX_ROOTS, expiration_kind, settlement_of, settles_at, stops_trading_at
from optionmath.sessions import market_date, previous_session
from optionmath.ticks import TickGrid, net_price_grid
from optionmath.ticks import option_grid as exchange_grid
from schemas.symbols import OptionSymbol, OptionType
from tastysim import future_shapes
from tastysim.followers import COIN, FUTURE, FollowedMarket
from tastysim.orders import stamp
from tastysim.products import NAMES

_EQUITY_TICKS = [{"value": "0.0001", "threshold": "1.0"}, {"value": "0.01"}]
_NAMES = {each.symbol: each for each in NAMES}
SPOT_SIZE = 400.0
"""Shares shown on each side of an underlying."""


def equities(market: FollowedMarket) -> dict[str, int]:
    """Stocks, funds and indices by symbol: places of the underlyings and of what follows without being a contract."""
    found = {}
    for place, each in enumerate(market.listed):
        follower = market.follower(each.symbol)
        if follower is None or follower.kind not in (FUTURE, COIN):
            found[each.symbol] = place
    return found


def equity(market: FollowedMarket, index: int) -> dict[str, Any]:
    """A stock, a fund or an index."""
    each = market.listed[index]
    known = _NAMES.get(each.symbol) if market.follower(each.symbol) else None
    is_index = each.sector == "Index"
    return {
        "id": index + 1, "symbol": each.symbol, "instrument-type": "Index" if is_index else "Equity", "active": True,
        "bypass-manual-review": False, "description": each.name or each.symbol, "short-description": each.symbol,
        "is-closing-only": False, "is-etf": known.is_etf if known else each.is_etf, "is-fraud-risk": False,
        "is-illiquid": False, "is-index": is_index, "is-options-closing-only": False,
        "is-fractional-quantity-eligible": not is_index, "lendability": "Easy To Borrow", "borrow-rate": "0.0",
        "listed-market": known.market if known else "SIM", "market-time-instrument-collection": "Equity",
        "overnight-trading-permitted": True, "streamer-symbol": each.symbol, "tick-sizes": _EQUITY_TICKS,
        "option-tick-sizes": ticks(option_grid(market, each.symbol)),
    }  # fmt: skip


def option_grid(market: FollowedMarket, symbol: str) -> TickGrid:
    """Valid prices of a single option, as the market lists its underlying; of a recorded one by the exchanges' rule."""
    index = market.index_of(symbol)
    if index is not None and math.isfinite(market.listed[index].price):
        return market.listed[index].option_grid
    return exchange_grid(symbol, penny_class=True)


def ticks(grid: TickGrid) -> list[dict[str, str]]:
    """A grid as the interface shows it: entries with a threshold apply below it."""
    return [
        {"value": str(band.value)} | ({"threshold": f"{band.below:.1f}"} if band.below is not None else {})
        for band in grid.bands
    ]


def option(market: FollowedMarket, row: int, underlying: str) -> dict[str, Any]:
    """A listed contract."""
    each = market.options[row]
    root = each.root_symbol
    settlement = settlement_of(root, each.expiration)
    stops = stops_trading_at(root, each.expiration)
    ends = max(stops, settles_at(each.expiration, settlement))
    return {
        "active": True, "days-to-expiration": (each.expiration - market_date(market.now)).days,
        "exercise-style": "European" if root in CASH_INDEX_ROOTS else "American",
        "expiration-date": each.expiration.isoformat(), "expiration-type": expiration_kind(each.expiration).value,
        "expires-at": stamp(ends), "instrument-type": "Equity Option", "is-closing-only": False,
        "market-time-instrument-collection": "Equity Option", "option-chain-type": "Standard",
        "option-type": each.option_type.value, "root-symbol": root, "settlement-type": settlement.value,
        "shares-per-contract": 100, "stops-trading-at": stamp(stops),
        "streamer-symbol": each.streamer, "strike-price": str(each.strike), "symbol": each.occ,
        "underlying-symbol": underlying,
    }  # fmt: skip


def compact_chain(market: FollowedMarket, symbol: str) -> list[dict[str, Any]]:
    """Symbols by root, kind of expiration and settlement."""
    found: dict[tuple[str, str, str], list[OptionSymbol]] = {}
    for each in market.options[market.rows[symbol]]:
        settlement = settlement_of(each.root_symbol, each.expiration).value
        found.setdefault((each.root_symbol, expiration_kind(each.expiration).value, settlement), []).append(each)
    return [
        {
            "underlying-symbol": symbol, "root-symbol": root, "option-chain-type": "Standard",
            "settlement-type": settlement, "shares-per-contract": 100, "expiration-type": kind,
            "deliverables": [_deliverable(market, symbol)], "symbols": [each.occ for each in options],
            "streamer-symbols": [each.streamer for each in options],
        }
        for (root, kind, settlement), options in found.items()
    ]  # fmt: skip


def _deliverable(market: FollowedMarket, symbol: str) -> dict[str, Any]:
    """What a contract delivers: 100 shares, or of an index the cash of 100 times its points."""
    index = market.index_of(symbol) or 0
    if market.listed[index].sector == "Index":
        return {
            "id": index + 1, "root-symbol": symbol, "deliverable-type": "Cash", "amount": "100.0", "percent": "100",
            "description": f"$100 for every point of {symbol}",
        }  # fmt: skip
    return {
        "id": index + 1, "root-symbol": symbol, "deliverable-type": "Shares",
        "description": f"100 shares of {symbol}", "amount": "100.0", "symbol": symbol, "instrument-type": "Equity",
        "percent": "100",
    }  # fmt: skip


def nested_chains(market: FollowedMarket, symbol: str) -> list[dict[str, Any]]:
    """One chain per root, strikes within expirations."""
    roots: dict[str, dict[date, dict[float, dict[str, str]]]] = {}
    for option in market.options[market.rows[symbol]]:
        side = "call" if option.option_type is OptionType.CALL else "put"
        levels = roots.setdefault(option.root_symbol, {}).setdefault(option.expiration, {})
        entry = levels.setdefault(float(option.strike), {"strike-price": str(option.strike)})
        entry |= {side: option.occ, f"{side}-streamer-symbol": option.streamer}
    today = market_date(market.now)
    return [
        {
            "underlying-symbol": symbol, "root-symbol": root, "option-chain-type": "Standard",
            "shares-per-contract": 100, "tick-sizes": ticks(net_price_grid(root)),
            "deliverables": [_deliverable(market, symbol)],
            "expirations": [
                {
                    "expiration-type": expiration_kind(day).value, "expiration-date": day.isoformat(),
                    "days-to-expiration": (day - today).days, "settlement-type": settlement_of(root, day).value,
                    "strikes": [levels[strike] for strike in sorted(levels) if len(levels[strike]) == 5],
                }
                for day, levels in sorted(days.items())
            ],
        }
        for root, days in roots.items()
    ]  # fmt: skip


def _prices(bid: float, ask: float, bid_size: float, ask_size: float) -> dict[str, str]:
    """A quote; where nothing is quoted there are no prices and the sizes are zero."""
    sizes = {
        "bid-size": str(bid_size) if math.isfinite(bid_size) else "0.0",
        "ask-size": str(ask_size) if math.isfinite(ask_size) else "0.0",
    }
    if not (math.isfinite(bid) and math.isfinite(ask)):
        return sizes
    mid = str(round((bid + ask) / 2, 4))
    return sizes | {"bid": str(bid), "ask": str(ask), "mid": mid, "mark": mid}


def market_data(market: FollowedMarket, symbol: str, kind: str) -> dict[str, Any] | None:
    """What the book knows of an instrument of a kind; None for anything else."""
    known = _known(market, symbol, kind)
    if known is None:
        return None
    today = market_date(market.now)
    found: dict[str, Any] = {
        "symbol": symbol, "instrument-type": kind, "updated-at": stamp(market.now).replace("+00:00", "Z"),
        "summary-date": today.isoformat(), "prev-close-date": previous_session(today).isoformat(),
        "close-price-type": "Unknown", "is-trading-halted": False, "halt-start-time": -1, "halt-end-time": -1,
        "prev-close-price-type": "Final" if "prev-close" in known else "Unknown",
    }  # fmt: skip
    return found | known


def _known(market: FollowedMarket, symbol: str, kind: str) -> dict[str, str] | None:
    row = market.row_of.get(symbol)
    if kind == "Equity Option" and row is not None:
        quote = float(market.bid[row]), float(market.ask[row]), float(market.bid_size[row]), float(market.ask_size[row])
        return _prices(*quote) | _finite(volume=market.volume[row], **{"open-interest": market.open_interest[row]})
    if kind == "Future Option" and (contract := future_shapes.find_option(market, symbol)):
        found = future_shapes.option_quote(market, contract)
        return None if found is None else _prices(*found, future_shapes.SIZE, future_shapes.SIZE)
    index = market.index_of(symbol)
    if (
        index is None
        or kind not in _kinds(market, index)
        or symbol not in (market.listed[index].symbol, _rest(market, symbol))
    ):
        return None
    digits = 6 if kind == "Future" else 2
    last, size = round(float(market.spot[index]), digits), 0.0 if kind == "Index" else SPOT_SIZE
    before = round(float(market.previous_close[index]), digits)
    figures = {
        "last": last,
        "prev-close": before,
        "volume": market.day_volume[index],
        "beta": market.listed[index].beta,
    }
    if kind in ("Future", "Cryptocurrency") or not figures["beta"]:
        del figures["beta"]
    return _prices(*market.spot_quote(index), size, size) | _finite(**figures)


def _rest(market: FollowedMarket, symbol: str) -> str:
    """A follower's symbol as this interface writes it."""
    follower = market.follower(symbol)
    return symbol if follower is None else follower.symbol


def _kinds(market: FollowedMarket, index: int) -> tuple[str, ...]:
    """Under which kinds an instrument is found: an index answers to both of its own."""
    each = market.listed[index]
    follower = market.follower(each.symbol)
    if follower is not None and follower.kind in (FUTURE, COIN):
        return (follower.kind,)
    return ("Index", "Equity") if each.sector == "Index" else ("Equity",)


def _finite(**figures: float) -> dict[str, str]:
    return {name: str(float(value)) for name, value in figures.items() if math.isfinite(value)}

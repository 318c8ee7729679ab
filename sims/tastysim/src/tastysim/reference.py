"""The shapes of instruments, chains, metrics and market data, from the listed market."""

from __future__ import annotations

import math
from typing import Any

from optionmath.sessions import expires_at, market_date, previous_session
from schemas.symbols import OptionSymbol, OptionType
from tastysim.market import Market
from tastysim.orders import stamp

_TICK = [{"value": "0.01"}]


def equity(market: Market, index: int) -> dict[str, Any]:
    """A listed stock or fund."""
    each = market.listed[index]
    return {
        "id": index + 1, "symbol": each.symbol, "instrument-type": "Equity", "active": True,
        "bypass-manual-review": False, "description": each.name or each.symbol, "short-description": each.symbol,
        "is-closing-only": False, "is-etf": each.is_etf, "is-fraud-risk": False, "is-illiquid": False,
        "is-index": False, "is-options-closing-only": False, "is-fractional-quantity-eligible": False,
        "lendability": "Easy To Borrow", "borrow-rate": "0.0", "listed-market": "SIM",
        "market-time-instrument-collection": "Equity", "overnight-trading-permitted": True,
        "streamer-symbol": each.symbol, "tick-sizes": _TICK, "option-tick-sizes": _TICK,
    }  # fmt: skip


def _kind(option: OptionSymbol) -> str:
    return "Regular" if 15 <= option.expiration.day <= 21 else "Weekly"


def option(market: Market, row: int, underlying: str) -> dict[str, Any]:
    """A listed contract."""
    each = market.options[row]
    ends = stamp(expires_at(each.expiration))
    return {
        "active": True, "days-to-expiration": (each.expiration - market_date(market.now)).days,
        "exercise-style": "American", "expiration-date": each.expiration.isoformat(), "expiration-type": _kind(each),
        "expires-at": ends, "instrument-type": "Equity Option", "is-closing-only": False,
        "market-time-instrument-collection": "Equity Option", "option-chain-type": "Standard",
        "option-type": each.option_type.value, "root-symbol": each.root_symbol, "settlement-type": "PM",
        "shares-per-contract": 100, "stops-trading-at": ends, "streamer-symbol": each.streamer,
        "strike-price": str(each.strike), "symbol": each.occ, "underlying-symbol": underlying,
    }  # fmt: skip


def compact_chain(market: Market, symbol: str) -> list[dict[str, Any]]:
    """Symbols by kind of expiration."""
    found: dict[str, list[OptionSymbol]] = {}
    for each in market.options[market.rows[symbol]]:
        found.setdefault(_kind(each), []).append(each)
    return [
        {
            "underlying-symbol": symbol, "root-symbol": options[0].root_symbol, "option-chain-type": "Standard",
            "settlement-type": "PM", "shares-per-contract": 100, "expiration-type": kind,
            "deliverables": [_deliverable(symbol)], "symbols": [each.occ for each in options],
            "streamer-symbols": [each.streamer for each in options],
        }
        for kind, options in found.items()
    ]  # fmt: skip


def _deliverable(symbol: str) -> dict[str, Any]:
    return {
        "id": 1, "root-symbol": symbol, "deliverable-type": "Shares", "description": f"100 shares of {symbol}",
        "amount": "100.0", "symbol": symbol, "instrument-type": "Equity", "percent": "100",
    }  # fmt: skip


def nested_chain(market: Market, symbol: str) -> dict[str, Any]:
    rows = range(market.rows[symbol].start, market.rows[symbol].stop)
    strikes: dict[Any, dict[float, dict[str, str]]] = {}
    for row in rows:
        option = market.options[row]
        side = "call" if option.option_type is OptionType.CALL else "put"
        entry = strikes.setdefault(option.expiration, {}).setdefault(
            float(option.strike), {"strike-price": str(option.strike)}
        )
        entry |= {side: option.occ, f"{side}-streamer-symbol": option.streamer}
    today = market.now.date()
    found = [
        {
            "expiration-type": "Regular" if 15 <= day.day <= 21 else "Weekly",
            "expiration-date": day.isoformat(),
            "days-to-expiration": (day - today).days,
            "settlement-type": "PM",
            "strikes": [levels[k] for k in sorted(levels)],
        }
        for day, levels in sorted(strikes.items())
    ]
    return {
        "underlying-symbol": symbol, "root-symbol": symbol, "option-chain-type": "Standard",
        "shares-per-contract": 100, "tick-sizes": [{"value": "0.01"}], "expirations": found,
        "deliverables": [_deliverable(symbol)],
    }  # fmt: skip


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


def market_data(market: Market, symbol: str, kind: str) -> dict[str, Any] | None:
    """What the book knows of an equity or a contract; None for anything else."""
    today = market_date(market.now)
    found: dict[str, Any] = {
        "symbol": symbol, "instrument-type": kind, "updated-at": stamp(market.now).replace("+00:00", "Z"),
        "summary-date": today.isoformat(), "prev-close-date": previous_session(today).isoformat(),
        "close-price-type": "Unknown", "prev-close-price-type": "Unknown", "is-trading-halted": False,
        "halt-start-time": -1, "halt-end-time": -1,
    }  # fmt: skip
    row, index = market.row_of.get(symbol), market.index_of(symbol)
    if kind == "Equity Option" and row is not None:
        known = {"volume": market.volume[row], "open-interest": market.open_interest[row]}
        sizes = float(market.bid_size[row]), float(market.ask_size[row])
        found |= _prices(float(market.bid[row]), float(market.ask[row]), *sizes)
    elif kind == "Equity" and index is not None:
        known = {"volume": market.day_volume[index], "prev-close": market.previous_close[index]}
        known |= {"last": round(float(market.spot[index]), 2)}
        found |= _prices(*market.spot_quote(index), 400.0, 400.0)
        if math.isfinite(market.previous_close[index]):
            found["prev-close-price-type"] = "Final"
        if market.listed[index].beta:
            found["beta"] = str(market.listed[index].beta)
    else:
        return None
    return found | {name: str(float(value)) for name, value in known.items() if math.isfinite(value)}


def metrics(market: Market, index: int) -> dict[str, Any]:
    """What is known: a recorded market has none of the model's figures, and they are left out."""
    each, iv = market.listed[index], float(market.volatility[index])
    known = {"symbol": each.symbol, "updated-at": market.now.isoformat(timespec="milliseconds")}
    if not math.isfinite(iv):
        return known
    return known | {
        "implied-volatility-index": f"{iv:.4f}", "implied-volatility-index-rank": str(each.iv_rank),
        "implied-volatility-percentile": str(each.iv_rank), "implied-volatility-30-day": f"{iv * 100:.2f}",
        "historical-volatility-30-day": f"{each.volatility * 90:.2f}", "beta": str(each.beta), "liquidity-rating": 4,
        "dividend-yield": str(each.dividend_yield), "sector": each.sector, "market-cap": round(each.price * 1e9),
        "option-expiration-implied-volatilities": [],
    }  # fmt: skip

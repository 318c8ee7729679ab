"""Profile, Underlying and Series events: few, told one by one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np

from optionmath.sessions import market_date
from tastysim.dxlink_columns import EPOCH_ORDINAL, FeedColumns, Ints
from tastysim.dxlink_events import MISSING, event_index, known
from tastysim.market import RATE

_DIVIDENDS_AHEAD = timedelta(days=100)
_SNAPSHOT_BEGIN, _SNAPSHOT_END = 4, 8


def profile(columns: FeedColumns, row: int) -> dict[str, Any]:
    """Who a symbol is. What the market does not know of it is missing."""
    market = columns.market
    found: dict[str, Any] = {
        "eventSymbol": columns.name(row), "eventTime": 0, "shortSaleRestriction": "INACTIVE",
        "tradingStatus": "ACTIVE", "haltStartTime": 0, "haltEndTime": 0, "exDividendDayId": 0, "statusReason": None,
    }  # fmt: skip
    if columns.is_contract(row):
        option = market.options[row]
        side = option.option_type.name.capitalize()
        return found | {
            "description": f"{option.root_symbol} {option.expiration:%b %d %Y} {option.strike.normalize():f} {side}"
        }
    listed = market.listed[row - columns.contracts]
    today = market_date(market.now)
    for dividend in market.events(today, today + _DIVIDENDS_AHEAD).dividends:
        if dividend.symbol == listed.symbol:
            day = dividend.ex.toordinal() - EPOCH_ORDINAL
            found |= {"exDividendDayId": day, "exDividendAmount": float(dividend.amount), "dividendFrequency": 4.0}
            break
    return found | {"description": listed.name or listed.symbol, "beta": known(listed.beta, 2)}


def underlying(columns: FeedColumns, row: int, at_ms: int) -> dict[str, Any] | None:
    """Volatilities and volumes of the options of an underlying; None when it has no options."""
    expirations = _expirations(columns, row)
    if not expirations:
        return None
    index = row - columns.contracts
    front = _volatility(columns, expirations[0], index)
    back = _volatility(columns, expirations[min(1, len(expirations) - 1)], index)
    volatility = float(columns.market.volatility[index])
    return {
        "eventSymbol": columns.name(row), "eventTime": 0, "eventFlags": 0, "index": event_index(at_ms), "time": at_ms,
        "sequence": 0, "volatility": known(volatility if np.isfinite(volatility) else front, 6),
        "frontVolatility": known(front, 6), "backVolatility": known(back, 6),
        **_volumes(columns, np.concatenate(expirations)),
    }  # fmt: skip


def series(columns: FeedColumns, row: int, at_ms: int, *, snapshot: bool) -> list[dict[str, Any]]:
    """One event per expiration, the last one first, as a time series comes; the flags of a snapshot when it is one."""
    index, found = row - columns.contracts, []
    spot, today = float(columns.market.spot[index]), columns.day()
    for rows in reversed(_expirations(columns, row)):
        day = int(columns.expires[rows[0]])
        interest = RATE * max(0, day - today) / 365
        found.append({
            "eventSymbol": columns.name(row), "eventTime": 0, "eventFlags": 0, "index": day << 32, "time": at_ms,
            "sequence": 0, "expiration": day, "volatility": known(_volatility(columns, rows, index), 6),
            "forwardPrice": known(spot * (1 + interest), 4), "dividend": 0.0, "interest": known(interest, 6),
            **_volumes(columns, rows),
        })  # fmt: skip
    if snapshot and found:
        found[0]["eventFlags"] |= _SNAPSHOT_BEGIN
        found[-1]["eventFlags"] |= _SNAPSHOT_END
    return found


def _expirations(columns: FeedColumns, row: int) -> list[Ints]:
    """Rows of the contracts of an underlying, by expiration, the nearest first."""
    if columns.is_contract(row):
        return []
    own = columns.market.rows.get(columns.name(row), slice(0, 0))
    days = columns.expires[own]
    return [own.start + np.flatnonzero(days == day) for day in np.unique(days)]


def _volatility(columns: FeedColumns, rows: Ints, index: int) -> float:
    """Implied volatility at the strike next to the price."""
    nearest = rows[np.argmin(np.abs(columns.market.strike[rows] - columns.market.spot[index]))]
    return float(columns.market.iv[nearest])


def _volumes(columns: FeedColumns, rows: Ints) -> dict[str, Any]:
    traded, calls = columns.market.volume[rows], columns.is_call[rows]
    of_calls, of_puts = float(np.nansum(traded[calls])), float(np.nansum(traded[~calls]))
    return {
        "callVolume": round(of_calls), "putVolume": round(of_puts), "optionVolume": round(of_calls + of_puts),
        "putCallRatio": known(of_puts / of_calls, 4) if of_calls else MISSING,
    }  # fmt: skip

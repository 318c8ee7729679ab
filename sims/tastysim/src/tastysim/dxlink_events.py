"""Events as they go over the wire: FULL objects, or COMPACT arrays built column by column.

A frame's body (its `data`) is made once and shared by every connection that is owed the same rows in the same fields.
Field names, order and units as dxFeed documents them; a field that is not known here is sent as "NaN", so that a
client which counts on the order it asked for never misreads the next one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from optionmath.sessions import is_open
from tastysim.dxlink_columns import FeedColumns, Ints
from tastysim.market import Floats

MISSING = "NaN"
_INDEXED = ("eventFlags", "index", "time", "sequence")
_TRADE = (
    "time", "timeNanoPart", "sequence", "exchangeCode", "dayId", "tickDirection", "extendedTradingHours",
    "price", "change", "size", "dayVolume", "dayTurnover",
)  # fmt: skip
FIELDS: Mapping[str, tuple[str, ...]] = {
    kind: ("eventSymbol", "eventTime", *names)
    for kind, names in {
        "Quote": (
            "sequence", "timeNanoPart", "bidTime", "bidExchangeCode", "askTime", "askExchangeCode",
            "bidPrice", "askPrice", "bidSize", "askSize",
        ),
        "Trade": _TRADE,
        "TradeETH": _TRADE,
        "Summary": (
            "dayId", "dayClosePriceType", "prevDayId", "prevDayClosePriceType", "openInterest", "dayOpenPrice",
            "dayHighPrice", "dayLowPrice", "dayClosePrice", "prevDayClosePrice", "prevDayVolume",
        ),
        "Greeks": (*_INDEXED, "price", "volatility", "delta", "gamma", "theta", "rho", "vega"),
        "TheoPrice": (*_INDEXED, "price", "underlyingPrice", "delta", "gamma", "dividend", "interest"),
        "Profile": (
            "description", "shortSaleRestriction", "tradingStatus", "haltStartTime", "haltEndTime", "exDividendDayId",
            "statusReason", "high52WeekPrice", "low52WeekPrice", "beta", "shares", "highLimitPrice", "lowLimitPrice",
            "earningsPerShare", "exDividendAmount", "dividendFrequency", "freeFloat",
        ),
        "Underlying": (
            *_INDEXED, "volatility", "frontVolatility", "backVolatility", "callVolume", "putVolume", "optionVolume",
            "putCallRatio",
        ),
        "Series": (
            *_INDEXED, "expiration", "volatility", "callVolume", "putVolume", "putCallRatio", "forwardPrice",
            "dividend", "interest",
        ),
        "TimeAndSale": (
            *_INDEXED, "timeNanoPart", "exchangeCode", "price", "size", "bidPrice", "askPrice",
            "exchangeSaleConditions", "tradeThroughExempt", "aggressorSide", "spreadLeg", "extendedTradingHours",
            "validTick", "type", "buyer", "seller",
        ),
        "Candle": (
            *_INDEXED, "count", "volume", "VWAP", "bidVolume", "askVolume", "impVolatility", "openInterest",
            "open", "high", "low", "close",
        ),
    }.items()
}  # fmt: skip
"""Event types that the simulator has → every field, in the order in which they are sent unless another is asked for."""
OF_CONTRACTS_ALONE = frozenset({"Greeks", "TheoPrice"})
OF_UNDERLYINGS_ALONE = frozenset({"Underlying", "Series"})
BY_COLUMN = frozenset({"Quote", "Trade", "TradeETH", "Summary", "Greeks", "TheoPrice"})

_AT, _INDEX, _FLAGS, _DAY, _YESTERDAY, _EXTENDED = "@at", "@index", "@flags", "@day", "@yesterday", "@extended"
Source = tuple[str, int] | str | float | int
"""A column and the digits it is rounded to, or what every event of a step has in common."""
_INDEXED_SOURCES: Mapping[str, Source] = {
    "eventTime": 0, "eventFlags": _FLAGS, "index": _INDEX, "time": _AT, "sequence": 0
}  # fmt: skip
_TRADED: Mapping[str, Source] = {
    "eventTime": 0, "time": _AT, "timeNanoPart": 0, "sequence": 0, "exchangeCode": "Q", "dayId": _DAY,
    "tickDirection": "ZERO_UP", "extendedTradingHours": _EXTENDED, "price": ("last", 6), "change": ("change", 6),
    "size": ("last_size", 0), "dayVolume": ("volume", 0), "dayTurnover": ("turnover", 0),
}  # fmt: skip
SOURCES: Mapping[str, Mapping[str, Source]] = {
    "Quote": {
        "eventTime": 0, "sequence": 0, "timeNanoPart": 0, "bidTime": _AT, "askTime": _AT, "bidExchangeCode": "Q",
        "askExchangeCode": "Q", "bidPrice": ("bid", 6), "askPrice": ("ask", 6), "bidSize": ("bid_size", 2),
        "askSize": ("ask_size", 2),
    },
    "Trade": _TRADED,
    "TradeETH": {**_TRADED, "extendedTradingHours": True},
    "Summary": {
        "eventTime": 0, "dayId": _DAY, "dayClosePriceType": "REGULAR", "prevDayId": _YESTERDAY,
        "prevDayClosePriceType": "REGULAR", "openInterest": ("open_interest", 0), "dayOpenPrice": ("day_open", 2),
        "dayHighPrice": ("day_high", 2), "dayLowPrice": ("day_low", 2), "dayClosePrice": ("day_close", 2),
        "prevDayClosePrice": ("previous", 6), "prevDayVolume": ("previous_volume", 0),
    },
    "Greeks": {
        **_INDEXED_SOURCES, "price": ("theoretical", 4), "volatility": ("iv", 6), "delta": ("delta", 6),
        "gamma": ("gamma", 6), "theta": ("theta", 6), "rho": ("rho", 6), "vega": ("vega", 6),
    },
    "TheoPrice": {
        **_INDEXED_SOURCES, "price": ("theoretical", 4), "underlyingPrice": ("spot", 4), "delta": ("delta", 6),
        "gamma": ("gamma", 6), "dividend": ("dividend", 6), "interest": ("interest", 6),
    },
}  # fmt: skip


def event_index(at_ms: int, sequence: int = 0) -> int:
    """dxFeed's index of a time series: seconds, milliseconds within the second, sequence."""
    return at_ms // 1000 << 32 | at_ms % 1000 << 22 | sequence


def known(value: float, digits: int) -> float | str:
    """A number, or the feed's word for a missing one."""
    return round(float(value), digits) if np.isfinite(value) else MISSING


class EventEncoder:
    """Bodies of FEED_DATA messages out of the columns. Call `refresh` after every step of the market."""

    def __init__(self, columns: FeedColumns) -> None:
        self.columns = columns
        self._bodies: dict[tuple[object, ...], bytes] = {}
        self.encoded = self.shared = 0
        """Events that were encoded, and those that another connection's encoding served."""
        self.refresh()

    def refresh(self) -> None:
        """Values may have changed."""
        self._bodies.clear()
        now = self.columns.market.now
        at = int(time.time() * 1000)
        day = self.columns.day()
        self._common: dict[str, Any] = {
            _AT: at, _INDEX: event_index(at), _DAY: day, _YESTERDAY: self.columns.day_before(),
            _EXTENDED: not is_open(now),
        }  # fmt: skip

    def rows(self, kind: str, names: Sequence[str], rows: Ints, *, compact: bool, flags: int = 0) -> bytes:
        """Body of events of one type, of the rows of `BY_COLUMN` types, in their order."""
        key = (kind, names, compact, flags, rows.tobytes())
        found = self._bodies.get(key)
        if found is None:
            width, flat = len(names), self._flat(kind, names, rows, flags)
            found = self._bodies[key] = (
                _compact(kind, flat)
                if compact
                else _full(kind, names, [flat[at : at + width] for at in range(0, len(flat), width)])
            )
            self.encoded += len(rows)
        else:
            self.shared += len(rows)
        return found

    def _flat(self, kind: str, names: Sequence[str], rows: Ints, flags: int) -> list[Any]:
        """The values of all events, one event after the other."""
        sources, common = SOURCES[kind], self._common | {_FLAGS: flags}
        template: list[Any] = []
        varying: list[tuple[int, list[Any]]] = []
        for position, name in enumerate(names):
            source: Source = kind if name == "eventType" else sources.get(name, MISSING)
            if name == "eventSymbol":
                varying.append((position, self.columns.labels[rows].tolist()))
            elif isinstance(source, tuple):
                varying.append((position, _numbers(self.columns.take(source[0], rows), source[1])))
            elif isinstance(source, str):
                source = common.get(source, source)
            template.append(source)
        flat, width = template * len(rows), len(names)
        for position, values in varying:
            flat[position::width] = values
        return flat


def events_body(kind: str, names: Sequence[str], events: Iterable[Mapping[str, Any]], *, compact: bool) -> bytes:
    """Body of events that are given one by one."""
    rows = [[event.get(name, kind if name == "eventType" else MISSING) for name in names] for event in events]
    return _compact(kind, [value for row in rows for value in row]) if compact else _full(kind, names, rows)


def frame(channel: int, body: bytes) -> str:
    """A FEED_DATA message."""
    return f'{{"type":"FEED_DATA","channel":{channel},"data":{body.decode()}}}'


def _compact(kind: str, flat: list[Any]) -> bytes:
    return orjson.dumps([kind, flat])


def _full(kind: str, names: Sequence[str], rows: Iterable[list[Any]]) -> bytes:
    return orjson.dumps([{"eventType": kind, **dict(zip(names, row, strict=True))} for row in rows])


def _numbers(values: Floats, digits: int) -> list[Any]:
    found: list[Any] = np.round(values, digits).tolist()
    missing = np.flatnonzero(~np.isfinite(values))
    for row in missing.tolist():
        found[row] = MISSING
    return found

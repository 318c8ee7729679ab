"""DXLink event types: their fields and what each holds, event flags, candle symbols, and events as columns.

Source of names and units: dxFeed's event classes and the DXLink AsyncAPI 1.0.2. Times are epoch milliseconds, days
counted from 1970-01-01, prices in the instrument's currency per unit, volatilities fractions, sizes in lots of 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from enum import IntFlag, StrEnum
from typing import Any, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class FieldKind(StrEnum):
    """How the values of a field are kept."""

    SYMBOL = "symbol"
    NUMBER = "number"
    """64-bit float; NaN where the server sent none. Truth values are 1 and 0."""
    INTEGER = "integer"
    """64-bit integer, exact: indices exceed what a float holds."""
    TEXT = "text"
    """Empty where the server sent none."""
    OTHER = "other"
    """A field that is not known here: its values are passed over."""


class EventFlag(IntFlag):
    """Flags of indexed events (dxFeed `IndexedEvent`)."""

    TX_PENDING = 0x01
    REMOVE_EVENT = 0x02
    SNAPSHOT_BEGIN = 0x04
    SNAPSHOT_END = 0x08
    SNAPSHOT_SNIP = 0x10
    SNAPSHOT_MODE = 0x40


_INDEXED = ("eventFlags", "index", "time", "sequence")
_TRADE = (
    "time", "timeNanoPart", "sequence", "exchangeCode", "dayId", "tickDirection", "extendedTradingHours",
    "price", "change", "size", "dayVolume", "dayTurnover",
)  # fmt: skip
_ORDER = (
    *_INDEXED, "timeNanoPart", "exchangeCode", "side", "scope", "price", "size", "executedSize", "count", "source",
    "action", "actionTime", "orderId", "auxOrderId", "tradeId", "tradePrice", "tradeSize", "marketMaker",
)  # fmt: skip

EVENT_FIELDS: Mapping[str, tuple[str, ...]] = {
    event_type: ("eventSymbol", "eventTime", *fields)
    for event_type, fields in {
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
        "Profile": (
            "description", "shortSaleRestriction", "tradingStatus", "haltStartTime", "haltEndTime",
            "exDividendDayId", "statusReason", "high52WeekPrice", "low52WeekPrice", "beta", "shares",
            "highLimitPrice", "lowLimitPrice", "earningsPerShare", "exDividendAmount", "dividendFrequency", "freeFloat",
        ),
        "Greeks": (*_INDEXED, "price", "volatility", "delta", "gamma", "theta", "rho", "vega"),
        "TheoPrice": (*_INDEXED, "price", "underlyingPrice", "delta", "gamma", "dividend", "interest"),
        "Underlying": (
            *_INDEXED, "volatility", "frontVolatility", "backVolatility", "callVolume", "putVolume", "optionVolume",
            "putCallRatio",
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
        "Series": (
            *_INDEXED, "expiration", "volatility", "callVolume", "putVolume", "putCallRatio", "forwardPrice",
            "dividend", "interest",
        ),
        "Order": _ORDER,
        "SpreadOrder": (*_ORDER, "spreadSymbol"),
    }.items()
}  # fmt: skip
"""Event type → every field the server knows."""

FIELDS: Mapping[str, tuple[str, ...]] = {
    **{
        event_type: tuple(name for name in names if name not in ("eventTime", "sequence", "timeNanoPart"))
        for event_type, names in EVENT_FIELDS.items()
    },
    "Quote": ("eventSymbol", "bidPrice", "askPrice", "bidSize", "askSize", "bidTime", "askTime"),
    "Trade": ("eventSymbol", "price", "size", "dayVolume", "time"),
    "TradeETH": ("eventSymbol", "price", "size", "dayVolume", "time"),
    "Greeks": ("eventSymbol", "volatility", "delta", "gamma", "theta", "vega", "rho", "time"),
    "Summary": ("eventSymbol", "openInterest", "prevDayClosePrice"),
}
"""Event type → the fields asked for unless told otherwise; fewer than there are, since each costs bytes."""

_TEXTS = frozenset(
    [
        "bidExchangeCode",
        "askExchangeCode",
        "exchangeCode",
        "tickDirection",
        "dayClosePriceType",
        "prevDayClosePriceType",
        "description",
        "shortSaleRestriction",
        "tradingStatus",
        "statusReason",
        "exchangeSaleConditions",
        "tradeThroughExempt",
        "aggressorSide",
        "type",
        "buyer",
        "seller",
        "side",
        "scope",
        "source",
        "action",
        "marketMaker",
        "spreadSymbol",
        "eventType",
    ]
)
_INTEGERS = frozenset({"eventFlags", "index", "orderId", "auxOrderId", "tradeId"})
_KNOWN = frozenset(name for names in EVENT_FIELDS.values() for name in names) | {"eventType", "vwap"}


def field_kind(name: str) -> FieldKind:
    """What the values of a field are; OTHER for a field that is not known here."""
    if name == "eventSymbol":
        return FieldKind.SYMBOL
    if name in _TEXTS:
        return FieldKind.TEXT
    if name in _INTEGERS:
        return FieldKind.INTEGER
    return FieldKind.NUMBER if name in _KNOWN else FieldKind.OTHER


def candle_symbol(symbol: str, period: str, *, regular_hours: bool = False, price: str | None = None) -> str:
    """Symbol of candles: `AAPL{=5m,tho=true}`. Periods are a number and t, s, m, h, d, w, mo, o, y, v, p, pm or pr.

    `regular_hours` leaves pre- and post-market out; `price` is last (the default), bid, ask, mark or s. ValueError for
    a period of another form.
    """
    if not re.fullmatch(r"\d*(?:\.\d+)?(?:t|s|m|h|d|w|mo|o|y|v|p|pm|pr)", period):
        raise ValueError(
            f"candle period {period!r} is not a number and one of t, s, m, h, d, w, mo, o, y, v, p, pm, pr"
        )
    attributes = [f"={period}", *(["tho=true"] if regular_hours else []), *([f"price={price}"] if price else [])]
    return f"{symbol}{{{','.join(attributes)}}}"


def canonical_candle(symbol: str) -> str:
    """The spelling in which the server answers: a period of one loses its 1, attributes stand in order."""
    found = re.fullmatch(r"([^{]+)\{([^}]*)\}", symbol)
    if found is None:
        return symbol
    parts = sorted(re.sub(r"^=1(?=[a-z])", "=", part.strip()) for part in found[2].split(",") if part.strip())
    return f"{found[1]}{{{','.join(parts)}}}"


class Lazy(Generic[T]):
    """Computed when first read, then an ordinary attribute. Without the lock that `functools` takes: half a µs."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__

    @overload
    def __get__(self, owner: None, kind: type) -> Lazy[T]: ...

    @overload
    def __get__(self, owner: object, kind: type) -> T: ...

    def __get__(self, owner: object | None, kind: type) -> Lazy[T] | T:
        if owner is None:
            return self
        found = owner.__dict__[self._name] = self._compute(owner)
        return found


class Columns:
    """Events of one type in one frame, oldest first. Arrays must not be written to.

    symbols: one per event. values: NUMBER fields, NaN = the server sent none. integers: INTEGER fields. texts: TEXT
    fields, empty = none. ids: the number of each symbol in the stream's symbol table, -1 for one never subscribed to.
    A field that was asked for and is not sent is there, without values (whole numbers: eventFlags alone, 0). Everything
    has been checked when the object exists; arrays and lists are made when first read.
    """

    symbols: Lazy[list[str]]
    ids: Lazy[Ints]
    values: Lazy[Mapping[str, Floats]]
    integers: Lazy[Mapping[str, Ints]]
    texts: Lazy[Mapping[str, list[str]]]

    def __init__(self, event_type: str, size: int) -> None:
        self.event_type = event_type
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.event_type}, {self._size} events)"

    def numbers(self) -> Floats:
        """The NUMBER fields that were sent, in the order of `values`, as one array (fields, events): cheapest."""
        return np.array(list(self.values.values())).reshape(-1, self._size)

    def events(self) -> Iterator[dict[str, float | int | str]]:
        """One mapping per event, oldest first: for the few, not for the feed's whole flow."""
        names = ["eventSymbol", *self.values, *self.integers, *self.texts]
        columns = [
            self.symbols,
            *(each.tolist() for each in self.values.values()),
            *(each.tolist() for each in self.integers.values()),
            *self.texts.values(),
        ]
        for row in zip(*columns, strict=True):
            yield dict(zip(names, row, strict=True))


class StoredColumns(Columns):
    """Columns that are held as they are."""

    def __init__(
        self,
        event_type: str,
        symbols: list[str],
        values: Mapping[str, Floats],
        integers: Mapping[str, Ints] | None = None,
        texts: Mapping[str, list[str]] | None = None,
        ids: Ints | None = None,
    ) -> None:
        super().__init__(event_type, len(symbols))
        self.symbols, self.values = symbols, values
        self.integers, self.texts = integers or {}, texts or {}
        self.ids = np.full(len(symbols), -1, np.int64) if ids is None else ids

    @classmethod
    def chosen(cls, columns: Columns, rows: Ints) -> StoredColumns:
        """Some events of others, in the order of their rows."""
        return cls(
            columns.event_type,
            [columns.symbols[row] for row in rows.tolist()],
            {name: each[rows] for name, each in columns.values.items()},
            {name: each[rows] for name, each in columns.integers.items()},
            {name: [each[row] for row in rows.tolist()] for name, each in columns.texts.items()},
            columns.ids[rows],
        )

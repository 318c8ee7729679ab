"""Conflation: the newest value of every contract, and what changed since it was last sent."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.columns import COLUMNS, Column, ColumnBatch, ColumnKind
from schemas.market import MarketMetrics, MarketSession, OptionChain, SessionPhase
from schemas.symbols import parse_occ

Floats = npt.NDArray[np.float64]

EVENT_TYPES: Mapping[str, ColumnKind] = {
    "Quote": ColumnKind.QUOTE,
    "Greeks": ColumnKind.GREEKS,
    "Trade": ColumnKind.TRADE,
    "Summary": ColumnKind.SUMMARY,
}
_FIELD_OF: Mapping[str, str] = {
    "bid": "bidPrice",
    "ask": "askPrice",
    "bid_size": "bidSize",
    "ask_size": "askSize",
    "iv": "volatility",
    "delta": "delta",
    "gamma": "gamma",
    "theta": "theta",
    "vega": "vega",
    "rho": "rho",
    "last": "price",
    "size": "size",
    "day_volume": "dayVolume",
    "open_interest": "openInterest",
    "previous_close": "prevDayClosePrice",
}
_TIMES: Mapping[ColumnKind, tuple[str, ...]] = {
    ColumnKind.QUOTE: ("bidTime", "askTime"),
    ColumnKind.GREEKS: ("time",),
    ColumnKind.TRADE: ("time",),
    ColumnKind.SUMMARY: (),
}
_PHASES = {
    "Open": SessionPhase.OPEN,
    "Closed": SessionPhase.CLOSED,
    "Pre-market": SessionPhase.PRE_MARKET,
    "Extended": SessionPhase.EXTENDED,
}


def chain_revision(occ_symbols: Sequence[str]) -> int:
    """Same rows, same revision, also after a restart."""
    return zlib.crc32("\n".join(occ_symbols).encode())


class Board:
    """Newest values over all contracts of all chains; rows of one underlying are contiguous, itself first."""

    def __init__(self, chains: Iterable[OptionChain]) -> None:
        self.chains = {chain.underlying_symbol: chain for chain in chains}
        self.row_of: dict[str, int] = {}
        self.slices: dict[str, slice] = {}
        start = 0
        for symbol, chain in self.chains.items():
            self.row_of[symbol] = start
            for row, occ in enumerate(chain.occ_symbols, start + 1):
                self.row_of[parse_occ(occ).streamer] = row
            self.slices[symbol] = slice(start, start + 1 + len(chain.occ_symbols))
            start = self.slices[symbol].stop
        self.columns: dict[ColumnKind, dict[str, Floats]] = {
            kind: {name: np.full(start, np.nan) for name, _ in layout if name not in ("row", "ts_event")}
            for kind, layout in COLUMNS.items()
        }
        self.at: dict[ColumnKind, npt.NDArray[np.int64]] = {kind: np.zeros(start, np.int64) for kind in COLUMNS}
        self.dirty: dict[ColumnKind, npt.NDArray[np.bool_]] = {kind: np.zeros(start, np.bool_) for kind in COLUMNS}
        self.conflated = 0

    def keep_values_of(self, older: Board) -> None:
        """Take over what an older board knew of contracts that are still listed."""
        pairs = [(row, older.row_of[symbol]) for symbol, row in self.row_of.items() if symbol in older.row_of]
        if not pairs:
            return
        own, theirs = (np.array(side) for side in zip(*pairs, strict=True))
        for kind, columns in self.columns.items():
            for name, values in columns.items():
                values[own] = older.columns[kind][name][theirs]
            self.at[kind][own] = older.at[kind][theirs]

    def update(self, event_type: str, symbols: Sequence[str], values: Mapping[str, Floats], received: int) -> None:
        """Take the events of one frame, oldest first; `received` in epoch nanoseconds."""
        kind = EVENT_TYPES[event_type]
        rows = np.array([self.row_of.get(symbol, -1) for symbol in symbols])
        known = rows >= 0
        rows = rows[known]
        for name, column in self.columns[kind].items():
            column[rows] = values[_FIELD_OF[name]][known]
        times = [np.nan_to_num(values[name][known]) for name in _TIMES[kind]]
        at = np.maximum.reduce(times) * 1e6 if times else np.zeros(len(rows))
        self.at[kind][rows] = np.where(at > 0, at, received).astype(np.int64)
        self.conflated += int(self.dirty[kind][rows].sum())
        self.dirty[kind][rows] = True

    def take(self, underlying_symbol: str, kind: ColumnKind, now: int, *, full: bool = False) -> ColumnBatch | None:
        """What changed since the last call (with `full`: everything known), or None. `now` in epoch nanoseconds."""
        span = self.slices[underlying_symbol]
        if full:
            found = self.everything(underlying_symbol, kind, now)
        else:
            found = self._batch(underlying_symbol, kind, np.nonzero(self.dirty[kind][span])[0], now, full=False)
        self.dirty[kind][span] = False
        return found

    def everything(self, underlying_symbol: str, kind: ColumnKind, now: int) -> ColumnBatch | None:
        """Every value known; what changed stays to be taken."""
        rows = np.nonzero(self.at[kind][self.slices[underlying_symbol]] > 0)[0]
        return self._batch(underlying_symbol, kind, rows, now, full=True)

    def _batch(
        self, underlying_symbol: str, kind: ColumnKind, rows: npt.NDArray[np.intp], now: int, *, full: bool
    ) -> ColumnBatch | None:
        if not len(rows):
            return None
        span = self.slices[underlying_symbol]
        columns: dict[str, Column] = {"row": rows.astype(np.uint32), "ts_event": self.at[kind][span][rows]}
        columns |= {name: values[span][rows] for name, values in self.columns[kind].items()}
        return ColumnBatch(kind, self.chains[underlying_symbol].revision, now, columns, full)

    def streamer_symbols(self) -> list[str]:
        return list(self.row_of)


def market_metrics(row: Mapping[str, Any], now: datetime, today: date) -> MarketMetrics:
    """Read the broker's metrics of one underlying; what is absent or unreadable stays None. KeyError without symbol."""
    earnings, cap = row.get("earnings") or {}, row.get("market-cap")
    expected = _date(earnings.get("expected-report-date")) if isinstance(earnings, Mapping) else None
    hv = _number(row.get("historical-volatility-30-day"))
    rating = _number(row.get("liquidity-rating"))
    return MarketMetrics(
        ts_event=now,
        underlying_symbol=str(row["symbol"]),
        iv_index=_number(row.get("implied-volatility-index")),
        iv_rank=_number(row.get("implied-volatility-index-rank") or row.get("tos-implied-volatility-index-rank")),
        iv_percentile=_number(row.get("implied-volatility-percentile")),
        historical_volatility_30d=hv / 100 if hv is not None else None,
        beta=_number(row.get("beta")),
        correlation_spy_3m=_number(row.get("corr-spy-3month")),
        liquidity_rating=int(rating) if rating is not None else None,
        dividend_yield=_number(row.get("dividend-yield")),
        dividend_ex_date=_date(row.get("dividend-ex-date")),
        earnings_date=expected if expected is not None and expected >= today else None,
        market_cap=Decimal(str(cap)) if _number(cap) is not None else None,
        sector=str(row["sector"]) if row.get("sector") else None,
    )


def market_session(
    state: str, opens_at: datetime | None, closes_at: datetime | None, now: datetime, today: date
) -> MarketSession:
    """The session as the broker names it. Raises KeyError for a state that is not known: it is never guessed."""
    return MarketSession(ts_event=now, phase=_PHASES[state], opens_at=opens_at, closes_at=closes_at, market_date=today)


def _number(value: object) -> float | None:
    try:
        found = float(Decimal(str(value)))
    except InvalidOperation:
        return None
    return found if np.isfinite(found) else None


def _date(value: object) -> date | None:
    try:
        return datetime.fromisoformat(str(value)[:10]).date()
    except ValueError:
        return None

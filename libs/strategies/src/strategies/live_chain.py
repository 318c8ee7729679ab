"""Chains as they stream: `LiveMarket` holds the newest columns of every underlying for the service that reads them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from optionmath.sessions import days_to_expiration, years_to_expiration
from schemas.columns import COLUMNS, ColumnBatch, ColumnKind
from schemas.market import OptionChain
from schemas.money import price_from_float
from schemas.symbols import OptionType, parse_occ
from strategies.chain import ChainSnapshot, Facts, Floats

RATE = 0.04
"""Risk-free rate, fraction a year, until a curve is supplied."""


@dataclass(frozen=True, slots=True)
class LegQuote:
    """One instrument's book. Dollars per share."""

    bid: Decimal
    ask: Decimal
    at: datetime

    @property
    def mid(self) -> Decimal:
        return (self.bid + self.ask) / 2

    @property
    def usable(self) -> bool:
        """Two-sided, positive and not crossed or locked."""
        return 0 < self.bid < self.ask


class LiveChain:
    """Newest columns of one underlying; row 0 is the underlying, row i the chain's contract i - 1. NaN = missing."""

    def __init__(self, chain: OptionChain) -> None:
        self.chain = chain
        options = [parse_occ(symbol) for symbol in chain.occ_symbols]
        count = len(options) + 1
        self.row_of = {symbol: row for row, symbol in enumerate(chain.occ_symbols, 1)}
        self.expiration = np.array([option.expiration for option in options], dtype="datetime64[D]")
        self.strike = np.array([float(option.strike) for option in options])
        self.is_call = np.array([option.option_type is OptionType.CALL for option in options], dtype=bool)
        names = {name for layout in COLUMNS.values() for name, _ in layout} - {"row", "ts_event"}
        self.column: dict[str, Floats] = {name: np.full(count, np.nan) for name in names}
        self.at: dict[ColumnKind, npt.NDArray[np.int64]] = {kind: np.zeros(count, np.int64) for kind in ColumnKind}
        self._emitted = {kind: np.zeros(count, np.int64) for kind in ColumnKind}

    def apply(self, batch: ColumnBatch) -> bool:
        """Take a batch, but no row that a later batch has set; False when it is of another revision or names no row."""
        rows = batch.columns["row"]
        if batch.revision != self.chain.revision or (len(rows) and int(rows.max()) >= len(self.chain.occ_symbols) + 1):
            return False
        # a batch from the cache may be older than what has streamed in since
        current = batch.ts_emit >= self._emitted[batch.kind][rows]
        rows = rows[current]
        self._emitted[batch.kind][rows] = batch.ts_emit
        for name, values in batch.columns.items():
            if name == "ts_event":
                self.at[batch.kind][rows] = np.where(values > 0, values, batch.ts_emit)[current]
            elif name != "row":
                self.column[name][rows] = values[current]
        return True

    @property
    def spot(self) -> float:
        """Mid of the underlying, else its last trade; NaN when neither is known."""
        bid, ask = float(self.column["bid"][0]), float(self.column["ask"][0])
        return (bid + ask) / 2 if 0 < bid <= ask else float(self.column["last"][0])

    @property
    def quoted_share(self) -> float:
        """Share of the contracts that have been quoted at all, 0-1."""
        return float((self.at[ColumnKind.QUOTE][1:] > 0).mean()) if len(self.strike) else 0.0

    def quote(self, occ_symbol: str = "") -> LegQuote | None:
        """Book of a contract, or of the underlying without a symbol; None when it was never quoted on both sides."""
        row = self.row_of.get(occ_symbol) if occ_symbol else 0
        if row is None:
            return None
        bid, ask, at = self.column["bid"][row], self.column["ask"][row], int(self.at[ColumnKind.QUOTE][row])
        if not at or not np.isfinite(bid) or not np.isfinite(ask):
            return None
        return LegQuote(price_from_float(float(bid)), price_from_float(float(ask)), instant(at))

    def greek(self, name: str, occ_symbol: str) -> float | None:
        """Per-share greek of a contract; None when unknown."""
        row = self.row_of.get(occ_symbol)
        value = float(self.column[name][row]) if row is not None else float("nan")
        return value if np.isfinite(value) else None

    def snapshot(self, now: datetime, facts: Facts, market_time: datetime | None = None) -> ChainSnapshot:
        """Copy of the contracts' columns at this instant; expirations are counted from `market_time`, default `now`."""
        quoted = self.at[ColumnKind.QUOTE][1:]
        age = np.where(quoted > 0, (now.timestamp() * 1e9 - quoted) / 1e9, np.nan)
        at = market_time or now
        days: dict[date, tuple[int, float]] = {}
        for each in np.unique(self.expiration):
            day = each.item()
            days[day] = (days_to_expiration(at, day), years_to_expiration(at, day))
        own = [days[day] for day in self.expiration.tolist()]
        columns = {name: values[1:].copy() for name, values in self.column.items()}
        return ChainSnapshot(
            underlying_symbol=self.chain.underlying_symbol,
            spot=self.spot,
            rate=RATE,
            occ_symbols=self.chain.occ_symbols,
            expiration=self.expiration,
            dte=np.array([dte for dte, _ in own], dtype=np.int64),
            years=np.array([years for _, years in own]),
            strike=self.strike,
            is_call=self.is_call,
            bid=columns["bid"],
            ask=columns["ask"],
            delta=columns["delta"],
            gamma=columns["gamma"],
            theta=columns["theta"],
            vega=columns["vega"],
            open_interest=columns["open_interest"],
            volume=columns["day_volume"],
            quote_age_seconds=np.asarray(np.maximum(age, 0.0)),
            facts=facts,
            multiplier=self.chain.multiplier,
            iv=columns["iv"],
            penny_ticks=all(each.value == Decimal("0.01") for each in self.chain.tick_sizes),
        )


@dataclass(slots=True)
class LiveMarket:
    """Every underlying a service reads."""

    chains: dict[str, LiveChain] = field(default_factory=dict)
    dropped_batches: int = 0
    """Batches of another revision; the next full batch brings the values again."""

    def set_chain(self, chain: OptionChain) -> bool:
        """Take a chain; values of an older revision are forgotten. False when it is the one already held."""
        held = self.chains.get(chain.underlying_symbol)
        if held is not None and held.chain.revision == chain.revision:
            return False
        self.chains[chain.underlying_symbol] = LiveChain(chain)
        return True

    def apply(self, underlying_symbol: str, batch: ColumnBatch) -> None:
        """Take a column batch."""
        chain = self.chains.get(underlying_symbol)
        if chain is None or not chain.apply(batch):
            self.dropped_batches += 1

    def quote(self, occ_symbol: str) -> LegQuote | None:
        """Book of a contract of any chain."""
        chain = self.chain_of(occ_symbol)
        return chain.quote(occ_symbol) if chain else None

    def chain_of(self, occ_symbol: str) -> LiveChain | None:
        """The chain that lists a contract: its root's, else whichever lists it."""
        own = self.chains.get(occ_symbol[:6].rstrip())
        if own is not None and occ_symbol in own.row_of:
            return own
        return next((chain for chain in self.chains.values() if occ_symbol in chain.row_of), None)

    def net_book(self, legs: Iterable[tuple[str, int]]) -> NetBook | None:
        """Net mid and natural of legs (OCC symbol, signed contracts per unit); None unless every leg is usable."""
        mid, natural, oldest = Decimal(0), Decimal(0), None
        for symbol, quantity in legs:
            quote = self.quote(symbol)
            if quote is None or not quote.usable:
                return None
            mid -= quantity * quote.mid
            natural -= quantity * (quote.ask if quantity > 0 else quote.bid)
            oldest = quote.at if oldest is None else min(oldest, quote.at)
        return NetBook(mid, natural, oldest) if oldest else None


@dataclass(frozen=True, slots=True)
class NetBook:
    """Of a structure, $ per share, credit positive."""

    mid: Decimal
    natural: Decimal
    oldest_quote_at: datetime


def instant(nanoseconds: int) -> datetime:
    """Epoch nanoseconds as aware UTC."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)

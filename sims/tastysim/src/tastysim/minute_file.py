"""Read a day of minute bars: the best bid and ask of each contract at the end of each minute, trades, open interest.

Columns of the quotes: symbol, ts (start of the minute, New York unless it has a zone), expiry, right (C or P), strike,
bid_c, ask_c and, where known, bid_size, ask_size and underlying_price. A side that is empty is not known. Trades are
looked for in the file whose name says `trade` for `quote` (symbol, ts, expiry, right, strike, open, high, low, close,
volume), open interest in `daily_openinterest` beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.symbols import OptionSymbol, OptionType, SymbolError
from strategies.chainfile import ChainFileError
from tastysim.market import Floats

KEY = ["symbol", "expiry", "right", "strike"]
REQUIRED = ("symbol", "ts", "expiry", "right", "strike", "bid_c", "ask_c")
TRADED = ("open", "high", "low", "close", "volume")
SYNONYMS = {
    "symbol": "underlying", "expiry": "expiration", "right": "option_type", "bid_c": "bid", "ask_c": "ask",
    "underlying_price": "spot",
}  # fmt: skip
"""Column → another name under which it is accepted."""
MINUTE = 60
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of a day, oldest first. `end`: epoch seconds at which a bar is complete; `contract`: index in `options`."""

    end: Ints
    contract: Ints
    columns: dict[str, Floats]


@dataclass(frozen=True, slots=True)
class Day:
    """What is recorded of one day."""

    session: date
    options: list[tuple[str, OptionSymbol]]
    """Underlying and contract."""
    quotes: Bars
    trades: Bars | None
    """None without a file of trades, or when it has none of this day."""
    open_interest: Floats
    """One for each of `options`; NaN = not known."""


class MinuteFile:
    """A file of minute quotes; nothing but its list of days is kept."""

    def __init__(self, path: Path, underlyings: Sequence[str] = ()) -> None:
        self.path = path
        self._quotes = _scan(path, REQUIRED)
        if underlyings:
            self._quotes = self._quotes.filter(pl.col("symbol").is_in(list(underlyings)))
        found = self._quotes.select("symbol", pl.col("ts").dt.date().alias("day")).unique().collect()
        if found.is_empty():
            names = ", ".join(
                sorted(_scan(path, REQUIRED).select("symbol").unique().collect()["symbol"].to_list())[:40]
            )
            raise ChainFileError(f"{path} has no quotes of {', '.join(underlyings) or 'anything'}: it has {names}")
        self.sessions: list[date] = sorted(found["day"].unique().to_list())

    def day(self, session: date) -> Day:
        """Everything recorded of a day. Raises ChainFileError."""
        quotes = _of_day(self._quotes, session).filter(pl.col("expiry") >= session)
        kept = [name for name in ("bid_size", "ask_size", "underlying_price") if name in quotes.collect_schema()]
        bars = quotes.select(*KEY, "ts", "bid_c", "ask_c", *kept).collect()
        contracts = bars.select(KEY).unique().sort(KEY).with_row_index("contract")
        if contracts.is_empty():
            raise ChainFileError(f"{self.path} has no unexpired contract on {session}")
        sizes = [name for name in ("bid_size", "ask_size") if name in kept]
        found = _bars(bars, contracts, ["bid_c", "ask_c", *sizes, *(n for n in kept if n not in sizes)])
        return Day(session, _options(contracts, self.path), found, *self._beside(session, contracts))

    def _beside(self, session: date, contracts: pl.DataFrame) -> tuple[Bars | None, Floats]:
        trades, interest = None, np.full(len(contracts), np.nan)
        other = self.path.with_name(self.path.name.replace("quote", "trade"))
        if other != self.path and other.is_file():
            found = _of_day(_scan(other, (*REQUIRED[:5], *TRADED)), session)
            bars = _bars(found.select(*KEY, "ts", *TRADED).collect(), contracts, TRADED)
            trades = bars if len(bars.end) else None
        other = self.path.with_name(f"daily_openinterest{self.path.suffix}")
        if other.is_file():
            found = _of_day(_scan(other, (*REQUIRED[:5], "open_interest")), session)
            known = found.select(*KEY, "open_interest").collect().unique(KEY)
            joined = contracts.join(known, on=KEY, how="left", maintain_order="left")
            interest = joined["open_interest"].cast(pl.Float64).fill_null(np.nan).to_numpy().copy()
        return trades, interest


def _scan(path: Path, required: Sequence[str]) -> pl.LazyFrame:
    try:
        frame = pl.scan_csv(path, try_parse_dates=True) if path.suffix == ".csv" else pl.scan_parquet(path)
        schema = frame.collect_schema()
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0]
        raise ChainFileError(f"{path} is not a readable Parquet or CSV file: {reason}") from None
    names = {other: name for name, other in SYNONYMS.items() if name not in schema and other in schema}
    missing = [name for name in required if name not in schema and name not in names.values()]
    if missing:
        words = " or ".join(repr(name) for name in missing)
        raise ChainFileError(f"{path} has no column {words}: it has {', '.join(schema)}")
    if not isinstance(schema["ts"], pl.Datetime):
        raise ChainFileError(f"{path}: ts is {schema['ts']}, expected a date-time at the start of each minute")
    if schema["ts"].time_zone is not None:
        frame = frame.with_columns(pl.col("ts").dt.convert_time_zone("America/New_York").dt.replace_time_zone(None))
    return frame.rename(names).with_columns(
        pl.col("strike").cast(pl.Float64).round(3), pl.col("right").cast(pl.String).str.to_uppercase().str.slice(0, 1)
    )


def _of_day(frame: pl.LazyFrame, session: date) -> pl.LazyFrame:
    first = datetime.combine(session, time())
    return frame.filter(pl.col("ts") >= first, pl.col("ts") < first + timedelta(days=1))


def _bars(frame: pl.DataFrame, contracts: pl.DataFrame, names: Sequence[str]) -> Bars:
    at = pl.col("ts").dt.replace_time_zone("America/New_York", ambiguous="earliest", non_existent="null").dt.epoch("s")
    found = (
        frame.join(contracts, on=KEY)
        .with_columns((at + MINUTE).alias("end"))
        .drop_nulls("end")
        .sort("end", "contract")
        .select("end", "contract", *(pl.col(name).cast(pl.Float64).round(4).fill_null(np.nan) for name in names))
    )
    columns = {name: found[name].to_numpy() for name in names}
    return Bars(found["end"].cast(pl.Int64).to_numpy(), found["contract"].cast(pl.Int64).to_numpy(), columns)


def _options(contracts: pl.DataFrame, path: Path) -> list[tuple[str, OptionSymbol]]:
    found = []
    for _, symbol, expiry, right, strike in contracts.iter_rows():
        try:
            found.append((symbol, OptionSymbol(symbol, expiry, OptionType(right), Decimal(str(strike)))))
        except (SymbolError, ValueError) as error:
            raise ChainFileError(f"{path}: {symbol} {expiry} {right} {strike}: {error}") from None
    return found

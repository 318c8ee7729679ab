"""Read recorded chains from Parquet or CSV. The columns are documented in this library's README."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl

from optionmath.blackscholes import greeks, implied_volatility
from optionmath.sessions import closes_at, years_to_expiration
from schemas.symbols import OptionSymbol, OptionType, SymbolError
from strategies.chain import ChainSnapshot, Facts, Floats
from strategies.scan import smile_of

REQUIRED = ("session", "underlying", "expiration", "option_type", "strike", "bid", "ask")
OPTIONAL = ("root", "spot", "volume", "open_interest", "delta", "gamma", "theta", "vega", "quote_age_seconds")
SYNONYMS = {
    "session": ("date", "quote_date"),
    "expiration": ("expiry",),
    "option_type": ("right", "type"),
    "spot": ("underlying_price",),
}
"""Other names under which a column is accepted. A file whose `underlying` is numeric names the symbol in `symbol`."""


class ChainFileError(ValueError):
    """A chain file that cannot be used; the text names the column, the row and the value."""


def read(path: Path) -> pl.DataFrame:
    """Read a chain file into the documented columns, with its row numbers (first row 1). Raises ChainFileError."""
    try:
        frame = pl.read_csv(path, infer_schema_length=10_000) if path.suffix == ".csv" else pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ChainFileError(f"{path} is not a readable Parquet or CSV file: {str(error).splitlines()[0]}") from None
    frame = _rename(frame).with_row_index("row", offset=1)
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise ChainFileError(
            f"{path} has no column {' or '.join(repr(name) for name in missing)}: "
            f"it has {', '.join(frame.columns[1:])}; needed are {', '.join(REQUIRED)}"
        )
    numbers = [name for name in ("strike", "bid", "ask", *OPTIONAL[1:]) if name in frame.columns]
    frame = _numbers(_dates(frame, path), numbers, path)
    kinds = frame["option_type"].cast(pl.String).str.to_uppercase().str.slice(0, 1)
    frame = frame.with_columns(kinds.alias("option_type"))
    _refuse(frame.filter(~pl.col("option_type").is_in(["C", "P"])), "option_type", "C or P", path)
    _refuse(frame.filter(~(pl.col("strike") > 0) | pl.col("strike").is_nan()), "strike", "a number above 0", path)
    return frame


def sessions(frame: pl.DataFrame) -> list[date]:
    """Session dates of a file, oldest first."""
    return sorted(frame["session"].unique().to_list())


def snapshots(
    frame: pl.DataFrame,
    session: date,
    underlyings: Sequence[str] = (),
    facts: Mapping[str, Facts] | None = None,
    *,
    rate: float = 0.04,
) -> Iterator[ChainSnapshot]:
    """One snapshot per underlying and root of a session, as of its close: AM- and PM-settled roots never mix.

    Raises ChainFileError when there is nothing.
    """
    now = closes_at(session)
    if now is None:
        raise ChainFileError(f"{session} is not a trading session: choose one of the file's sessions")
    chosen = frame.filter(pl.col("session") == session, pl.col("expiration") >= session)
    if underlyings:
        chosen = chosen.filter(pl.col("underlying").is_in(list(underlyings)))
    if chosen.is_empty():
        available = ", ".join(str(each) for each in sessions(frame)[-12:])
        names = ", ".join(sorted(frame["underlying"].unique().to_list())[:40])
        raise ChainFileError(
            f"no rows for session {session} and {list(underlyings) or 'all'}: has {available}; {names}"
        )
    if "root" not in chosen.columns:
        chosen = chosen.with_columns(pl.col("underlying").alias("root"))
    for (name, _), rows in sorted(chosen.partition_by("underlying", "root", as_dict=True).items()):
        ordered = rows.sort("expiration", "strike", "option_type")
        yield _snapshot(str(name), ordered, now, (facts or {}).get(str(name), Facts()), rate)


def read_facts(path: Path) -> dict[str, Facts]:
    """Facts beside the chains, from CSV.

    Columns: underlying, and any of sector, beta, iv_rank, historical_volatility, earnings_date.
    """
    frame = pl.read_csv(path, try_parse_dates=True)
    if "underlying" not in frame.columns:
        raise ChainFileError(f"{path} has no column 'underlying': it has {', '.join(frame.columns)}")
    known = {"sector", "beta", "iv_rank", "historical_volatility", "earnings_date"}
    if unknown := set(frame.columns) - known - {"underlying"}:
        raise ChainFileError(f"{path} has unknown columns {sorted(unknown)}: known are {sorted(known)}")
    found = {}
    for row in frame.iter_rows(named=True):
        name = str(row.pop("underlying"))
        found[name] = Facts(**{key: value for key, value in row.items() if value is not None})
    return found


def _rename(frame: pl.DataFrame) -> pl.DataFrame:
    if "symbol" in frame.columns and "underlying" in frame.columns and frame["underlying"].dtype.is_numeric():
        frame = frame.rename({"underlying": "spot", "symbol": "underlying"})
    renames: dict[str, str] = {}
    for name, others in SYNONYMS.items():
        if name not in frame.columns:
            renames |= {other: name for other in others if other in frame.columns}
    return frame.rename(renames)


def _dates(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    for name in ("session", "expiration"):
        parsed = frame[name] if frame[name].dtype == pl.Date else frame[name].cast(pl.String).str.to_date(strict=False)
        _refuse(frame.filter(parsed.is_null()), name, "a date as YYYY-MM-DD", path)
        frame = frame.with_columns(parsed.alias(name))
    return frame


def _numbers(frame: pl.DataFrame, names: Sequence[str], path: Path) -> pl.DataFrame:
    for name in names:
        parsed = frame[name].cast(pl.Float64, strict=False)
        _refuse(frame.filter(parsed.is_null() & frame[name].is_not_null()), name, "a number", path)
        frame = frame.with_columns(parsed.alias(name))
    return frame


def _refuse(bad: pl.DataFrame, column: str, expected: str, path: Path) -> None:
    if not bad.is_empty():
        first = bad.row(0, named=True)
        raise ChainFileError(
            f"{path}, row {first['row']}: {column} is {first[column]!r}, expected {expected} ({len(bad)} such rows)"
        )


def _column(rows: pl.DataFrame, name: str) -> Floats:
    if name not in rows.columns:
        return np.full(len(rows), np.nan)
    return rows[name].cast(pl.Float64).to_numpy().astype(np.float64)


def _snapshot(name: str, rows: pl.DataFrame, now: datetime, facts: Facts, rate: float) -> ChainSnapshot:
    expirations = rows["expiration"].to_list()
    years_of = {day: years_to_expiration(now, day) for day in set(expirations)}
    strike = np.round(_column(rows, "strike"), 3)
    bid, ask = np.round(_column(rows, "bid"), 4), np.round(_column(rows, "ask"), 4)
    quotes = np.concatenate([bid[bid > 0], ask[ask > 0]])
    below_three = quotes[quotes < 3]
    penny = bool(np.any(np.abs(below_three * 20 - np.round(below_three * 20)) > 1e-6))
    age = _column(rows, "quote_age_seconds") if "quote_age_seconds" in rows.columns else np.zeros(len(rows))
    chain = ChainSnapshot(
        name,
        _spot(rows),
        rate,
        _occ_symbols(rows, strike),
        np.array(expirations, dtype="datetime64[D]"),
        np.array([(day - now.date()).days for day in expirations], dtype=np.int64),
        np.array([years_of[day] for day in expirations]),
        strike,
        (rows["option_type"] == "C").to_numpy(),
        bid,
        ask,
        _column(rows, "delta"),
        _column(rows, "gamma"),
        _column(rows, "theta"),
        _column(rows, "vega"),
        _column(rows, "open_interest"),
        _column(rows, "volume"),
        age,
        facts,
        penny_ticks=penny,
    )
    return _with_greeks(chain)


def _spot(rows: pl.DataFrame) -> float:
    """The recorded price of the underlying, else parity at the strike where call and put are closest in price."""
    recorded = _column(rows, "spot")
    if np.isfinite(recorded).any():
        return float(np.nanmedian(recorded))
    pairs = rows.filter(pl.col("bid") > 0, pl.col("ask") > pl.col("bid")).with_columns(
        ((pl.col("bid") + pl.col("ask")) / 2).alias("mid")
    )
    pairs = pairs.pivot(on="option_type", index=["expiration", "strike"], values="mid", aggregate_function="first")
    if not {"C", "P"} <= set(pairs.columns):
        return float("nan")
    pairs = pairs.drop_nulls(["C", "P"]).with_columns((pl.col("C") - pl.col("P")).abs().alias("gap"))
    if pairs.is_empty():
        return float("nan")
    nearest = pairs.filter(pl.col("expiration") == pairs["expiration"].min()).sort("gap").row(0, named=True)
    return float(nearest["strike"]) + float(nearest["C"]) - float(nearest["P"])


def _occ_symbols(rows: pl.DataFrame, strike: Floats) -> list[str]:
    symbols = []
    for root, day, kind, level, row in zip(
        rows["root"], rows["expiration"], rows["option_type"], strike, rows["row"], strict=True
    ):
        try:
            symbols.append(OptionSymbol(root, day, OptionType(kind), Decimal(str(float(level)))).occ)
        except SymbolError as error:
            raise ChainFileError(f"row {row}: {error}") from None
    return symbols


def _with_greeks(chain: ChainSnapshot) -> ChainSnapshot:
    """Fill greeks that the file does not have from each contract's own implied volatility around the parity forward."""
    if np.isfinite(chain.delta[chain.usable]).all():
        return chain
    spot = np.full(len(chain.strike), chain.spot)
    for expiration in np.unique(chain.expiration):
        rows = np.nonzero(chain.expiration == expiration)[0]
        if (smile := smile_of(chain, rows)) is not None:
            spot[rows] = smile.forward * np.exp(-chain.rate * smile.years)
    sigma, _ = implied_volatility(chain.mid, spot, chain.strike, chain.years, chain.rate, 0.0, chain.is_call)
    own = greeks(spot, chain.strike, chain.years, sigma, chain.rate, 0.0, chain.is_call)
    return replace(
        chain,
        delta=np.where(np.isfinite(chain.delta), chain.delta, own.delta),
        gamma=np.where(np.isfinite(chain.gamma), chain.gamma, own.gamma),
        theta=np.where(np.isfinite(chain.theta), chain.theta, own.theta),
        vega=np.where(np.isfinite(chain.vega), chain.vega, own.vega),
    )

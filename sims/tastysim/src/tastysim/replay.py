"""A market from recorded chains: one session's book as it was recorded, at that session's own time.

Nothing is invented: a value the file does not have is NaN, and no quote moves. The clock starts a minute before the
close and runs on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np

from optionmath.blackscholes import Greeks, implied_volatility
from optionmath.sessions import closes_at, expires_at
from schemas.symbols import OptionSymbol, OptionType, parse_occ
from strategies.chain import ChainSnapshot
from strategies.chainfile import ChainFileError, read, sessions, snapshots
from tastysim.corporate_events import CorporateEvents
from tastysim.market import Floats, Listed

_SIZE = 10.0
"""Contracts shown where the file has no sizes: the least that every order of a test account can trade against."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A file, and which of its sessions."""

    path: Path
    session: date | None = None

    @classmethod
    def parse(cls, text: str) -> Recording:
        """Read `replay:FILE` or `replay:FILE@YYYY-MM-DD`. Raises ChainFileError."""
        name = text.removeprefix("replay:")
        path, _, day = name.rpartition("@") if "@" in name else (name, "", "")
        try:
            return cls(Path(path), date.fromisoformat(day) if day else None)
        except ValueError:
            raise ChainFileError(f"{text}: {day!r} is not a date; write replay:FILE@YYYY-MM-DD") from None


class ReplayMarket:
    """The columns of a recorded session, with the same meaning as those of the model's market."""

    def __init__(self, recording: Recording) -> None:
        frame = read(recording.path)
        session = recording.session or sessions(frame)[-1]
        chains = _one_root_each(list(snapshots(frame, session)))
        closing = closes_at(session)
        if closing is None:
            raise ChainFileError(f"{session} is not a trading session")
        self.now = closing - timedelta(minutes=1)
        self.session = session
        self.listed = tuple(Listed(each.underlying_symbol, "", each.spot, 0, 0, "Unknown", 0) for each in chains)
        self.spot = np.array([each.spot for each in chains])
        self.previous_close = np.full(len(chains), np.nan)
        self.volatility = np.full(len(chains), np.nan)
        self.day_volume = np.full(len(chains), np.nan)
        self._take(chains)
        self.steps = 0
        self.listing = 0
        self.is_open = True

    def _take(self, chains: list[ChainSnapshot]) -> None:
        self.rows: dict[str, slice] = {}
        recorded = [[parse_occ(symbol) for symbol in each.occ_symbols] for each in chains]
        absent = [_absent(options) for options in recorded]
        start = 0
        for each, missing in zip(chains, absent, strict=True):
            self.rows[each.underlying_symbol] = slice(start, start + len(each.strike) + len(missing))
            start += len(each.strike) + len(missing)

        def column(name: str) -> Floats:
            parts = zip(chains, absent, strict=True)
            return np.concatenate([_padded(getattr(each, name), len(missing)) for each, missing in parts])

        self.options = [option for own, missing in zip(recorded, absent, strict=True) for option in (*own, *missing)]
        self.row_of = {option.occ: row for row, option in enumerate(self.options)}
        self.row_of_streamer = {option.streamer: row for row, option in enumerate(self.options)}
        self.strike = np.array([float(option.strike) for option in self.options])
        self.bid, self.ask = column("bid"), column("ask")
        self.open_interest, self.volume = column("open_interest"), column("volume")
        self.theoretical = column("mid")
        known = np.isfinite(self.bid) & np.isfinite(self.ask)
        self.bid_size = np.where(known, _SIZE, np.nan)
        self.ask_size = self.bid_size.copy()
        self.iv = np.concatenate(
            [_padded(_volatility(each), len(missing)) for each, missing in zip(chains, absent, strict=True)]
        )
        self.greeks = Greeks(
            column("delta"), column("gamma"), column("theta"), column("vega"), np.full(len(self.strike), np.nan)
        )
        self.quoted_at = np.zeros(len(self.strike), dtype=np.int64)
        self.traded_at = np.zeros(len(self.strike), dtype=np.int64)

    def step(self, seconds: float) -> None:
        """Let market time pass; the book stays as recorded."""
        self.steps += 1
        self.now += timedelta(seconds=seconds)

    def index_of(self, symbol: str) -> int | None:
        """Index of an underlying by its symbol."""
        return next((i for i, each in enumerate(self.listed) if each.symbol == symbol), None)

    def spot_quote(self, index: int) -> tuple[float, float]:
        """The recorded price a cent either side."""
        middle = float(self.spot[index])
        return round(middle - 0.01, 2), round(middle + 0.01, 2)

    def events(self, first: date, last: date) -> CorporateEvents:
        """The file has none."""
        return CorporateEvents()

    def settlement(self, symbol: str, day: date) -> Decimal | None:
        """The recorded price, on the recorded day."""
        index = self.index_of(symbol)
        if index is None or day != self.session or self.now < expires_at(day):
            return None
        return Decimal(str(round(float(self.spot[index]), 2)))


def _one_root_each(chains: list[ChainSnapshot]) -> list[ChainSnapshot]:
    """The root with the most contracts of each underlying: roots that settle differently are not mixed."""
    best: dict[str, ChainSnapshot] = {}
    for each in chains:
        held = best.get(each.underlying_symbol)
        if each.spot > 0 and (held is None or len(each.strike) > len(held.strike)):
            best[each.underlying_symbol] = each
    if not best:
        raise ChainFileError("no underlying of this session has a price: nothing can be served")
    return [best[name] for name in sorted(best)]


def _absent(options: list[OptionSymbol]) -> list[OptionSymbol]:
    """The call or put of a strike whose other side alone was recorded: an exchange lists both, here without a quote."""
    held = {(each.root_symbol, each.expiration, each.strike, each.option_type) for each in options}
    other = {OptionType.CALL: OptionType.PUT, OptionType.PUT: OptionType.CALL}
    return [
        replace(each, option_type=other[each.option_type])
        for each in options
        if (each.root_symbol, each.expiration, each.strike, other[each.option_type]) not in held
    ]


def _padded(values: Floats, count: int) -> Floats:
    return np.concatenate([values, np.full(count, np.nan)])


def _volatility(chain: ChainSnapshot) -> Floats:
    value, _ = implied_volatility(chain.mid, chain.spot, chain.strike, chain.years, chain.rate, 0.0, chain.is_call)
    return value

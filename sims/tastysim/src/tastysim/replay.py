"""A market from recorded chains: one session's book as it was recorded, or several sessions one after the other.

Nothing is invented: a value the file does not have is NaN, and no quote moves. The clock starts a minute before the
close. With several sessions it jumps, after a step at or past the close, to a minute before the next recorded close:
contracts that are gone leave the listing, new ones enter it. After the last session it runs on.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np

from optionmath.blackscholes import Greeks, implied_volatility
from optionmath.sessions import closes_at, expires_at, previous_session
from schemas.symbols import parse_occ
from strategies.chain import ChainSnapshot
from strategies.chainfile import ChainFileError, read, sessions, snapshots
from tastysim.market import Floats, Listed
from tastysim.outside import OutsideMarket, both_sides, cents, unknown
from tastysim.recording import Recording

_SIZE = 10.0
"""Contracts shown where the file has no sizes: the least that every order of a test account can trade against."""
_BEFORE_CLOSE = timedelta(minutes=1)


class ReplayMarket(OutsideMarket):
    """The columns of the recorded sessions, with the same meaning as those of the model's market."""

    def __init__(self, recording: Recording) -> None:
        self._recording, self._frame = recording, read(recording.path)
        self._later = recording.chosen(sessions(self._frame))
        self._closes: dict[tuple[str, date], float] = {}
        super().__init__(_close(self._later[0]) - _BEFORE_CLOSE)
        self._open()

    def _open(self) -> None:
        """Take the next session's chains and stand a minute before its close."""
        self.session = self._later.pop(0)
        self._closing = _close(self.session)
        found = snapshots(self._frame, self.session, self._recording.underlyings)
        chains = {each.underlying_symbol: each for each in _one_root_each(list(found))}
        own = {name: [parse_occ(symbol) for symbol in each.occ_symbols] for name, each in chains.items()}
        self.relist(
            {name: both_sides(options) for name, options in own.items()},
            {name: _listed(each) for name, each in chains.items()},
        )
        self._take(chains)
        self.now = self._closing - _BEFORE_CLOSE
        self.is_open = True

    def _take(self, chains: dict[str, ChainSnapshot]) -> None:
        names = list(self.rows)

        def column(name: str) -> Floats:
            return np.concatenate([_padded(getattr(chains[each], name), self.rows[each]) for each in names])

        self.bid, self.ask = column("bid"), column("ask")
        self.open_interest, self.volume = column("open_interest"), column("volume")
        self.theoretical = column("mid")
        known = np.isfinite(self.bid) & np.isfinite(self.ask)
        self.bid_size = np.where(known, _SIZE, np.nan)
        self.ask_size = self.bid_size.copy()
        self.iv = np.concatenate([_padded(_volatility(chains[each]), self.rows[each]) for each in names])
        self.greeks = Greeks(
            column("delta"), column("gamma"), column("theta"), column("vega"), np.full(len(self.strike), np.nan)
        )
        before = previous_session(self.session)
        self.previous_close = np.array([self._closes.get((each, before), np.nan) for each in names])
        self.spot = np.array([chains[each].spot for each in names])
        self._closes |= {(each, self.session): chains[each].spot for each in names}

    def step(self, seconds: float) -> None:
        """Let market time pass; the book stays as recorded until the next session's."""
        self.steps += 1
        if self._later and self.now >= self._closing:
            self._open()
            return
        self.now += timedelta(seconds=seconds)
        self.is_open = self.now < self._closing or not self._later

    def settlement(self, symbol: str, day: date) -> Decimal | None:
        """The recorded price, on a recorded day that is over."""
        if self.now < expires_at(day):
            return None
        return cents(self._closes.get((symbol, day), float("nan")))


def _close(session: date) -> datetime:
    found = closes_at(session)
    if found is None:
        raise ChainFileError(f"{session} is not a trading session")
    return found


def _listed(chain: ChainSnapshot) -> Listed:
    return replace(unknown(chain.underlying_symbol), price=chain.spot)


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


def _padded(values: Floats, rows: slice) -> Floats:
    """With NaN for the contracts that are listed and were not recorded."""
    return np.concatenate([values, np.full(rows.stop - rows.start - len(values), np.nan)])


def _volatility(chain: ChainSnapshot) -> Floats:
    value, _ = implied_volatility(chain.mid, chain.spot, chain.strike, chain.years, chain.rate, 0.0, chain.is_call)
    return value

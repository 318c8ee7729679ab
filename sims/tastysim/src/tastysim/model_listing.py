"""Which contracts are listed on a day: cells of an underlying and an expiration, each with its strikes.

Only numbers are kept of a contract: a symbol is put together when it is asked for, and taken apart to find its row.
Rows of an underlying are contiguous; within it by expiration, strike, call before put.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import cached_property
from typing import overload

import numpy as np
import numpy.typing as npt

from optionmath.calendar import daily_expirations, monthly_expirations, weekly_expirations
from optionmath.sessions import expires_at
from schemas.symbols import OptionSymbol, OptionType
from tastysim.counters import Floats, Words, mix, word
from tastysim.listed import Listed, Universe

Integers = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_STREAMER = re.compile(r"\.([A-Z][A-Z0-9]{0,5}?)(\d{6})([CP])(\d{1,5}(?:\.\d{0,2}[1-9])?)")
_DAYS_DAILY = 14
_MILLS = 1000


def expirations(today: date) -> list[date]:
    """Seven weeklies, then the monthlies of half a year; a holiday's contracts expire on the session before."""
    friday = today + timedelta(days=(4 - today.weekday()) % 7)
    weeklies = weekly_expirations(friday + timedelta(days=5), friday + timedelta(weeks=7))
    monthlies = monthly_expirations(friday + timedelta(weeks=7, days=1), friday + timedelta(weeks=26))
    return sorted({*weeklies, *monthlies})


@dataclass(frozen=True, slots=True)
class Cell:
    """Contracts of one underlying and expiration. strikes: thousandths of a dollar, ascending."""

    underlying: int
    expiration: date
    strikes: Integers


class Listing:
    """The contracts of a day. Columns have a row per contract."""

    def __init__(self, listed: Sequence[Listed], cells: Sequence[Cell]) -> None:
        """cells: in the order of underlying and expiration."""
        self.listed, self.cells = tuple(listed), tuple(cells)
        sizes = np.array([2 * len(cell.strikes) for cell in cells], dtype=np.int64)
        self.first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        """First row of each cell, and the number of rows."""
        self.cell = np.repeat(np.arange(len(cells), dtype=np.int32), sizes)
        self.mills = np.repeat(np.concatenate([cell.strikes for cell in cells]), 2).astype(np.int32)
        self.is_call = np.tile(np.array([True, False]), len(self.mills) // 2)
        self.cell_underlying = np.array([cell.underlying for cell in cells], dtype=np.int64)
        ends = {day: int(expires_at(day).timestamp()) for day in {cell.expiration for cell in cells}}
        self.cell_end = np.array([ends[cell.expiration] for cell in cells], dtype=np.int64)
        """Seconds since the epoch at which payoffs are fixed."""
        self.rows: dict[str, slice] = {}
        for index, each in enumerate(listed):
            own = np.nonzero(self.cell_underlying == index)[0]
            if len(own):
                self.rows[each.symbol] = slice(int(self.first[own[0]]), int(self.first[own[-1] + 1]))
        self.at = {(listed[cell.underlying].symbol, f"{cell.expiration:%y%m%d}"): i for i, cell in enumerate(cells)}

    def __len__(self) -> int:
        return len(self.mills)

    @cached_property
    def ids(self) -> Words:
        """A word that names each contract, whatever its row."""
        names = [self.listed[cell.underlying].symbol for cell in self.cells]
        days = [cell.expiration.toordinal() for cell in self.cells]
        keys = [word("contract", name, day) for name, day in zip(names, days, strict=True)]
        return mix(np.array(keys, dtype=np.uint64)[self.cell], self.mills.astype(np.uint64) * 2 + self.is_call)

    @property
    def strike(self) -> Floats:
        return self.mills / _MILLS

    def strike_of(self, rows: Integers) -> Floats:
        """Strikes of some rows, $."""
        return np.asarray(self.mills[rows] / _MILLS)

    def symbol(self, row: int) -> OptionSymbol:
        """Symbol of a row."""
        cell = self.cells[self.cell[row]]
        return OptionSymbol(
            self.listed[cell.underlying].symbol, cell.expiration,
            OptionType.CALL if self.is_call[row] else OptionType.PUT, Decimal(str(int(self.mills[row]) / _MILLS)),
        )  # fmt: skip

    def row(self, root: str, expiration: str, side: str, mills: int) -> int | None:
        """Row of a contract; expiration as YYMMDD."""
        found = self.at.get((root, expiration))
        if found is None:
            return None
        strikes = self.cells[found].strikes
        position = int(np.searchsorted(strikes, mills))
        if position == len(strikes) or strikes[position] != mills:
            return None
        return int(self.first[found]) + 2 * position + (side == "P")

    def row_of_occ(self, symbol: str) -> int | None:
        """Row of an OCC symbol; None for anything that is not listed."""
        if len(symbol) != 21 or symbol[12] not in "CP" or not (symbol[13:].isascii() and symbol[13:].isdigit()):
            return None
        return self.row(symbol[:6].rstrip(), symbol[6:12], symbol[12], int(symbol[13:]))

    def row_of_streamer(self, symbol: str) -> int | None:
        """Row of a feed symbol; None for anything that is not listed."""
        found = _STREAMER.fullmatch(symbol)
        if found is None:
            return None
        whole, _, part = found[4].partition(".")
        return self.row(found[1], found[2], found[3], int(whole) * _MILLS + int(part.ljust(3, "0")))


class Options(Sequence[OptionSymbol]):
    """The symbol of every row, made when it is asked for."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    def __len__(self) -> int:
        return len(self._listing)

    @overload
    def __getitem__(self, row: int) -> OptionSymbol: ...
    @overload
    def __getitem__(self, row: slice) -> list[OptionSymbol]: ...
    def __getitem__(self, row: int | slice) -> OptionSymbol | list[OptionSymbol]:
        if isinstance(row, slice):
            return [self._listing.symbol(each) for each in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        return self._listing.symbol(row % len(self))


class Rows(Mapping[str, int]):
    """Row of every symbol, found by taking the symbol apart."""

    def __init__(self, listing: Listing, *, streamer: bool) -> None:
        self._listing, self._streamer = listing, streamer
        self._find = listing.row_of_streamer if streamer else listing.row_of_occ
        self._asked: dict[str, int] = {}
        """What was found before: the same few symbols are asked for again and again."""

    def __getitem__(self, symbol: str) -> int:
        row = self._asked.get(symbol)
        if row is None:
            row = self._find(symbol)
            if row is None:
                raise KeyError(symbol)
            self._asked[symbol] = row
        return row

    def __contains__(self, symbol: object) -> bool:
        return isinstance(symbol, str) and (symbol in self._asked or self._find(symbol) is not None)

    def __iter__(self) -> Iterator[str]:
        for each in Options(self._listing):
            yield each.streamer if self._streamer else each.occ

    def __len__(self) -> int:
        return len(self._listing)


class Expirations(Sequence[date]):
    """Expiration of every row."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    def __len__(self) -> int:
        return len(self._listing)

    @overload
    def __getitem__(self, row: int) -> date: ...
    @overload
    def __getitem__(self, row: slice) -> list[date]: ...
    def __getitem__(self, row: int | slice) -> date | list[date]:
        cells, cell = self._listing.cells, self._listing.cell
        if isinstance(row, slice):
            return [cells[each].expiration for each in cell[row]]
        return cells[int(cell[row])].expiration


def first_listing(universe: Universe, today: date, spot: Floats) -> Listing:
    """The contracts of the first day."""
    return rolled(None, universe, universe.listed, today, spot)


def rolled(
    before: Listing | None, universe: Universe, listed: Sequence[Listed], today: date, spot: Floats,
    splits: Mapping[int, tuple[int, int]] | None = None,
) -> Listing:  # fmt: skip
    """The contracts of a day: expired ones gone, new expirations and new strikes around the price there.

    splits: new and old shares by underlying; strikes of a split's standard contracts are divided.
    """
    held: dict[int, dict[date, Integers]] = {}
    for cell in before.cells if before is not None else ():
        if cell.expiration >= today:
            new, old = (splits or {}).get(cell.underlying, (1, 1))
            strikes = cell.strikes if new == old else np.unique(cell.strikes * old // new)
            held.setdefault(cell.underlying, {})[cell.expiration] = strikes
    usual, daily = expirations(today), _daily(today) if universe.daily else []
    found = []
    for index, each in enumerate(listed):
        own = held.get(index, {})
        grid = _grid(float(spot[index]), each.step, universe.strikes)
        days = {*own, *usual, *(daily if each.tier == 0 else ())}
        for day in sorted(days):
            strikes = own.get(day, grid)
            if not _covered(strikes, grid):
                strikes = np.union1d(strikes, grid)
            found.append(Cell(index, day, strikes.astype(np.int64)))
    return Listing(listed, found)


def _covered(strikes: Integers, grid: Integers) -> bool:
    """Whether strikes reach three quarters of the way to both ends of the grid around today's price."""
    room = len(grid) // 8
    return bool(strikes[0] <= grid[room] and strikes[-1] >= grid[-1 - room])


def _daily(today: date) -> list[date]:
    return daily_expirations(today, today + timedelta(days=_DAYS_DAILY))


def _grid(price: float, step: float, count: int) -> Integers:
    """Strikes around a price, thousandths of a dollar; only positive ones."""
    middle, distance = round(price / step), round(step * _MILLS)
    first = middle - count // 2
    return np.array([each * distance for each in range(first, first + count) if each > 0], dtype=np.int64)


def kept_rows(before: Listing, after: Listing, splits: Mapping[int, tuple[int, int]]) -> tuple[Integers, Integers]:
    """Rows of the same contracts in two listings that follow each other."""
    old_rows, new_rows = [], []
    for number, cell in enumerate(before.cells):
        other = after.at.get((before.listed[cell.underlying].symbol, f"{cell.expiration:%y%m%d}"))
        if other is None:
            continue
        new, old = splits.get(cell.underlying, (1, 1))
        strikes = cell.strikes * old // new
        position = np.searchsorted(after.cells[other].strikes, strikes)
        here = before.first[number] + 2 * np.arange(len(strikes))
        there = after.first[other] + 2 * position
        old_rows += [here, here + 1]
        new_rows += [there, there + 1]
    empty = np.zeros(0, dtype=np.int64)
    return np.concatenate([empty, *old_rows]), np.concatenate([empty, *new_rows])

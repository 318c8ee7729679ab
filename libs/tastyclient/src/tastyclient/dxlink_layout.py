"""How the values of one event type lie on the wire, and names for what is read from them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from tastyclient.dxlink_errors import FrameError
from tastyclient.events import FieldKind, Floats, field_kind

ABSENT = -1
"""Place of a field that was asked for and is not sent."""


class SymbolTable:
    """Symbols ↔ small numbers, given in the order of arrival and never taken back."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.names)

    def add(self, symbols: Iterable[str]) -> None:
        """Number what has no number yet."""
        for symbol in symbols:
            if symbol not in self.numbers:
                self.numbers[symbol] = len(self.names)
                self.names.append(symbol)


class Layout:
    """The order of one event type's values on one channel."""

    def __init__(self, event_type: str, names: Sequence[str], channel: int, asked: Sequence[str] = ()) -> None:
        """`asked`: fields that a reader counts on; those the server does not send are missing values.

        FrameError without a symbol field or with a field named twice."""
        if names.count("eventSymbol") != 1 or len(set(names)) != len(names):
            raise FrameError(
                f"the fields of {event_type} must name eventSymbol once and none twice: {list(names)[:40]}"
            )
        self.event_type, self.names, self.width, self.channel = event_type, tuple(names), len(names), channel
        self.kinds = tuple(field_kind(name) for name in names)
        self.symbol_at = self.names.index("eventSymbol")
        self.numbers = self._of(FieldKind.NUMBER)
        self.number_rows = np.array(list(self.numbers.values()), np.int64)
        self.integers = self._of(FieldKind.INTEGER)
        self.texts = self._of(FieldKind.TEXT)
        others = sorted(set(range(self.width)) - set(self.numbers.values()), reverse=True)
        self.deletions = tuple((position, self.width - index) for index, position in enumerate(others))
        """Slices to delete one after the other so that numbers alone remain: position and stride."""
        absent = [name for name in asked if name not in names]
        self.number_at = {name: index for index, name in enumerate(self.numbers)}
        self.row_at = dict(self.numbers)
        for name in absent:
            if field_kind(name) is FieldKind.NUMBER:
                self.number_at[name] = self.row_at[name] = ABSENT
        self.absent_texts = tuple(name for name in absent if field_kind(name) is FieldKind.TEXT)
        self.without_flags = "eventFlags" in absent
        self.row_shape = (len(self.numbers), 1)
        self.row_pack = struct.Struct(f"{len(self.numbers)}d{len(self.integers)}q").pack
        self.row_values = _picker([*self.numbers.values(), *self.integers.values()])
        self.row_texts = _picker([self.symbol_at, *self.texts.values()])
        self.codes: npt.NDArray[np.int8] = np.array([list(FieldKind).index(kind) for kind in self.kinds], np.int8)

    def _of(self, kind: FieldKind) -> dict[str, int]:
        return {
            name: index for index, (name, each) in enumerate(zip(self.names, self.kinds, strict=True)) if each is kind
        }


def _picker(positions: list[int]) -> Callable[[list[Any]], tuple[Any, ...]]:
    """The values at some positions of a row, as a tuple."""
    if len(positions) > 1:
        return itemgetter(*positions)
    return (lambda values: (values[positions[0]],)) if positions else (lambda values: ())


class NamedRows(Mapping[str, Floats]):
    """Rows of a block by name; each is cut out when asked for."""

    __slots__ = ("_at", "_block")

    def __init__(self, at: Mapping[str, int], block: Floats) -> None:
        self._at, self._block = at, block

    def __getitem__(self, name: str) -> Floats:
        at = self._at[name]
        row: Floats = self._block[at] if at != ABSENT else np.full(self._block.shape[1], np.nan)
        return row

    def __iter__(self) -> Iterator[str]:
        return iter(self._at)

    def __len__(self) -> int:
        return len(self._at)

"""FEED_DATA → columns, COMPACT and FULL: orjson and packed rows for few events, the compiled reader for many.

Measured (CPU, frames of 50 events and more, `bench` P3): the general reader costs 1.5 to 3.2 times the parsing of the
JSON alone, the compiled one 0.8 to 1.4 times. That one takes 1.2 CPU-seconds to load with a warm cache, 3 with a cold
one, and 130 MiB; it saves about 0.3 µs an event. So it is loaded apart from the start of a service, and late.
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from tastyclient.dxlink_compiled import CompiledReader
from tastyclient.dxlink_errors import FrameError
from tastyclient.dxlink_layout import Layout, NamedRows, SymbolTable
from tastyclient.events import Columns, Floats, Ints, Lazy

_WORDS: Mapping[object, float] = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf, None: np.nan}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", re.ASCII)
_NO_TEXT = frozenset({"NaN", "\x00"})
_HEAD = re.compile(rb'\{"type":"FEED_DATA","channel":(0|[1-9]\d{0,8}),"data":\["([A-Za-z]{1,40})",\[')
_HEAD_BYTES_MAX = 120
_CLOSING_BRACE = ord("}")
_NEXT = re.compile(rb',"([A-Za-z]{1,40})",\[')
_INTEGER_END = 1 << 63
_FLOAT = np.dtype(np.float64)
COMPILED_BYTES_MIN = 800
"""Shorter frames cost less in the general reader (about eight events)."""


class Decoder:
    """Reads the data of one connection. `compiled` may be shared; without it every frame goes the general way."""

    def __init__(self, table: SymbolTable, compiled: CompiledReader | None = None) -> None:
        self.table = table
        self._compiled = compiled
        self._heads: dict[bytes, Layout] = {}

    def compiled_frame(self, text: bytes, layouts: Mapping[int, Mapping[str, Layout]]) -> list[Columns] | None:
        """Columns of a whole FEED_DATA message, or None: then the general way decides what it is."""
        reader = self._compiled
        if reader is None or reader.kernels is None or text[-1] != _CLOSING_BRACE:
            return None
        at = text.find(b'",[', 0, _HEAD_BYTES_MAX) + 3
        layout = self._heads.get(text[:at]) or self._head(text[:at], layouts)
        if layout is None:
            return None
        found: list[Columns] = []
        letters, names = np.frombuffer(text, np.uint8), self.table.names
        while True:
            answer = reader.columns(letters, at, layout.codes, names)
            if answer is None:
                return None
            at, block = answer
            found.append(_BlockColumns(layout, block, text, self.table))
            if text[at:] == b"]}":
                return found
            more = _NEXT.match(text, at)
            layout = layouts[layout.channel].get(more[1].decode()) if more is not None else None
            if more is None or layout is None:
                return None
            at = more.end()

    def _head(self, head: bytes, layouts: Mapping[int, Mapping[str, Layout]]) -> Layout | None:
        """Layout of the values that follow the head of a message."""
        read = _HEAD.fullmatch(head)
        found = layouts.get(int(read[1]), {}).get(read[2].decode()) if read is not None else None
        if found is not None:
            self._heads[head] = found
        return found

    def forget(self) -> None:
        """Layouts have changed."""
        self._heads.clear()

    def compact(self, layout: Layout, values: list[Any]) -> Columns:
        """Columns of one flat array, which is used up. FrameError naming what does not fit."""
        width = layout.width
        if len(values) == width:
            return RowColumns(layout, values, self.table)
        if len(values) % width:
            raise FrameError(f"{layout.event_type} data of {len(values)} values does not fit its {width} fields")
        return _PackedColumns(layout, len(values) // width, values, self.table)


class RowColumns(Columns):
    """One event: its values stay as they are, checked."""

    _size = 1

    def __init__(self, layout: Layout, row: list[Any], table: SymbolTable) -> None:
        texts = layout.row_texts(row)
        try:
            "".join(texts)
        except TypeError:
            if not isinstance(texts[0], str):
                raise FrameError(f"{layout.event_type} data names a symbol that is not text") from None
            for name, position in layout.texts.items():
                _check_texts(layout.event_type, name, row[position : position + 1])
        self.event_type, self.symbols = layout.event_type, [texts[0]]
        self._layout, self._row, self._table = layout, row, table
        try:
            self._packed = layout.row_pack(*layout.row_values(row))
        except (struct.error, TypeError, OverflowError):
            self._packed = self._pack_with_words()

    def _pack_with_words(self) -> bytes:
        layout, row = self._layout, self._row
        numbers = _numbers(layout, [row[position] for position in layout.numbers.values()])
        integers = [
            int(_whole(layout.event_type, name, row[position : position + 1])[0])
            for name, position in layout.integers.items()
        ]
        return layout.row_pack(*numbers, *integers)

    @Lazy
    def ids(self) -> Ints:
        return np.array([self._table.numbers.get(self.symbols[0], -1)], np.int64)

    @Lazy
    def values(self) -> Mapping[str, Floats]:
        return NamedRows(self._layout.number_at, self.numbers())

    def numbers(self) -> Floats:
        shape = self._layout.row_shape
        return np.frombuffer(self._packed, _FLOAT, shape[0]).reshape(shape)

    @Lazy
    def integers(self) -> Mapping[str, Ints]:
        found = np.frombuffer(self._packed, np.int64)[len(self._layout.numbers) :]
        named = {name: found[index : index + 1] for index, name in enumerate(self._layout.integers)}
        return _with_flags(self._layout, named, 1)

    @Lazy
    def texts(self) -> Mapping[str, list[str]]:
        texts = {name: self._row[position] for name, position in self._layout.texts.items()}
        return _with_absent(self._layout, {name: [_text(text)] for name, text in texts.items()}, 1)


class _PackedColumns(Columns):
    """From JSON values: numbers packed row by row, checked while packing."""

    def __init__(self, layout: Layout, size: int, values: list[Any], table: SymbolTable) -> None:
        self.event_type, self._size, self._layout, self._table = layout.event_type, size, layout, table
        width = layout.width
        symbols = values[layout.symbol_at :: width]
        try:
            "".join(symbols)
        except TypeError:
            raise FrameError(f"{self.event_type} data names a symbol that is not text") from None
        self.symbols = symbols
        self._texts = (
            [(name, values[position::width]) for name, position in layout.texts.items()] if layout.texts else ()
        )
        for name, column in self._texts:
            try:
                "".join(column)
            except TypeError:
                _check_texts(self.event_type, name, column)
        self._integers = (
            [
                (name, _whole(self.event_type, name, values[position::width]))
                for name, position in layout.integers.items()
            ]
            if layout.integers
            else ()
        )
        for position, stride in layout.deletions:
            del values[position::stride]
        try:
            self._packed = struct.pack(f"{len(values)}d", *values)
        except (struct.error, TypeError, OverflowError):
            self._packed = _pack_with_words(layout, values)

    @Lazy
    def ids(self) -> Ints:
        numbers = self._table.numbers
        return np.array([numbers.get(symbol, -1) for symbol in self.symbols], np.int64)

    @Lazy
    def values(self) -> Mapping[str, Floats]:
        return NamedRows(self._layout.number_at, self.numbers())

    def numbers(self) -> Floats:
        return np.frombuffer(self._packed).reshape(self._size, len(self._layout.numbers)).T

    @Lazy
    def integers(self) -> Mapping[str, Ints]:
        return _with_flags(self._layout, dict(self._integers), self._size)

    @Lazy
    def texts(self) -> Mapping[str, list[str]]:
        found = {name: [_text(text) for text in column] for name, column in self._texts}
        return _with_absent(self._layout, found, self._size)


class _BlockColumns(Columns):
    """From the compiled reader: one row of the block per field."""

    def __init__(self, layout: Layout, block: Floats, text: bytes, table: SymbolTable) -> None:
        self.event_type, self._size = layout.event_type, block.shape[1]
        self._layout, self._block, self._text, self._table = layout, block, text, table

    def _bits(self, position: int) -> Ints:
        bits: Ints = self._block[position].view(np.int64)
        return bits

    @Lazy
    def ids(self) -> Ints:
        return self._bits(self._layout.symbol_at)

    @Lazy
    def symbols(self) -> list[str]:
        names = self._table.names
        return [names[number] for number in self.ids.tolist()]

    @Lazy
    def values(self) -> Mapping[str, Floats]:
        return NamedRows(self._layout.row_at, self._block)

    def numbers(self) -> Floats:
        return self._block.take(self._layout.number_rows, axis=0)

    @Lazy
    def integers(self) -> Mapping[str, Ints]:
        found = {name: self._bits(position) for name, position in self._layout.integers.items()}
        return _with_flags(self._layout, found, self._size)

    @Lazy
    def texts(self) -> Mapping[str, list[str]]:
        found = {name: self._strings(position) for name, position in self._layout.texts.items()}
        return _with_absent(self._layout, found, self._size)

    def _strings(self, position: int) -> list[str]:
        places = self._bits(position)
        starts, lengths = places & ((1 << 40) - 1), places >> 40
        found = [
            self._text[start : start + length].decode() if length >= 0 else ""
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
        ]
        return [_text(text) for text in found]


def _pack_with_words(layout: Layout, values: list[Any]) -> bytes:
    """Packed numbers of which some are words. "NaN" is by far the most frequent and found without looking at each."""
    at = 0
    with suppress(ValueError):
        while True:
            at = values.index("NaN", at)
            values[at] = np.nan
    try:
        return struct.pack(f"{len(values)}d", *values)
    except (struct.error, TypeError, OverflowError):
        return struct.pack(f"{len(values)}d", *_numbers(layout, values))


def _text(text: str | None) -> str:
    return "" if text is None or text in _NO_TEXT else text


def _with_absent(layout: Layout, found: dict[str, list[str]], size: int) -> Mapping[str, list[str]]:
    return found | {name: [""] * size for name in layout.absent_texts}


def _with_flags(layout: Layout, found: dict[str, Ints], size: int) -> Mapping[str, Ints]:
    return found | {"eventFlags": np.zeros(size, np.int64)} if layout.without_flags else found


def _check_texts(event_type: str, name: str, column: list[Any]) -> None:
    for text in column:
        if text is not None and not isinstance(text, str):
            raise FrameError(f"{event_type}.{name} holds {_shown(text)}, which is not text")


def _whole(event_type: str, name: str, column: list[Any]) -> Ints:
    """Integers; flags that were not sent are 0."""
    try:
        return np.array(array("q", column))
    except (TypeError, OverflowError):
        pass  # one of them is no integer: look at each
    found: list[int] = []
    for value in column:
        if value.__class__ is int and -_INTEGER_END <= value < _INTEGER_END:
            found.append(value)
        elif value.__class__ is float and abs(value) <= 1 << 53 and value == int(value):
            found.append(int(value))
        elif name != "index" and (value is None or value == "NaN"):
            found.append(0)
        else:
            raise FrameError(f"{event_type}.{name} holds {_shown(value)}, which is not a whole number")
    return np.array(found, np.int64)


def _numbers(layout: Layout, values: list[Any]) -> list[float]:
    """Numbers out of values some of which are the words for a missing one, null, or numbers as text."""
    try:
        return [
            float(value) if value.__class__ is float or value.__class__ is int else _worded(value) for value in values
        ]
    except (ValueError, OverflowError):
        names = list(layout.numbers)
        for index, value in enumerate(values):
            try:
                float(value) if isinstance(value, float | int) else _worded(value)
            except (ValueError, OverflowError):
                where = f"{layout.event_type}.{names[index % len(names)]}"
                raise FrameError(f"{where} holds {_shown(value)}, which is not a number") from None
        raise


def _worded(value: object) -> float:
    if value is None or isinstance(value, str):
        known = _WORDS.get(value)
        if known is not None:
            return known
        if value is not None and _NUMBER.fullmatch(value):
            return float(value)
    elif isinstance(value, bool):
        return float(value)
    raise ValueError(value)


def _shown(value: object) -> str:
    return repr(value)[:60]

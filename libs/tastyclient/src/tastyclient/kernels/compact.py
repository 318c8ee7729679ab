"""COMPACT values as they came from the wire → columns, without an object per value.

The kernel reads the one spelling a server writes: no white space, no escapes, ASCII texts, numbers that a double holds
exactly after one multiplication (Clinger, "How to read floating point numbers accurately", 1990: mantissa ≤ 2^53 and
power of ten within ±22). Everything else ends with a status, and the general reader decides.
"""

# mypy: disallow-untyped-decorators=False
from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SYMBOL, NUMBER, INTEGER, TEXT, SKIP = 0, 1, 2, 3, 4
"""Kinds of a field. A symbol becomes its id, a text its place (start + length · 2^40), both kept as integer bits."""
NO_TEXT = -1
DONE, OTHER = 0, 1
"""Statuses: read to the closing bracket; not this spelling (or not JSON at all)."""

QUOTE, BACKSLASH, COMMA, CLOSE, MINUS, PLUS, DOT, ZERO, NINE = 34, 92, 44, 93, 45, 43, 46, 48, 57
EXPONENT_MAX = 22
FNV_START, FNV_PRIME = 1469598103934665603, 1099511628211
MANTISSA_MAX = 1 << 53
INTEGER_MAX = (1 << 63) - 1
POWERS = np.array([10.0**power for power in range(EXPONENT_MAX + 1)])


@njit(cache=True, error_model="numpy", nogil=True)
def hashed(text: Bytes, start: int, end: int) -> np.uint64:
    """FNV-1a, folded."""
    found = np.uint64(FNV_START)
    for index in range(start, end):
        found = (found ^ np.uint64(text[index])) * np.uint64(FNV_PRIME)
    return found ^ (found >> np.uint64(29))


@njit(cache=True, error_model="numpy", nogil=True)
def enter(table: Ints, keys: Bytes, offsets: Ints, first: int) -> None:
    """Put the symbols from number `first` into an open-addressing table of a power of two, at most half full."""
    mask = np.uint64(table.size - 1)
    for number in range(first, offsets.size - 1):
        slot = hashed(keys, offsets[number], offsets[number + 1]) & mask
        while table[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = number


@njit(cache=True, error_model="numpy", nogil=True)
def find(text: Bytes, start: int, end: int, code: np.uint64, table: Ints, keys: Bytes, offsets: Ints) -> int:
    """The number of a symbol whose hash is `code`, or -1."""
    mask = np.uint64(table.size - 1)
    slot = code & mask
    while True:
        number = table[slot]
        if number < 0:
            return -1
        offset = offsets[number]
        if offsets[number + 1] - offset == end - start:
            same = True
            for index in range(end - start):
                if keys[offset + index] != text[start + index]:
                    same = False
                    break
            if same:
                return int(number)
        slot = (slot + np.uint64(1)) & mask


@njit(cache=True, error_model="numpy", nogil=True)
def string_end(text: Bytes, at: int, end: int) -> int:
    """Place of the closing quote of the text that begins at `at`; -1 for an escape, a control or a foreign letter."""
    while at < end:
        letter = text[at]
        if letter == QUOTE:
            return at
        if letter == BACKSLASH or letter < 32 or letter > 126:
            return -1
        at += 1
    return -1


@njit(cache=True, error_model="numpy", nogil=True)
def word_value(text: Bytes, at: int, end: int) -> tuple[float, int]:
    """Value and end of null, true or false at `at`; end -1 when it is none of them."""
    if at + 4 <= end:
        first, second, third, fourth = text[at], text[at + 1], text[at + 2], text[at + 3]
        if first == 110 and second == 117 and third == 108 and fourth == 108:
            return np.nan, at + 4
        if first == 116 and second == 114 and third == 117 and fourth == 101:
            return 1.0, at + 4
        if first == 102 and second == 97 and third == 108 and fourth == 115 and at + 5 <= end and text[at + 4] == 101:
            return 0.0, at + 5
    return 0.0, -1


@njit(cache=True, error_model="numpy", nogil=True)
def missing_value(text: Bytes, start: int, end: int) -> tuple[float, bool]:
    """Value of the texts NaN, Infinity and -Infinity; False for another."""
    if end - start == 3 and text[start] == 78 and text[start + 1] == 97 and text[start + 2] == 78:
        return np.nan, True
    sign = 1.0
    if end > start and text[start] == MINUS:
        sign = -1.0
        start += 1
    if end - start != 8:
        return 0.0, False
    for index, letter in enumerate((73, 110, 102, 105, 110, 105, 116, 121)):
        if text[start + index] != letter:
            return 0.0, False
    return sign * np.inf, True


@njit(cache=True, error_model="numpy", nogil=True)
def read_columns(
    text: Bytes, at: int, kinds: npt.NDArray[np.int8], table: Ints, keys: Bytes, offsets: Ints
) -> tuple[int, int, Floats]:
    """Read one value array whose first value is at `at`.

    Returns the status, the place after the closing bracket, and the columns: one row per field, one column per event.
    Rows of SYMBOL, INTEGER and TEXT fields hold the bits of 64-bit integers. The text must end with a closing
    brace: no number runs over it.
    """
    end, width = text.size, kinds.size
    commas = 0
    for index in range(at, end):
        commas += text[index] == COMMA
    room = commas // width + 1
    columns = np.empty((width, room))
    bits = columns.view(np.int64)
    events = 0
    if at < end and text[at] == CLOSE:
        return DONE, at + 1, columns[:, :0]
    while events < room:
        for position in range(width):
            kind = kinds[position]
            if at >= end:
                return OTHER, at, columns
            letter = text[at]
            if letter == QUOTE:
                start = at + 1
                if kind == SYMBOL:
                    # the texts known are plain, so what is found needs no further look at its letters
                    code = np.uint64(FNV_START)
                    at = start
                    while at < end and text[at] != QUOTE:
                        code = (code ^ np.uint64(text[at])) * np.uint64(FNV_PRIME)
                        at += 1
                    number = find(text, start, at, code ^ (code >> np.uint64(29)), table, keys, offsets)
                    if number < 0:
                        return OTHER, start, columns
                    bits[position, events] = number
                    at += 1
                    if at >= end:
                        return OTHER, at, columns
                    if text[at] == CLOSE and position == width - 1:
                        return DONE, at + 1, columns[:, : events + 1]
                    if text[at] != COMMA:
                        return OTHER, at, columns
                    at += 1
                    continue
                at = string_end(text, start, end)
                if at < 0:
                    return OTHER, start, columns
                if kind == TEXT:
                    bits[position, events] = start + ((at - start) << 40)
                elif kind == NUMBER:
                    value, known = missing_value(text, start, at)
                    if not known:
                        return OTHER, start, columns
                    columns[position, events] = value
                elif kind == INTEGER:
                    return OTHER, start, columns
                at += 1
            elif letter > NINE:
                value, after = word_value(text, at, end)
                is_null = value != value
                if after < 0 or kind in (SYMBOL, INTEGER) or (kind == TEXT and not is_null):
                    return OTHER, at, columns
                if kind == TEXT:
                    bits[position, events] = NO_TEXT
                else:
                    columns[position, events] = value
                at = after
            else:
                negative = letter == MINUS
                if negative:
                    at += 1
                start = at
                mantissa = np.uint64(0)
                while ZERO <= text[at] <= NINE:
                    mantissa = mantissa * np.uint64(10) + np.uint64(text[at] - ZERO)
                    at += 1
                digits = at - start
                if digits == 0 or (digits > 1 and text[start] == ZERO):
                    return OTHER, at, columns
                exponent = 0
                if text[at] == DOT:
                    at += 1
                    start = at
                    while ZERO <= text[at] <= NINE:
                        mantissa = mantissa * np.uint64(10) + np.uint64(text[at] - ZERO)
                        at += 1
                    exponent = start - at
                    digits -= exponent
                    if exponent == 0:
                        return OTHER, at, columns
                whole = exponent == 0
                if text[at] == 101 or text[at] == 69:
                    at += 1
                    whole = False
                    down = text[at] == MINUS
                    if text[at] == MINUS or text[at] == PLUS:
                        at += 1
                    start = at
                    power = 0
                    while ZERO <= text[at] <= NINE and at - start < 4:
                        power = power * 10 + int(text[at] - ZERO)
                        at += 1
                    if at == start:
                        return OTHER, at, columns
                    exponent += -power if down else power
                if kind == INTEGER:
                    if digits > 19 or not whole or mantissa > INTEGER_MAX:
                        return OTHER, at, columns
                    bits[position, events] = -np.int64(mantissa) if negative else np.int64(mantissa)
                elif kind == NUMBER:
                    if digits > 19 or mantissa > MANTISSA_MAX or exponent < -EXPONENT_MAX or exponent > EXPONENT_MAX:
                        return OTHER, at, columns
                    value = float(mantissa)
                    value = value * POWERS[exponent] if exponent >= 0 else value / POWERS[-exponent]
                    # the integer -0 is 0, the float -0.0 keeps its sign
                    columns[position, events] = -value if negative and not (whole and mantissa == 0) else value
                elif kind != SKIP:
                    return OTHER, at, columns
            if at >= end:
                return OTHER, at, columns
            if text[at] == CLOSE and position == width - 1:
                return DONE, at + 1, columns[:, : events + 1]
            if text[at] != COMMA:
                return OTHER, at, columns
            at += 1
        events += 1
    return OTHER, at, columns

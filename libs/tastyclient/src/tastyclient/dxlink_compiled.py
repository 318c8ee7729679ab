"""The compiled reader of COMPACT values: loaded in the background, used from the moment it is ready.

numba costs half a second to import and, on a cold cache, two seconds to compile; neither may delay a stream. Until
`kernels` is set, and wherever numba is not installed, the general reader does the work.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import ModuleType

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

_TABLE_MIN = 64


class CompiledReader:
    """One per process and stream. Not to be used from several threads at a time."""

    def __init__(self) -> None:
        self.kernels: ModuleType | None = None
        """Set when ready."""
        self.failure: str | None = None
        """Why it will never be ready."""
        self._thread: threading.Thread | None = None
        self._table: Ints = np.full(_TABLE_MIN, -1, np.int64)
        self._keys: Bytes = np.empty(0, np.uint8)
        self._offsets: Ints = np.zeros(1, np.int64)

    def load(self) -> None:
        """Import, compile or read the cache, and try it once. Takes seconds on a cold cache."""
        try:
            from tastyclient.kernels import compact

            self._try(compact)
        except Exception as error:
            # whatever a compiler or its cache raises, the general reader goes on
            self.failure = f"{type(error).__name__}: {error}"[:200]
            return
        self.kernels = compact

    def load_in_background(self) -> None:
        """Load without making anybody wait; only the first call does anything."""
        if self._thread is None:
            self._thread = threading.Thread(target=self.load, name="dxlink-compile", daemon=True)
            self._thread.start()

    def columns(
        self, letters: Bytes, at: int, codes: npt.NDArray[np.int8], names: Sequence[str]
    ) -> tuple[int, Floats] | None:
        """Place after the value array that begins at `at`, and its columns; None when it is not the plain spelling."""
        kernels = self.kernels
        if kernels is None:
            return None
        if len(names) + 1 != len(self._offsets):
            self._number(kernels, names)
        status, after, block = kernels.read_columns(letters, at, codes, self._table, self._keys, self._offsets)
        return (after, block) if status == kernels.DONE else None

    def _number(self, kernels: ModuleType, names: Sequence[str]) -> None:
        """Take over symbols that are new in the table; it only ever grows."""
        known = len(self._offsets) - 1
        fresh = [_letters(name) for name in names[known:]]
        ends = self._offsets[-1] + np.cumsum([len(each) for each in fresh], dtype=np.int64)
        self._keys = np.concatenate((self._keys, np.frombuffer(b"".join(fresh), np.uint8)))
        self._offsets = np.concatenate((self._offsets, ends))
        if 2 * len(names) + 2 > len(self._table):
            self._table = np.full(1 << (4 * len(names)).bit_length(), -1, np.int64)
            known = 0
        kernels.enter(self._table, self._keys, self._offsets, known)

    @staticmethod
    def _try(compact: ModuleType) -> None:
        """Compile with the very types of `columns`, and check the answer."""
        keys, offsets = np.array([ord("A")], np.uint8), np.array([0, 1], np.int64)
        table = np.full(_TABLE_MIN, -1, np.int64)
        compact.enter(table, keys, offsets, 0)
        letters = np.frombuffer(b'"A",1.5]}', np.uint8)
        codes = np.array([compact.SYMBOL, compact.NUMBER], np.int8)
        status, _, block = compact.read_columns(letters, 0, codes, table, keys, offsets)
        if status != compact.DONE or block[1, 0] != 1.5:
            raise RuntimeError("the compiled reader misreads a frame")


def _letters(name: str) -> bytes:
    """A symbol as it stands in a frame. One that needs escapes becomes what no frame holds: it is read generally."""
    plain = name.isascii() and name.isprintable() and not any(letter in name for letter in '"\\')
    return name.encode() if plain else b'"'

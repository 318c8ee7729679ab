"""Random numbers that are looked up, not drawn in turn: the same key gives the same number whenever it is asked for.

`mix` is the finaliser of SplitMix64 (Steele, Lea and Flood 2014, Fast splittable pseudorandom number generators) over a
chain of keys; `stream` is the counter-based Philox4x64-10 (Salmon and others 2011, Parallel random numbers: as easy as
1, 2, 3) with the seed and a key. Neither depends on what was asked before.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
_GOLDEN, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_MASK = 2**64 - 1


def mix(first: Words, second: Words | int) -> Words:
    """A word per element from two keys, as good as random. An int is one key for all."""
    key = np.uint64(second & _MASK) if isinstance(second, int) else second
    with np.errstate(over="ignore"):
        word = (first ^ (key * _GOLDEN)) + _GOLDEN
        word ^= word >> _S30
        word *= _FIRST
        word ^= word >> _S27
        word *= _SECOND
        word ^= word >> _S31
    return word


def word(*keys: int | str) -> int:
    """One word from several keys, `mix` after `mix`; a text counts by its CRC-32."""
    found = 0
    for key in keys:
        number = zlib.crc32(key.encode()) + 2**40 if isinstance(key, str) else key
        found = ((found ^ (number * 0x9E3779B97F4A7C15)) + 0x9E3779B97F4A7C15) & _MASK
        found = (found ^ (found >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
        found = (found ^ (found >> 27)) * 0x94D049BB133111EB & _MASK
        found ^= found >> 31
    return found


def uniform(words: Words) -> Floats:
    """Numbers inside (0, 1)."""
    return np.asarray(((words >> _S11).astype(np.float64) + 0.5) * 2.0**-53)


def normal(words: Words) -> Floats:
    """Standard normal numbers."""
    return np.asarray(ndtri(uniform(words)))


def stream(*keys: int | str) -> np.random.Generator:
    """A generator that starts at the same place for the same keys."""
    return np.random.Generator(np.random.Philox(key=word(*keys)))

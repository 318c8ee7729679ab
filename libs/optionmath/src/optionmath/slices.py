"""Compiled kernels over slices of a batch, on every core that this process may use.

Kernels release the interpreter's lock, so plain threads run them side by side; a small batch stays in the caller's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

_Element = TypeVar("_Element", bound=np.generic)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_cores(), thread_name_prefix="optionmath")


@cache
def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _forget_pool() -> None:
    _pool.cache_clear()
    _cores.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)  # a child has none of its parent's threads


def plain(column: npt.NDArray[_Element]) -> npt.NDArray[_Element]:
    """The column itself, or a copy where it is not contiguous, aligned and writable.

    A read-only or strided array, as columns from the bus are, would be another type and make a kernel compile again.
    """
    return np.require(column, requirements=["C", "A", "W"])


def over_slices(work: Callable[[int, int], None], size: int, *, at_least: int) -> None:
    """Call work(start, stop) until [0, size) is covered, once and without overlap; raises what `work` raises.

    at_least: elements below which a slice is not worth a thread's wake-up (about 20 µs).
    """
    parts = min(4 * _cores(), size // at_least)
    if _cores() == 1 or parts < 2:
        if size:
            work(0, size)
        return
    edges = [size * part // parts for part in range(parts + 1)]
    for done in [_pool().submit(work, *pair) for pair in pairwise(edges)]:
        done.result()

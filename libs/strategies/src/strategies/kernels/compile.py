"""How the kernels are compiled: cached, without the interpreter's lock, with IEEE arithmetic as NumPy does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., object])
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
_PLAIN: dict[str, Any] = {**_OPTIONS, "_nrt": False}


def compiled(function: Function) -> Function:
    """Compile a kernel that may allocate arrays."""
    return cast(Function, njit(**_OPTIONS)(function))


def compiled_plain(function: Function) -> Function:
    """Compile a kernel that allocates nothing: arrays are passed without counting references, which costs atomics."""
    return cast(Function, njit(**_PLAIN)(function))

"""Poll until true."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(ask: Callable[[], T | Awaitable[T]], *, timeout: float = 10.0, every: float = 0.02) -> T:
    """Ask until the answer is truthy and return it; AssertionError after `timeout` seconds, with the last answer."""
    deadline = time.monotonic() + timeout
    while True:
        asked = ask()
        answer: T = await asked if inspect.isawaitable(asked) else asked
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {timeout:g} s; the last answer was {answer!r}")
        await asyncio.sleep(every)

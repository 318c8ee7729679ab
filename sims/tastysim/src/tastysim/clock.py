"""The simulator's time: how fast it runs, when it stands still, where it jumps.

Every step moves the market and then decides about every order. A step is never longer than a minute while an order
works; with a grid all steps are equally long, so that runs at any speed, with any pauses, decide at the same times.
When the machine cannot keep up, market time falls behind: no decision is left out.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from optionmath.sessions import market_date, next_session, opens_at
from tastysim.market import Market

SPEED_MAX = 100_000.0
ADVANCE_MAX_SECONDS = 400 * 86_400.0
WORKING_STEP_SECONDS, IDLE_STEP_SECONDS = 60.0, 900.0
"""The longest step while an order works, and while none does."""
_TURN_SECONDS = 0.02
"""Requests are answered in between after so long."""
log = logging.getLogger("tastysim.clock")


class ClockRefusal(ValueError):
    """What cannot be set; `field` names it."""

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        super().__init__(reason)


class Clock:
    """Moves one market and its accounts.

    decide: called after each step with the market's time. working: whether any order waits for a decision.
    after: called once a tick, for the feed. real_time: the market's time is the machine's and cannot be moved.
    """

    def __init__(
        self, market: Market, decide: Callable[[datetime], None], working: Callable[[], bool], *,
        interval: float = 0.25, speed: float = 1.0, grid: float = 0.0, paused: bool = False,
        skip_closed: bool = False, real_time: bool = False, after: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._market, self._decide, self._working, self._after = market, decide, working, after
        self._interval, self._grid, self._real_time = interval, grid, real_time
        self.speed, self.paused, self.skip_closed = 1.0 if real_time else speed, paused, skip_closed
        self.behind = 0.0
        """Market seconds by which the market is behind the speed asked for, in all."""
        self.failures = 0
        self._owed = 0.0
        self._skipped = False
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Keep time until cancelled."""
        due = time.monotonic()
        while True:
            due = max(due + self._interval, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            try:
                async with self._turn:
                    if not self.paused:
                        await self._tick()
                self._after()
            except Exception:  # the edge: one bad step must not stop the time of every account
                self.failures += 1
                log.exception("a step failed")

    async def _tick(self) -> None:
        if self.skip_closed and not self._market.is_open and not self._real_time:
            if not self._skipped:
                self._skipped = True
                await self._until(_next_opening(self._market.now))
                return
        else:
            self._skipped = False
        self._owed += self._interval * self.speed
        deadline = time.monotonic() + self._interval
        await self._spend(deadline)

    async def _spend(self, deadline: float) -> None:
        """Step through the time that is owed; what cannot be done before the deadline is not owed any longer."""
        turn = time.monotonic() + _TURN_SECONDS
        while (size := self._size(self._owed)) > 0:
            self._step(size)
            self._owed -= size
            now = time.monotonic()
            if now >= deadline and self._owed > 0:
                late = self._owed - (self._owed % self._grid if self._grid else 0.0)
                self.behind, self._owed = self.behind + late, self._owed - late
            elif now >= turn:
                await asyncio.sleep(0)
                turn = time.monotonic() + _TURN_SECONDS

    def _size(self, owed: float) -> float:
        """Length of the next step; 0 when nothing is due."""
        if self._grid:
            return self._grid if owed >= self._grid - 1e-9 else 0.0
        if owed <= WORKING_STEP_SECONDS:
            return owed
        return WORKING_STEP_SECONDS if self._working() else min(owed, IDLE_STEP_SECONDS)

    def _step(self, seconds: float) -> None:
        self._market.step(seconds)
        self._decide(self._market.now)

    async def _until(self, moment: datetime) -> None:
        seconds = (moment - self._market.now).total_seconds()
        self._owed = math.ceil(seconds / self._grid - 1e-9) * self._grid if self._grid else seconds
        await self._spend(math.inf)

    async def advance(self, seconds: float) -> None:
        """Let so much market time pass at once, paused or not. With a grid: to the first point not before it."""
        async with self._turn:
            await self._until(self._market.now + timedelta(seconds=seconds))
        self._after()

    async def set(self, body: dict[str, Any]) -> None:
        """Change what a request names. Raises ClockRefusal, and then nothing has changed."""
        unknown = set(body) - {"paused", "speed", "skip-closed", "advance-seconds", "until"}
        if unknown:
            raise ClockRefusal(min(unknown), "is not known")
        for name in ("paused", "skip-closed"):
            if name in body and not isinstance(body[name], bool):
                raise ClockRefusal(name, "is not true or false")
        speed = _number(body, "speed", SPEED_MAX)
        advance = _number(body, "advance-seconds", ADVANCE_MAX_SECONDS)
        if "until" in body:
            advance = self._seconds_until(body["until"])
        if self._real_time and (advance is not None or speed not in (None, 1.0)):
            raise ClockRefusal("speed" if advance is None else "advance-seconds", "this market's time is the machine's")
        self.paused = body.get("paused", self.paused)
        self.skip_closed = body.get("skip-closed", self.skip_closed)
        self.speed = speed or self.speed
        if advance:
            await self.advance(advance)

    def _seconds_until(self, text: object) -> float:
        try:
            seconds = (datetime.fromisoformat(str(text)) - self._market.now).total_seconds()
        except (ValueError, TypeError):
            raise ClockRefusal("until", "is not a date-time with its offset") from None
        if not 0 <= seconds <= ADVANCE_MAX_SECONDS:
            raise ClockRefusal("until", f"is past, or more than {ADVANCE_MAX_SECONDS / 86_400:g} days away")
        return seconds

    def as_wire(self) -> dict[str, Any]:
        """What the clock says of itself."""
        return {
            "market-time": self._market.now.isoformat(), "is-open": bool(self._market.is_open), "paused": self.paused,
            "speed": self.speed, "grid-seconds": self._grid, "skip-closed": self.skip_closed,
            "steps": self._market.steps, "behind-seconds": round(self.behind, 3), "failures": self.failures,
        }  # fmt: skip


def _next_opening(now: datetime) -> datetime:
    day = market_date(now)
    opening = opens_at(day)
    return opening if opening is not None and opening > now else opens_at(next_session(day)) or now


def _number(body: dict[str, Any], name: str, most: float) -> float | None:
    if name not in body:
        return None
    value = body[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise ClockRefusal(name, f"is not a number above 0 and at most {most:g}")
    return float(value)

"""The faults that are installed: which of them strikes an occasion, how often each has, and a log of all strikes."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from tastysim.faults import AnyFault, FaultBase, FaultError, Occasion

F = TypeVar("F", bound=FaultBase)
LOG_MAX = 10_000
"""Strikes that the log holds; `/sim/history` holds them all."""
Row = dict[str, Any]


@dataclass(slots=True)
class Installed:
    """A fault at work. seen: occasions that fitted while it was open; struck: those that it took."""

    name: str
    fault: AnyFault
    since: dict[str, datetime]
    generator: random.Random
    scenario: str | None = None
    seen: int = 0
    struck: int = 0
    buckets: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Level and monotonic seconds of each token's bucket, where the fault is a rate."""

    def as_row(self, now: dict[str, datetime]) -> Row:
        """For people and programs."""
        return {
            "name": self.name, "fault": self.fault.body(), "installed-at": self.since["wall"].isoformat(),
            "open": self.is_open(now), "seen": self.seen, "struck": self.struck, "scenario": self.scenario,
        }  # fmt: skip

    def is_open(self, now: dict[str, datetime]) -> bool:
        """Whether it has begun, has not ended and has strikes left."""
        fault, at, since = self.fault, now[self.fault.clock], self.since[self.fault.clock]
        closes = fault.closes(since)
        spent = fault.times is not None and self.struck >= fault.times
        return not spent and fault.opens(since) <= at and (closes is None or at < closes)


class Faults:
    """Faults by name. `market_now` is the market's time; `write` puts events into the history."""

    def __init__(
        self, market_now: Callable[[], datetime], write: Callable[[list[Row]], None],
        wall_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:  # fmt: skip
        self._market_now, self._wall_now, self._write = market_now, wall_now, write
        self.installed: dict[str, Installed] = {}
        self.log: deque[Row] = deque(maxlen=LOG_MAX)
        self.before_install: list[Callable[[], None]] = []
        """Called before a fault is added."""
        self.after_remove: list[Callable[[str], None]] = []
        """Called with the name of a fault that was taken out."""
        self._kinds: dict[type[FaultBase], int] = {}
        self._pending: list[Row] = []
        self._number = 0

    def now(self, clock: Literal["market", "wall"]) -> datetime:
        """The time of a clock."""
        return self._market_now() if clock == "market" else self._wall_now()

    def times(self) -> dict[str, datetime]:
        """Both clocks."""
        return {"market": self._market_now(), "wall": self._wall_now()}

    def install(self, fault: AnyFault, scenario: str | None = None) -> Installed:
        """Add a fault. Raises FaultError when its name is taken."""
        if fault.name is not None and fault.name in self.installed:
            raise FaultError("name", fault.name, "a name that no installed fault has")
        for each in self.before_install:
            each()
        name = fault.name
        while name is None or name in self.installed:
            self._number += 1
            name = f"{fault.kind}-{self._number}"
        found = Installed(name, fault, self.times(), random.Random(fault.seed), scenario)
        self.installed[name] = found
        self._kinds[type(fault)] = self._kinds.get(type(fault), 0) + 1
        self._note("fault installed", found, {})
        self.flush()
        return found

    def remove(self, name: str) -> Installed | None:
        """Take a fault out; None when there is none of this name."""
        found = self.installed.pop(name, None)
        if found is not None:
            self._kinds[type(found.fault)] -= 1
            self._note("fault removed", found, {"struck": found.struck})
            self.flush()
            for each in self.after_remove:
                each(name)
        return found

    def has(self, *kinds: type[FaultBase]) -> bool:
        """Whether a fault of one of these kinds is installed."""
        return any(self._kinds.get(kind) for kind in kinds)

    def strike(
        self, kind: type[F], occasion: Occasion, detail: Row | None = None,
        when: Callable[[Installed], bool] = lambda _: True,
    ) -> F | None:  # fmt: skip
        """The fault of this kind that strikes an occasion, counted and logged; None when none does."""
        if not self._kinds.get(kind):
            return None
        now = self.times()
        for each in self.installed.values():
            fault = each.fault
            if not isinstance(fault, kind) or not fault.fits(occasion) or not each.is_open(now) or not when(each):
                continue
            each.seen += 1
            if each.seen <= fault.skip or (fault.probability < 1 and each.generator.random() >= fault.probability):
                continue
            each.struck += 1
            if fault.chatty or each.struck == 1:
                self._note("fault", each, _told(occasion) | (detail or {}))
            return fault
        return None

    def standing(self, kind: type[F], occasion: Occasion) -> F | None:
        """An open fault of this kind that fits, without a strike."""
        if not self._kinds.get(kind):
            return None
        now = self.times()
        for each in self.installed.values():
            if isinstance(each.fault, kind) and each.fault.fits(occasion) and each.is_open(now):
                return each.fault
        return None

    def is_standing(self, name: str) -> bool:
        """Whether a fault is installed and has not come to its end."""
        found = self.installed.get(name)
        if found is None:
            return False
        closes = found.fault.closes(found.since[found.fault.clock])
        return closes is None or self.now(found.fault.clock) < closes

    def name_of(self, fault: FaultBase) -> str:
        """The name under which a fault is installed."""
        return next((name for name, each in self.installed.items() if each.fault is fault), "")

    def flush(self) -> None:
        """Write what was noted into the history."""
        if self._pending:
            pending, self._pending = self._pending, []
            self._write(pending)

    def note(self, what: str, row: Row) -> None:
        """An event of the faults' own for log and history."""
        at = self.times()
        found = {
            "what": what,
            "at-ms": int(at["market"].timestamp() * 1000),
            "wall-time": at["wall"].isoformat(),
            **row,
        }
        self.log.append(found)
        self._pending.append(found)

    def _note(self, what: str, each: Installed, row: Row) -> None:
        about = {"fault": each.name, "kind": each.fault.kind}
        count = {"strike": each.struck} if what == "fault" else {}
        self.note(what, about | count | ({"content": each.fault.body()} if what == "fault installed" else {}) | row)


def _told(occasion: Occasion) -> Row:
    """What an occasion says, in the words of the history."""
    names = {
        "account": "account-number", "method": "method", "path": "path", "stream": "stream", "frame": "frame",
        "status": "status", "order_id": "order-id", "external_identifier": "external-identifier",
    }  # fmt: skip
    return {key: value for name, key in names.items() if (value := getattr(occasion, name)) not in (None, "")}

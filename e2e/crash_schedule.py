"""What one schedule does: a pure function of its seed, so that a number replays it."""

from __future__ import annotations

import ast
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tastysim import faults as broker_faults
from tastysim.faults import FaultBase
from testkit.fault_proxy import LineFault

ROOT = Path(__file__).parents[1]
ACTIVE_SECONDS = 3.0
"""Everything a schedule does begins within this time; then faults are healed."""
FILLS = (
    "book",
    "immediate",
    "immediate",
    "delayed:0.4",
    "delayed:1.5",
    "partial:0.5",
    "partial:1.5",
    "never",
    "reject",
)
SPEEDS = (1.0, 1.0, 1.0, 4.0)
_FREQUENT = (
    "executor.submit", "executor.claim", "executor.observe", "executor.end", "executor.execute", "executor.approved",
    "executor.notification", "executor.sweep", "ledger.claim", "ledger.outbox", "ledger.journal", "ledger.fill",
    "chassis.publish", "chassis.handle",
)  # fmt: skip
"""Passed in nearly every schedule."""
_RESTARTED = "executor.recovery."
"""Passed at every start."""


@dataclass(frozen=True, slots=True)
class Order:
    """A spread to open, and whether what filled of it is closed again. offset: limit less mid, dollars."""

    at: float
    offset: str
    quantity: int
    closes: bool


@dataclass(frozen=True, slots=True)
class Action:
    """Something done from outside at a time. what: `kill`, `freeze`, `line`, `stop`, `cancel`, `wipe_nats`, …"""

    at: float
    what: str
    target: str = ""
    seconds: float = 0.0
    amount: float = 0.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that is decided before it runs."""

    seed: int
    warm: bool
    """Orders come once the first executor is reconciled, else while it starts."""
    orders: tuple[Order, ...]
    fills: str
    speed: float
    points: tuple[str, ...]
    """What the executor's first, second, … process has armed."""
    relay_points: tuple[str, ...]
    faults: tuple[dict[str, Any], ...]
    actions: tuple[Action, ...]

    def as_json(self) -> dict[str, Any]:
        """For a report."""
        return asdict(self)


def points(service: str) -> tuple[str, ...]:
    """Failpoints that a service passes, read from the sources. `relay`: those of what it shares with the executor."""
    folders = {
        "executor": ("services/executor", "libs/ledger", "libs/chassis"),
        "relay": ("libs/ledger", "libs/chassis"),
    }
    found: set[str] = set()
    for folder in folders[service]:
        for path in (ROOT / folder / "src").rglob("*.py"):
            text = path.read_text()
            if "failpoint(" not in text:
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "failpoint":
                    name = node.args[0]
                    if isinstance(name, ast.Constant):
                        found.add(str(name.value))
    if service == "relay":
        found = {name for name in found if name.startswith(("ledger.outbox", "ledger.gate", "chassis."))}
    return tuple(sorted(found))


def generate(seed: int, executor_points: Sequence[str], relay_points: Sequence[str]) -> Schedule:
    """The schedule of a seed."""
    rng = random.Random(seed)
    orders = tuple(
        Order(
            at=round(rng.uniform(0, ACTIVE_SECONDS - 1), 2),
            offset=rng.choice(("-0.20", "-0.05", "0.00", "0.05", "0.30")),
            quantity=rng.choice((1, 1, 2)),
            closes=rng.random() < 0.3,
        )
        for _ in range(rng.choice((1, 1, 2, 2, 3, 4)))
    )
    lives = rng.choice((1, 1, 1, 2, 2, 3))
    armed = tuple(_armed(rng, executor_points, first=not life) for life in range(lives))
    relay = (_armed(rng, relay_points),) if rng.random() < 0.2 else ()
    faults = tuple(_fault(rng) for _ in range(rng.choice((0, 0, 1, 1, 2))))
    actions = sorted(_actions(rng), key=lambda action: action.at)
    return Schedule(
        seed, rng.random() < 0.75, orders, rng.choice(FILLS), rng.choice(SPEEDS), armed, relay, faults, tuple(actions)
    )


def _armed(rng: random.Random, names: Sequence[str], *, first: bool = True) -> str:
    """One point, or two: often those on the way of every order, after a restart often those of a recovery."""
    found = []
    for _ in range(rng.choice((1, 1, 2))):
        draw = rng.random()
        near = _FREQUENT if draw < 0.55 else _RESTARTED if not first and draw < 0.8 else ""
        chosen = rng.choice([name for name in names if name.startswith(near)] or list(names))
        act = rng.choices(("kill", "raise", "delay:0.6", "delay:2.5"), (72, 15, 9, 4))[0]
        found.append(f"{chosen}={act}@{rng.choices((1, 2, 3, 5), (62, 22, 11, 5))[0]}")
    return ";".join(found)


def _fault(rng: random.Random) -> dict[str, Any]:
    """One thing that goes wrong at the broker; the facts stay true."""
    method = rng.choice(("POST", "POST", "POST", "*", "DELETE", "PUT"))
    path = "/accounts/*/orders*" if method != "POST" else "/accounts/*/orders"
    on = {"method": method, "path": path, "times": rng.choice((1, 1, 2)), "skip": rng.choice((0, 0, 1))}
    few: dict[str, Any] = {"times": rng.choice((1, 2, 4)), "skip": rng.choice((0, 0, 1))}
    f = broker_faults
    made: FaultBase = rng.choice(
        (
            lambda: f.HoldRequest(**on, seconds=rng.choice((0.5, 1.5, 4.0))),
            lambda: f.HoldResponse(**on, seconds=rng.choice((0.5, 1.5, None))),
            lambda: f.ErrorBefore(**on),
            lambda: f.ErrorAfter(**on),
            lambda: f.ResetBefore(**on),
            lambda: f.ResetAfter(**on),
            lambda: f.GarbledReply(**on),
            lambda: f.Throttle(requests_per_second=rng.choice((None, 5.0)), times=rng.choice((3, 10))),
            lambda: f.ExpireToken(moment=rng.choice(("before", "after")), **few),
            lambda: f.FillBeforeCancel(times=1),
            lambda: f.CancelRace(becomes=rng.choice(("Filled", "Live", "Cancelled")), seconds=0.5, times=1),
            lambda: f.HideOrders(seconds=rng.choice((0.5, 2.0)), times=1, clock="wall"),
            lambda: f.LateLegFills(seconds=rng.choice((0.5, 1.5)), times=1, clock="wall"),
            lambda: f.LagAccount(seconds=1.0, clock="wall"),
            lambda: f.RejectOrder(seconds=0.2, times=1),
            lambda: f.DropFrames(stream="account", frames=("Order",), **few),
            lambda: f.DuplicateFrames(stream="account", copies=2),
            lambda: f.ReorderFrames(stream="account", behind=2, seconds=0.5),
            lambda: f.DelayFrames(stream="account", frames=("Order",), seconds=rng.choice((0.3, 1.5))),
            lambda: f.StaleOrders(),
            lambda: f.FreezeStream(stream="account", seconds=1.5, **few),
            lambda: f.Disconnect(stream="account", abrupt=rng.random() < 0.5, frames=("Order",)),
        )
    )()
    return made.body()


def _actions(rng: random.Random) -> list[Action]:
    found: list[Action] = []

    def at() -> float:
        return round(rng.uniform(0.3, ACTIVE_SECONDS), 2)

    if rng.random() < 0.30:
        found.append(Action(at(), "kill", rng.choice(("executor", "executor", "executor", "relay"))))
    if rng.random() < 0.12:
        target = rng.choice(("executor", "executor", "relay", "nats", "postgres", "valkey"))
        found.append(Action(at(), "freeze", target, seconds=rng.choice((0.4, 1.2, 2.5))))
    if rng.random() < 0.30:
        fault = rng.choice(list(LineFault))
        amount = {LineFault.DELAY: rng.choice((0.05, 0.4)), LineFault.THROTTLE: 20_000.0}.get(fault, 0.0)
        link = rng.choice(("broker", "broker", "nats", "postgres"))
        found.append(Action(at(), "line", f"{link} {fault}", seconds=rng.choice((0.3, 1.0, 2.0)), amount=amount))
    if rng.random() < 0.35:
        mode = rng.choice(("cancel_working", "cancel_working", "halt_opens", "reduce_only"))
        found.append(Action(at(), "stop", f"{rng.choice(('gate', 'gate', 'broadcast'))} {mode}"))
    if rng.random() < 0.25:
        found.append(Action(at(), "cancel"))
    if rng.random() < 0.02:
        found.append(Action(at(), "wipe_nats"))
    if rng.random() < 0.05:
        found.append(Action(at(), "flush_cache"))
    if rng.random() < 0.03:
        found.append(Action(at(), "kill", rng.choice(("nats", "postgres"))))
    return found

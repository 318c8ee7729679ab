"""The fast path of the kill switch: a flag in every process, set by message or file, cleared by the gate only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime

import nats
from faststream.nats import NatsBroker
from nats.aio.msg import Msg

from chassis import kill_file
from chassis.bus import latest, publish, raw_client
from chassis.settings import ServiceSettings
from chassis.telemetry import get_logger
from schemas import subjects
from schemas.account import GateMode, GateRow, GateState, KillScope
from schemas.commands import KillAck, KillCommand, parse_kill

_KNOWN_MAX = 1000
FILE_SECONDS = 0.25
"""The file KILL is looked for this often: the road that needs no server."""
log = get_logger("chassis.kill_switch")


class KillSwitch:
    """What this process knows of stops. Add `start` to on_start; pass `is_set` and `revision` to the Service.

    The gate in the ledger is the authority. A message latches the flag at once; only a later gate that runs clears it.
    """

    def __init__(
        self,
        broker: NatsBroker,
        settings: ServiceSettings,
        *,
        on_command: Callable[[KillCommand], Awaitable[None]] | None = None,
        working_orders: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._broker, self._settings = broker, settings
        self._on_command, self._working_orders = on_command, working_orders
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: dict[str, None] = {}
        self.gate: GateState | None = None
        self.latched: dict[tuple[KillScope, str], tuple[GateMode, int | None]] = {}
        """Scope → mode, and the gate's revision when it was latched; None while no gate had been seen."""
        self._latched_when: dict[tuple[KillScope, str], datetime] = {}
        self.last_command: KillCommand | None = None
        self.latched_at: float | None = None
        """Monotonic seconds of the newest stop."""
        broker.subscriber(**latest(subjects.GATE, subjects.STATE))(self.on_gate)

    async def start(self) -> None:
        """Listen to the control subject, and look for the file; one that is there already stops from the start."""
        await raw_client(self._broker).subscribe(subjects.KILL, cb=self._heard)
        self._look()
        self._keep(self._watch_file())

    async def _watch_file(self) -> None:
        while True:
            await asyncio.sleep(FILE_SECONDS)
            self._look()

    def _look(self) -> None:
        command = kill_file.read(self._settings.data_dir)
        if command is not None and command.command_id not in self._known:
            self._take(command)

    async def _heard(self, message: Msg) -> None:
        self._take(parse_kill(message.data))

    def _take(self, command: KillCommand) -> None:
        # a stop is broadcast several times; a late copy must not undo the resume that followed it
        repeated = command.command_id in self._known
        if not repeated:
            self.latch(command)
        # the gate write may wait for a database; the flag and the acknowledgement must not
        self._keep(self._follow(command, repeated=repeated))

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, command: KillCommand, *, repeated: bool) -> None:
        acknowledgement = KillAck(
            ts_event=datetime.now(UTC),
            service=self._settings.service,
            instance=self._settings.instance,
            command_id=command.command_id,
            gate_revision=self.revision(),
            working_orders=self._working_orders(),
        )
        try:
            await publish(self._broker, subjects.KILL_ACK, acknowledgement)
        except nats.errors.Error:
            log.warning("kill_switch.acknowledgement_not_sent")
        if self._on_command is not None and not repeated:
            await self._on_command(command)

    def latch(self, command: KillCommand) -> None:
        """Set the flag for the command's scope."""
        if command.command_id:
            self._known[command.command_id] = None
            if len(self._known) > _KNOWN_MAX:
                del self._known[next(iter(self._known))]
        key = (command.scope, command.scope_value)
        row = self._row(key)
        known = self.latched.get(key)
        mode = command.mode if known is None or command.mode.severity > known[0].severity else known[0]
        first_seen = None if self.gate is None else row.revision if row else 0
        self.latched[key] = (mode, known[1] if known else first_seen)
        self._latched_when.setdefault(key, datetime.now(UTC))
        self.last_command, self.latched_at = command, time.monotonic()
        log.warning("kill_switch.latched", scope=command.scope.value, mode=mode.value, who=command.who, why=command.why)

    async def on_gate(self, gate: GateState) -> None:
        """Take the ledger's gate; a row that was stopped and now runs clears the flag of its scope."""
        if self.gate is not None and gate.revision < self.gate.revision:
            return
        self.gate = gate
        for key, (mode, revision) in list(self.latched.items()):
            row = self._row(key)
            if revision is None:
                # stopped before any gate was seen: a gate that ran before that is no resume
                later = row is not None and row.changed_at > self._latched_when[key]
                self.latched[key] = (mode, revision := -1 if later else row.revision if row else 0)
            if row is not None and row.mode is GateMode.RUN and row.revision > revision:
                del self.latched[key], self._latched_when[key]

    def mode_for(self, account_number: str, strategy_id: str, underlying_symbol: str) -> GateMode:
        """Strictest of the gate and the flag; a gate never seen counts as a full stop."""
        if self.gate is None:
            return GateMode.CANCEL_WORKING
        now = datetime.now(UTC)
        rows = tuple(
            GateRow(scope=scope, scope_value=value, mode=mode, revision=0, who="", why="", changed_at=now)
            for (scope, value), (mode, _) in self.latched.items()
        )
        gate = self.gate.model_copy(update={"rows": (*self.gate.rows, *rows)})
        return gate.mode_for(account_number, strategy_id, underlying_symbol)

    def is_set(self) -> bool:
        """Whether anything is stopped, as far as this process knows."""
        stopped = self.gate is None or any(row.mode is not GateMode.RUN for row in self.gate.rows)
        return bool(self.latched) or stopped

    def is_armed(self, account_number: str) -> bool:
        """Whether automation may open positions in an account."""
        return self.gate is not None and account_number in self.gate.armed_accounts

    def revision(self) -> int | None:
        """Gate revision this process has seen."""
        return self.gate.revision if self.gate else None

    def _row(self, key: tuple[KillScope, str]) -> GateRow | None:
        rows = self.gate.rows if self.gate else ()
        return next((row for row in rows if (row.scope, row.scope_value) == key), None)

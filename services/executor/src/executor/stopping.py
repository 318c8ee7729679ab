"""While anything is stopped: cancel what must not work, from the broker's own list, until it stays clean."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

import nats

from chassis.bus import publish
from chassis.database import transaction
from chassis.failpoints import failpoint
from chassis.telemetry import get_logger
from executor.cancels import Cancels
from executor.desk import TRANSIENT, Desk, wait
from executor.domain.reading import MAY_FILL, must_cancel
from executor.lanes import Lane
from ledger import intents
from ledger.observations import Source
from schemas import subjects
from schemas.commands import KillAck, KillCommand
from schemas.orders import AT_BROKER, IntentState
from schemas.trade import OrderAction, Purpose
from tastyclient import PlacedOrder

IN_HAND = AT_BROKER | {IntentState.SUBMITTING}
STOPPED_SWEEP_SECONDS, CLEAN_SWEEP_SECONDS, CLEAN_SWEEPS = 2.0, 5.0, 3
log = get_logger("executor.stopping")


@dataclass(slots=True)
class Stopping:
    """Sweeps every account while a stop concerns it; accounts do not wait for each other."""

    desk: Desk
    cancels: Cancels

    async def loop(self, lane: Lane, stop: asyncio.Event) -> None:
        """Sweep one account for ever, at once when told to stop."""
        clean = 0
        while True:
            await wait(stop, STOPPED_SWEEP_SECONDS if clean < CLEAN_SWEEPS else CLEAN_SWEEP_SECONDS)
            if not self.desk.kill_switch.is_set():
                clean = 0
                continue
            began, command = self.desk.clock.monotonic(), self.desk.kill_switch.last_command
            try:
                left = await self._sweep(lane)
            except TRANSIENT as error:
                log.error(
                    "stop.sweep_failed", account=lane.account_number, error=f"{type(error).__name__}: {error}"[:300]
                )
                clean = 0
                continue
            clean = 0 if left else clean + 1
            lane.left_working, lane.swept_at = left, began
            await self._report(command)

    def working_since_the_stop(self) -> int | None:
        """What sweeps that began after the newest stop have found; None until every account had one."""
        latched_at, lanes = self.desk.kill_switch.latched_at, list(self.desk.lanes.values())
        if not lanes or any(lane.left_working is None for lane in lanes):
            return None
        if latched_at is not None and any(lane.swept_at < latched_at for lane in lanes):
            return None
        return sum(lane.left_working or 0 for lane in lanes)

    async def _sweep(self, lane: Lane) -> int:
        """Cancel the orders that the stop concerns; returns how many can still fill, sends in hand included."""
        failpoint("executor.stop.sweeping")
        number, asked = lane.account_number, self.desk.clock.now()
        concerned = [
            str(order.id)
            for order in await self.desk.urgent.live_orders(number)
            if order.status.value in MAY_FILL and await self._concerned(order, number, asked)
        ]
        failpoint("executor.stop.listed")
        # side by side: many cancellations must not wait for each other's answers
        await asyncio.gather(*(self.cancels.cancel(number, each, "stopped") for each in concerned))
        failpoint("executor.stop.cancelled")
        # an order on its way when the list was read is not in it yet, but in the journal
        async with transaction(self.desk.engine) as session:
            journal = [
                intent
                for intent in await intents.in_states(session, IN_HAND, number)
                if self._concerns(number, intent.strategy_id, intent.underlying_symbol, Purpose(intent.purpose))
            ]
        return max(len(concerned), len(journal))

    async def _concerned(self, order: PlacedOrder, number: str, asked: datetime) -> bool:
        intent = (await self.cancels.see(order, number, Source.REST, asked)).intent
        opens = any(OrderAction(leg.action).opens for leg in order.legs if leg.action in set(OrderAction))
        purpose = Purpose.OPEN if opens else Purpose.CLOSE
        return self._concerns(number, intent.strategy_id if intent else "", order.underlying_symbol, purpose)

    def _concerns(self, account_number: str, strategy_id: str, underlying_symbol: str, purpose: Purpose) -> bool:
        return must_cancel(self.desk.kill_switch.mode_for(account_number, strategy_id, underlying_symbol), purpose)

    async def _report(self, command: KillCommand | None) -> None:
        settings = self.desk.settings
        acknowledgement = KillAck(
            ts_event=datetime.now(UTC),
            service=settings.service,
            instance=settings.instance,
            command_id=command.command_id if command else "",
            gate_revision=self.desk.kill_switch.revision(),
            working_orders=self.working_since_the_stop(),
        )
        try:
            await publish(self.desk.broker, subjects.KILL_ACK, acknowledgement)
        except nats.errors.Error:
            log.warning("stop.report_not_sent")

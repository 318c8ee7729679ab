"""Say once a second how each account stands at the broker, and answer what an order would take: the dry run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

import httpx
import nats
from nats.aio.msg import Msg
from pydantic import ValidationError

from chassis.bus import publish, raw_client
from chassis.telemetry import get_logger
from executor.desk import Desk
from executor.lanes import ABSENT, Lane
from executor.surroundings import Surroundings
from schemas import subjects
from schemas.account import AccountStanding, AskEffect, BrokerEffect
from schemas.trade import Purpose
from tastyclient import BrokerError, NewLeg, NewOrder, OrderPreview, RejectedError, TradingStatus

STANDING_SECONDS, STATUS_SECONDS, RATE_LIMIT_SECONDS = 1.0, 30.0, 60.0
log = get_logger("executor.standing")


@dataclass(slots=True)
class Standing:
    """What the broker said last of itself and of its accounts."""

    desk: Desk
    surroundings: Surroundings
    errors_in_a_row: int = 0
    rate_limited_at: float = ABSENT
    _restrictions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _read_at: dict[str, float] = field(default_factory=dict)

    async def start(self) -> None:
        """Listen for questions."""
        await raw_client(self.desk.broker).subscribe(subjects.ask_effect(), cb=self._asked)

    def on_response(self, response: httpx.Response) -> None:
        """Count the broker's own faults in a row; a request refused for its rate is remembered for a minute."""
        self.surroundings.on_response(response)
        if response.status_code >= 500:
            self.errors_in_a_row += 1
            return
        self.errors_in_a_row = 0
        if response.status_code == 429:
            self.rate_limited_at = self.desk.clock.monotonic()

    async def loop(self) -> None:
        """Tell for ever; what the account may do is read now and then."""
        while True:
            for lane in self.desk.lanes.values():
                await self._read_restrictions(lane.account_number)
                try:
                    await publish(
                        self.desk.broker, subjects.account_standing(lane.account_number), self.standing_of(lane)
                    )
                except (nats.errors.Error, OSError) as error:
                    log.warning("standing.not_published", error=type(error).__name__)
            await self.desk.clock.sleep(STANDING_SECONDS)

    def standing_of(self, lane: Lane) -> AccountStanding:
        """The account as this process sees it now."""
        now = self.desk.clock.monotonic()
        limit = self.desk.settings.mismatch_halt_seconds
        lasting = sorted(name for name, since in lane.different_since.items() if now - since > limit)
        return AccountStanding(
            ts_event=self.desk.clock.now(),
            account_number=lane.account_number,
            instance=self.desk.settings.instance,
            holds=tuple(hold.value for hold in lane.holds),
            clock_skew_seconds=self.surroundings.facts(lane).clock_skew,
            restrictions=self._restrictions.get(lane.account_number),
            errors_in_a_row=self.errors_in_a_row,
            rate_limited=now - self.rate_limited_at < RATE_LIMIT_SECONDS,
            mismatch=f"broker and ledger differ in {', '.join(lasting)}" if lasting else "",
        )

    async def _read_restrictions(self, account_number: str) -> None:
        now = self.desk.clock.monotonic()
        if now - self._read_at.get(account_number, ABSENT) < STATUS_SECONDS:
            return
        try:
            async with asyncio.timeout(5.0):
                found = await self.desk.urgent.trading_status(account_number)
        except (BrokerError, TimeoutError) as error:
            log.warning("trading_status.not_read", account=account_number, error=type(error).__name__)
            return
        self._read_at[account_number] = now
        self._restrictions[account_number] = restrictions(found)

    async def _asked(self, message: Msg) -> None:
        if not message.reply:
            return
        try:
            question = AskEffect.model_validate_json(message.data)
        except ValidationError as error:
            log.warning("effect.unreadable", error=str(error)[:200])
            return
        answer = await self._effect(question)
        try:
            await raw_client(self.desk.broker).publish(message.reply, answer.model_dump_json().encode())
        except (nats.errors.Error, OSError) as error:
            log.warning("effect.not_answered", error=type(error).__name__)

    async def _effect(self, question: AskEffect) -> BrokerEffect:
        now, number = self.desk.clock.now(), question.account_number
        try:
            found = await self.desk.urgent.preview(number, preview_order(question))
        except RejectedError as error:
            return BrokerEffect(ts_event=now, account_number=number, refusal=str(error)[:300])
        except (BrokerError, ValueError) as error:
            return BrokerEffect(ts_event=now, account_number=number, failure=f"{type(error).__name__}: {error}"[:300])
        return effect_of(question, found, self.desk.clock.now())


def preview_order(question: AskEffect) -> NewOrder:
    """The order of a question, for a dry run only."""
    return NewOrder(
        legs=tuple(
            NewLeg(symbol=leg.occ_symbol, action=leg.action.value, quantity=leg.quantity * question.quantity)
            for leg in question.legs
        ),
        price=question.price,
        closing=question.purpose is Purpose.CLOSE,
    )


def effect_of(question: AskEffect, found: OrderPreview, now: datetime) -> BrokerEffect:
    """The broker's figures: what buying power the order takes is positive here."""
    effect, fees = found.buying_power_effect, found.fee_calculation
    errors = "; ".join(str(each.message or each.code) for each in found.errors)
    return BrokerEffect(
        ts_event=now,
        account_number=question.account_number,
        buying_power=None if effect is None else -effect.change_in_buying_power,
        fees=None if fees is None else fees.total_fees,
        refusal=errors[:300],
    )


def restrictions(found: TradingStatus) -> tuple[str, ...]:
    """What forbids opening positions, in the broker's words; a flag it leaves out restricts nothing."""
    flags = {
        "closed": found.is_closed,
        "closing only": found.is_closing_only,
        "frozen": found.is_frozen,
        "risk reducing only": found.is_risk_reducing_only,
        "margin call": found.is_in_margin_call,
        "day-trade equity call": found.is_in_day_trade_equity_maintenance_call,
    }
    return tuple(name for name, value in flags.items() if value)

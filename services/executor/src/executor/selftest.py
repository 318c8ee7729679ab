"""Prove that the gate works before anything is sent: a stop must refuse, and without it the gate must answer."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from chassis.database import transaction
from executor.desk import PRODUCER
from ledger import gate
from schemas.account import GateMode, KillScope
from schemas.trade import Purpose

DRY_RUN = "gate-self-test"
"""Strategy and underlying of the dry run: no order carries them."""


class _UndoneError(Exception):
    """Rolls the trial stop back."""


async def gate_self_test(engine: AsyncEngine, account_number: str) -> str:
    """Try a stop in a transaction that is rolled back, then read the gate as it stands; returns what it says.

    The very function that every permit asks is tried. Raises ValueError when a stop does not refuse, or when it stays.
    """
    stopped = GateMode.RUN
    try:
        async with transaction(engine) as session:
            await gate.tighten(
                session, KillScope.STRATEGY, DRY_RUN, GateMode.CANCEL_WORKING, PRODUCER, "self-test", PRODUCER
            )
            stopped = await _asked(session, account_number)
            raise _UndoneError
    except _UndoneError:
        pass
    if any(stopped.allows(purpose) for purpose in Purpose):
        raise ValueError(f"the gate said {stopped.value} to a dry run under a stop")
    async with transaction(engine) as session:
        state = await gate.read(session)
        committed = await _asked(session, account_number)
    expected = state.mode_for(account_number, DRY_RUN, DRY_RUN)
    if committed is not expected:
        raise ValueError(f"the gate said {committed.value} to a dry run and its rows say {expected.value}")
    passes = committed.allows(Purpose.OPEN)
    return f"a stop refuses; without it the dry run {'passes' if passes else 'is refused by ' + committed.value}"


async def _asked(session: AsyncSession, account_number: str) -> GateMode:
    mode, _ = await gate.lock_shared(session, account_number, DRY_RUN, DRY_RUN)
    return mode

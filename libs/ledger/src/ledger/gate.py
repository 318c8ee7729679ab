"""The gate: what may be sent. Its rows are read under a share lock by every transaction that permits a send.

Row locks alone would let new permits overtake a stop that waits for those being given. So a queue stands before the
rows: permits pass it shared, a change of the gate alone, and who comes after a waiting change waits behind it. A
transaction takes the gate before an account's risk row, never after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from chassis.failpoints import failpoint
from ledger import audit, outbox
from ledger.tables import Armed, Gate, GateClock
from schemas import subjects
from schemas.account import GateMode, GateRow, GateState, KillScope

_QUEUE = "hashtextextended('ledger.gate', 0)"
_PASS = text(f"SELECT pg_advisory_xact_lock_shared({_QUEUE})")
_ALONE = text(f"SELECT pg_advisory_xact_lock({_QUEUE})")
_PATIENT = text("SELECT set_config('lock_timeout', '0', true), set_config('statement_timeout', '0', true)")
PUBLISHER = "risk"
"""One process relays the gate, so that its revisions reach the bus in order."""


@dataclass(frozen=True, slots=True)
class GateChange:
    """Revision after the change, and whether anything changed."""

    revision: int
    changed: bool


async def read(session: AsyncSession) -> GateState:
    """Every row as committed."""
    rows = (await session.execute(select(Gate).order_by(col(Gate.revision)))).scalars()
    clock = (await session.execute(select(GateClock.revision))).scalar_one()
    armed = (await session.execute(select(Armed.account_number).where(col(Armed.armed)))).scalars()
    return GateState(
        ts_event=datetime.now(UTC),
        revision=clock,
        rows=tuple(
            GateRow(
                scope=KillScope(row.scope),
                scope_value=row.scope_value,
                mode=GateMode(row.mode),
                revision=row.revision,
                who=row.who,
                why=row.why,
                changed_at=row.changed_at,
            )
            for row in rows
        ),
        armed_accounts=tuple(sorted(armed)),
    )


async def tighten(
    session: AsyncSession, scope: KillScope, scope_value: str, mode: GateMode, who: str, why: str, producer: str
) -> GateChange:
    """Stop a scope, or make its stop stricter; a laxer mode changes nothing. ValueError for `run`.

    Waits for the permits being given, as long as it takes; no new one is given meanwhile.
    """
    if mode is GateMode.RUN:
        raise ValueError("run does not stop anything: resume is a separate act")
    await session.execute(_PATIENT)
    await session.execute(_ALONE)
    failpoint("ledger.gate.alone")
    revision = await _next_revision(session)
    held = await session.get(Gate, (scope.value, scope_value), with_for_update=True)
    if held is not None and GateMode(held.mode).severity >= mode.severity:
        return GateChange(held.revision, False)
    await _set(session, held, scope, scope_value, mode, revision, who, why)
    await _record(session, revision, producer, who, "stop", f"{scope.value} {scope_value}".strip(), mode.value, why)
    failpoint("ledger.gate.tightened")
    return GateChange(revision, True)


async def loosen(
    session: AsyncSession, scope: KillScope, scope_value: str, who: str, reason: str, producer: str
) -> GateChange:
    """Let a scope run again. LookupError for a scope that was never stopped; ValueError without a reason."""
    if len(reason.strip()) < 8:
        raise ValueError("a reason of at least 8 characters is needed to resume")
    await session.execute(_ALONE)
    revision = await _next_revision(session)
    held = await session.get(Gate, (scope.value, scope_value), with_for_update=True)
    if held is None:
        raise LookupError(f"{scope.value} {scope_value}".strip() + " was never stopped")
    if held.mode == GateMode.RUN.value:
        return GateChange(held.revision, False)
    await _set(session, held, scope, scope_value, GateMode.RUN, revision, who, reason)
    await _record(session, revision, producer, who, "resume", f"{scope.value} {scope_value}".strip(), "run", reason)
    return GateChange(revision, True)


async def set_armed(
    session: AsyncSession, account_number: str, armed: bool, who: str, reason: str, producer: str
) -> GateChange:
    """Allow automation to open positions in an account, or no longer."""
    await session.execute(_ALONE)
    revision = await _next_revision(session)
    held = await session.get(Armed, account_number, with_for_update=True)
    now = datetime.now(UTC)
    if held is None:
        session.add(Armed(account_number=account_number, armed=armed, who=who, why=reason, changed_at=now))
    elif held.armed == armed:
        return GateChange(revision, False)
    else:
        held.armed, held.who, held.why, held.changed_at = armed, who, reason, now
    await _record(session, revision, producer, who, "arm" if armed else "disarm", account_number, str(armed), reason)
    return GateChange(revision, True)


async def lock_shared(
    session: AsyncSession, account_number: str, strategy_id: str, underlying_symbol: str
) -> tuple[GateMode, bool]:
    """Strictest mode for an order and whether its account is armed, held unchanged until this transaction ends."""
    await session.execute(_PASS)
    rows = (
        await session.execute(
            text(
                "SELECT scope, scope_value, mode FROM ledger.gate WHERE (scope, scope_value) IN "
                "(('all', ''), ('account', :account), ('strategy', :strategy), ('underlying', :underlying)) FOR SHARE"
            ),
            {"account": account_number, "strategy": strategy_id, "underlying": underlying_symbol},
        )
    ).all()
    if not any(row.scope == KillScope.ALL.value for row in rows):
        return GateMode.CANCEL_WORKING, False
    armed = (
        await session.execute(
            text("SELECT armed FROM ledger.armed WHERE account_number = :account FOR SHARE"),
            {"account": account_number},
        )
    ).scalar()
    return max((GateMode(row.mode) for row in rows), key=lambda mode: mode.severity), bool(armed)


async def announce(session: AsyncSession) -> None:
    """Publish the gate as it stands, for a bus that lost its state."""
    state = await read(session)
    stamp = f"gate-{state.revision}-{state.ts_event.timestamp()}"
    outbox.enqueue(session, PUBLISHER, subjects.GATE, state, message_id=stamp)


async def _next_revision(session: AsyncSession) -> int:
    """Raise the clock; its row lock puts gate changes in one order."""
    statement = text("UPDATE ledger.gate_clock SET revision = revision + 1 RETURNING revision")
    return int((await session.execute(statement)).scalar_one())


async def _set(
    session: AsyncSession,
    held: Gate | None,
    scope: KillScope,
    scope_value: str,
    mode: GateMode,
    revision: int,
    who: str,
    why: str,
) -> None:
    now = datetime.now(UTC)
    if held is None:
        session.add(
            Gate(
                scope=scope.value, scope_value=scope_value, mode=mode.value, revision=revision, who=who, why=why,
                changed_at=now,
            )
        )  # fmt: skip
    else:
        held.mode, held.revision, held.who, held.why, held.changed_at = mode.value, revision, who, why, now
    await session.flush()


async def _record(
    session: AsyncSession, revision: int, producer: str, who: str, action: str, target: str, value: str, why: str
) -> None:
    """Audit and the gate's new state, with the change itself."""
    await session.flush()
    audit.record(
        session, producer, who, action, target=target, detail={"value": value, "why": why, "revision": str(revision)}
    )
    state = await read(session)
    outbox.enqueue(session, PUBLISHER, subjects.GATE, state, message_id=f"gate-{revision}")

"""Who may send for an account: one holder at a time, fenced by an epoch that only rises."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_ACQUIRE = text(
    "INSERT INTO ledger.exec_lease (account_number, holder, epoch, expires_at) "
    "VALUES (:account, :holder, 1, clock_timestamp() + make_interval(secs => :seconds)) "
    "ON CONFLICT (account_number) DO UPDATE SET holder = :holder, epoch = exec_lease.epoch + 1, "
    "expires_at = clock_timestamp() + make_interval(secs => :seconds) "
    "WHERE exec_lease.expires_at < clock_timestamp() OR exec_lease.holder = :holder RETURNING epoch"
)
_RENEW = text(
    "UPDATE ledger.exec_lease SET expires_at = clock_timestamp() + make_interval(secs => :seconds) "
    "WHERE account_number = :account AND holder = :holder AND epoch = :epoch RETURNING epoch"
)
_RELEASE = text(
    "UPDATE ledger.exec_lease SET expires_at = clock_timestamp() "
    "WHERE account_number = :account AND holder = :holder AND epoch = :epoch"
)
_HOLDS = text(
    "SELECT 1 FROM ledger.exec_lease WHERE account_number = :account AND holder = :holder AND epoch = :epoch "
    "AND expires_at > clock_timestamp() FOR SHARE"
)


async def acquire(session: AsyncSession, account_number: str, holder: str, seconds: float) -> int | None:
    """Take the lease; returns the new epoch, or None while another holds it."""
    values = {"account": account_number, "holder": holder, "seconds": seconds}
    return (await session.execute(_ACQUIRE, values)).scalar()


async def renew(session: AsyncSession, account_number: str, holder: str, epoch: int, seconds: float) -> bool:
    """Hold it longer; False when it was lost."""
    values = {"account": account_number, "holder": holder, "epoch": epoch, "seconds": seconds}
    return (await session.execute(_RENEW, values)).scalar() is not None


async def release(session: AsyncSession, account_number: str, holder: str, epoch: int) -> None:
    """Give it back, so that the next holder need not wait."""
    await session.execute(_RELEASE, {"account": account_number, "holder": holder, "epoch": epoch})


async def holds(session: AsyncSession, account_number: str, holder: str, epoch: int) -> bool:
    """Whether the lease is held and valid; it stays so until this transaction ends."""
    values = {"account": account_number, "holder": holder, "epoch": epoch}
    return (await session.execute(_HOLDS, values)).scalar() is not None

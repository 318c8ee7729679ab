"""Sign in, sessions, and the local token of the command line."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel import col

from chassis.database import transaction
from chassis.settings import Mode
from gateway.domain import PERMISSIONS, Permission, Role
from gateway.settings import GatewaySettings
from gateway.tables import Session, User

COOKIE, CSRF_HEADER = "tt_session", "x-csrf-token"
FAILURE_WINDOW_SECONDS = 300.0
STOP_SECONDS, SEEN_MAX = 0.3, 1000
_HASHER = PasswordHasher()
# verified against for unknown names, so that the time of an answer does not tell whether a name exists
_NOBODY = _HASHER.hash(secrets.token_urlsafe(16))


class TooManyFailuresError(Exception):
    """A name failed to sign in too often; it must wait."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking."""

    username: str
    role: Role
    csrf_token: str = ""

    def may(self, permission: Permission) -> bool:
        return permission in PERMISSIONS[self.role]


@dataclass(slots=True)
class Auth:
    """Checks passwords, sessions and the local token."""

    settings: GatewaySettings
    engine: AsyncEngine
    _failures: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    _seen: dict[str, tuple[Principal, datetime]] = field(default_factory=dict)
    """Sessions the database has vouched for, and when they end: enough to stop while it is away."""

    async def prepare(self) -> None:
        """Create or refresh the demo user where the money is simulated."""
        simulated = self.settings.mode in (Mode.SIM, Mode.PAPER)
        if not simulated or not self.settings.demo_user or self.settings.demo_password is None:
            return
        password = self.settings.demo_password.get_secret_value()
        async with transaction(self.engine) as session:
            user = await session.get(User, self.settings.demo_user)
            if user is None:
                session.add(
                    User(
                        username=self.settings.demo_user,
                        password_hash=_HASHER.hash(password),
                        role=Role.ADMIN.value,
                        created_at=datetime.now(UTC),
                    )
                )
            elif not _matches(user.password_hash, password):
                user.password_hash = _HASHER.hash(password)

    async def login(self, username: str, password: str) -> tuple[str, Principal] | None:
        """Session token and principal, or None. Raises TooManyFailuresError."""
        failures = self._failures[username]
        while failures and failures[0] < time.monotonic() - FAILURE_WINDOW_SECONDS:
            failures.popleft()
        if len(failures) >= self.settings.login_failures_max:
            raise TooManyFailuresError
        async with transaction(self.engine) as session:
            user = await session.get(User, username)
            if not _matches(user.password_hash if user else _NOBODY, password) or user is None:
                failures.append(time.monotonic())
                return None
            failures.clear()
            token, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
            now = datetime.now(UTC)
            await session.execute(delete(Session).where(col(Session.expires_at) < now))
            session.add(
                Session(
                    token_hash=_hash(token), username=username, csrf_token=csrf, created_at=now,
                    expires_at=now + timedelta(hours=self.settings.session_hours),
                )
            )  # fmt: skip
            return token, Principal(username, Role(user.role), csrf)

    async def logout(self, token: str) -> None:
        """End a session."""
        self._seen.pop(_hash(token), None)
        async with transaction(self.engine) as session:
            await session.execute(delete(Session).where(col(Session.token_hash) == _hash(token)))

    async def by_cookie(self, token: str, permission: Permission = Permission.READ) -> Principal | None:
        """Who a session cookie belongs to; None when it is unknown or over.

        To stop, a session that was good before is enough while the database is away.
        """
        key = _hash(token)
        try:
            async with asyncio.timeout(None if permission is not Permission.STOP else STOP_SECONDS):
                principal, ends = await self._session(key)
        except (SQLAlchemyError, OSError, TimeoutError):
            if permission is not Permission.STOP:
                raise
            # one that was never seen waits for the database, however slow it is
            principal, ends = self._seen[key] if key in self._seen else await self._session(key)
        if principal is None or ends < datetime.now(UTC):
            self._seen.pop(key, None)
            return None
        self._seen[key] = (principal, ends)
        while len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]
        return principal

    async def _session(self, key: str) -> tuple[Principal | None, datetime]:
        async with transaction(self.engine) as session:
            found = await session.get(Session, key)
            user = await session.get(User, found.username) if found else None
        if found is None or user is None:
            return None, datetime.now(UTC)
        return Principal(user.username, Role(user.role), found.csrf_token), found.expires_at

    def by_bearer(self, header: str) -> Principal | None:
        """The command line of this machine."""
        token = self.settings.local_token
        if token is None or not header.startswith("Bearer "):
            return None
        given = header.removeprefix("Bearer ").encode()
        known = hmac.compare_digest(given, token.get_secret_value().encode())
        return Principal("local", Role.ADMIN) if known else None


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _matches(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password)
    except (VerifyMismatchError, InvalidHashError):
        return False

"""A stop that the ordinary roads may not carry: the file for this machine, HTTP for the guardian."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx

from chassis import kill_file
from chassis.telemetry import get_logger
from gateway.domain import ACK_SECONDS, KillRecord
from gateway.settings import GatewaySettings
from schemas.account import KillScope
from schemas.commands import KillCommand

GUARDIAN_SECONDS, GUARDIAN_ATTEMPTS = 2.0, 5
log = get_logger("gateway.other_roads")


class OtherRoads:
    """Taken when the ledger did not commit in time, the bus did not take the broadcast, or a process stayed silent."""

    def __init__(self, settings: GatewaySettings, expected: Callable[[], list[str]]) -> None:
        self._settings, self._expected = settings, expected

    async def follow(self, record: KillRecord, *, told: bool) -> bool:
        """Take them at once where something failed, else only for who has not confirmed in time; whether they were."""
        if record.revision is None or not told:
            await self.take(record.command)
            await asyncio.sleep(ACK_SECONDS)
            return True
        await asyncio.sleep(ACK_SECONDS)
        silent = record.silent(self._expected())
        if silent and not record.over:
            log.error("kill.not_confirmed", services=silent)
            await self.take(record.command)
        return bool(silent)

    async def take(self, command: KillCommand) -> None:
        """Write the file and tell the guardian; one failing does not keep the other."""
        try:
            await asyncio.to_thread(kill_file.write, self._settings.data_dir, command)
        except OSError as error:
            log.error("kill.file_not_written", error=str(error))
        for _ in range(GUARDIAN_ATTEMPTS):
            if await self._tell("/kill", command.model_dump_json()):
                return

    async def release(self, scope: KillScope, scope_value: str) -> None:
        """After a resume: the file goes if it asked for this stop, and the guardian is told."""
        held = kill_file.read(self._settings.data_dir)
        if held is not None and (held.scope, held.scope_value) == (scope, scope_value):
            kill_file.remove(self._settings.data_dir)
        body = KillCommand(scope=scope, scope_value=scope_value)
        await self._tell("/release", body.model_dump_json(include={"scope", "scope_value"}))

    async def _tell(self, path: str, body: str) -> bool:
        settings = self._settings
        if not settings.guardian_url or settings.guardian_token is None:
            return True
        headers = {
            "Authorization": f"Bearer {settings.guardian_token.get_secret_value()}",
            "Content-Type": "application/json",
        }
        try:
            async with httpx.AsyncClient(timeout=GUARDIAN_SECONDS, trust_env=False) as http:
                answer = await http.post(f"{settings.guardian_url}{path}", content=body, headers=headers)
                answer.raise_for_status()
        except httpx.HTTPError as error:
            log.error("guardian.not_told", path=path, error=f"{type(error).__name__}: {error}"[:200])
            return False
        return True

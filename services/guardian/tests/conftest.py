"""A guardian at a simulated broker, with working orders and nothing else: no bus, no database."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from pydantic import SecretStr

from chassis.clock import SystemClock
from chassis.embedded import free_port
from guardian.alerts import Pager
from guardian.api import application
from guardian.bridge import Bridge
from guardian.broker import CancelOnlyBroker
from guardian.handlers import Guardian
from guardian.settings import GuardianSettings
from tastyclient import ClientSettings, NewLeg, NewOrder, TastyClient
from tastysim.service import build as build_simulator
from tastysim.settings import SimSettings
from testkit import eventually

ACCOUNT = "5WT00001"
NOWHERE = "nats://127.0.0.1:1"


@dataclass
class Rig:
    """A guardian, the simulator, and an order desk that stands for the executor that is gone."""

    url: str
    folder: Path
    market: Any
    account: Any
    client: TastyClient
    guardian: Guardian = None  # type: ignore[assignment]
    http: httpx.AsyncClient = None  # type: ignore[assignment]
    _running: list[asyncio.Task[None]] = None  # type: ignore[assignment]

    async def start(self, **changes: Any) -> Guardian:
        """Start a guardian that keeps this test's times."""
        settings = GuardianSettings(
            **{
                "nats_url": NOWHERE, "broker_url": self.url, "data_dir": self.folder, "token": SecretStr("let-me"),
                "broker_grant_secret": SecretStr("demo-client-secret"),
                "broker_grant_token": SecretStr("demo-refresh-token"), "sweep_seconds": 0.2, "watch_seconds": 0.2,
                "request_timeout_seconds": 1.0, **changes,
            }
        )  # fmt: skip
        broker = CancelOnlyBroker(settings.broker_url, *settings.grant(), settings.request_timeout_seconds)
        self.guardian = Guardian(settings, broker, SystemClock(), Pager(settings.alert_webhook_url, "sim"))
        self.bridge = Bridge(self.guardian)
        transport = httpx.ASGITransport(app=application(self.guardian))
        self.http = httpx.AsyncClient(
            transport=transport, base_url="http://guardian", headers={"Authorization": "Bearer let-me"}
        )
        loops = (
            self.guardian.file_loop, self.guardian.sweep_loop, self.guardian.watch_loop, self.bridge.run
        )  # fmt: skip
        self._running = [asyncio.create_task(loop()) for loop in loops]
        return self.guardian

    async def stop(self) -> None:
        for task in self._running or ():
            task.cancel()
        await asyncio.gather(*(self._running or ()), return_exceptions=True)
        if self.guardian is not None:
            await self.bridge.close()
            await self.guardian.broker.close()
            await self.http.aclose()

    def contract(self, number: int = 0, underlying: str = "SPY") -> str:
        """A listed contract."""
        return str(self.market.options[self.market.rows[underlying].start + number].occ)

    async def open_one(self, number: int = 0, underlying: str = "SPY") -> int:
        """A working order that opens."""
        leg = NewLeg(symbol=self.contract(number, underlying), action="Buy to Open", quantity=1)
        return (await self.client.submit(ACCOUNT, NewOrder(legs=(leg,), price="-0.05"))).id  # type: ignore[arg-type]

    async def close_one(self) -> int:
        """A working order that closes a contract that is held."""
        symbol = self.contract(3)
        leg = NewLeg(symbol=symbol, action="Buy to Open", quantity=1)
        await self.fills("immediate")
        bought = await self.client.submit(ACCOUNT, NewOrder(legs=(leg,), order_type="Market"))

        async def filled() -> bool:
            return (await self.client.order(ACCOUNT, bought.id)).status.value == "Filled"

        await eventually(filled)
        await self.fills("never")
        leg = NewLeg(symbol=symbol, action="Sell to Close", quantity=1)
        order = NewOrder(legs=(leg,), price="900", closing=True)  # type: ignore[arg-type]
        return (await self.client.submit(ACCOUNT, order)).id

    async def fills(self, behaviour: str) -> None:
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as client:
            (await client.put("/sim/fills", json={"behavior": behaviour})).raise_for_status()

    def working(self) -> set[int]:
        """Numbers of the orders that can still fill."""
        return {int(order.id) for order in self.account.orders.values() if not order.is_terminal}

    def cancelled(self) -> list[int]:
        """Numbers of the orders that were cancelled, in the order of it."""
        events = [event for event in self.account.history() if event.get("status") in ("Cancel Requested", "Cancelled")]
        return list(dict.fromkeys(int(event["order-id"]) for event in events))


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A simulator whose orders never fill; the test starts the guardian."""
    port = free_port()
    app = build_simulator(SimSettings(port=port, data_dir=tmp_path / "sim"))
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, log_level="error", ws_per_message_deflate=False, timeout_graceful_shutdown=1)
    )
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    url = f"http://127.0.0.1:{port}"
    client = TastyClient(
        ClientSettings(
            base_url=url, client_secret=SecretStr("demo-client-secret"),
            refresh_token=SecretStr("demo-refresh-token"), requests_per_second=200, burst=200,
        )
    )  # fmt: skip
    made = Rig(url, tmp_path, app.state.market, app.state.brokerage.broker(ACCOUNT), client)
    await made.fills("never")
    yield made
    await made.stop()
    await client.__aexit__()
    server.should_exit = True
    with contextlib.suppress(asyncio.CancelledError):
        await serving

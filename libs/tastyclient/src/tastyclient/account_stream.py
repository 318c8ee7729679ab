"""The account stream: orders, positions and balances as the broker pushes them; reconnects by itself."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import websockets
from pydantic import ValidationError

from tastyclient.errors import BrokerError
from tastyclient.models import Balance, PlacedOrder, Position

HEARTBEAT_SECONDS, SILENCE_SECONDS, BACK_OFF_SECONDS_MAX = 10.0, 35.0, 30.0

Notification = PlacedOrder | Position | Balance
_MODELS: dict[str, type[PlacedOrder] | type[Position] | type[Balance]] = {
    "Order": PlacedOrder,
    "CurrentPosition": Position,
    "AccountBalance": Balance,
}


class StreamRefusedError(ValueError):
    """The server refused to connect the accounts, or sent something that cannot be read."""


@dataclass(slots=True)
class AccountStream:
    """Notifications of some accounts for ever. Neither callback may block.

    on_status is called with True once the accounts are connected: what happened before must then be read over REST.
    """

    address: str
    accounts: Sequence[str]
    token: Callable[[], Awaitable[str]]
    on_notification: Callable[[Notification], None]
    on_status: Callable[[bool, str], None]
    back_off_seconds: float = 0.5
    last_message: float | None = None
    """Monotonic seconds of the newest message, heartbeat answers included."""

    async def run(self) -> None:
        """Connect, listen, and connect again whatever happened; ends only by cancellation."""
        failures = 0
        while True:
            began = time.monotonic()
            try:
                await self._connection()
                reason = "the server closed the connection"
            except (OSError, websockets.WebSocketException, BrokerError, TimeoutError, StreamRefusedError) as error:
                reason = f"{type(error).__name__}: {error}"
            self.on_status(False, reason)
            failures = 0 if time.monotonic() - began > SILENCE_SECONDS else failures + 1
            longest = min(BACK_OFF_SECONDS_MAX, self.back_off_seconds * 2 ** min(failures, 8))
            await asyncio.sleep(random.uniform(longest / 2, longest))

    async def _connection(self) -> None:
        async with websockets.connect(self.address, compression=None, max_size=2**22, close_timeout=1) as socket:
            await self._say(socket, "connect", list(self.accounts))
            beating = asyncio.create_task(self._beat(socket))
            try:
                while True:
                    message = await asyncio.wait_for(socket.recv(), SILENCE_SECONDS)
                    self.last_message = time.monotonic()
                    self._take(message)
                    if beating.done():
                        beating.result()
            finally:
                beating.cancel()

    def _take(self, text: str | bytes) -> None:
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise StreamRefusedError(f"not JSON: {error}") from None
        for each in message.get("results", [message]) if isinstance(message, dict) else []:
            if each.get("status") == "error":
                raise StreamRefusedError(f"{each.get('action')}: {each.get('message')}")
            if each.get("action") == "connect":
                self.on_status(True, "")
            model = _MODELS.get(str(each.get("type")))
            if model is not None:
                self.on_notification(_read(model, each.get("data")))

    async def _beat(self, socket: websockets.ClientConnection) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await self._say(socket, "heartbeat", None)

    async def _say(self, socket: websockets.ClientConnection, action: str, value: list[str] | None) -> None:
        message: dict[str, Any] = {"action": action, "auth-token": f"Bearer {await self.token()}", "request-id": 1}
        if value is not None:
            message["value"] = value
        await socket.send(orjson.dumps(message).decode())


def _read(model: type[PlacedOrder] | type[Position] | type[Balance], data: object) -> Notification:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StreamRefusedError(f"{model.__name__}.{where}: {first['msg']}") from None

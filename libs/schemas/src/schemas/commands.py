"""Control messages."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import ConfigDict, Field, ValidationError

from schemas.account import GateMode, KillScope
from schemas.base import Message


class KillCommand(Message):
    """Stop trading. Anyone who may operate can send it from any NATS client; it tightens only, never loosens.

    Every field has a default: an empty message on `ctl.kill` stops everything.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    ts_event: datetime = Field(default_factory=lambda: datetime.now(UTC))
    scope: KillScope = KillScope.ALL
    scope_value: str = ""
    mode: GateMode = GateMode.CANCEL_WORKING
    who: str = "unknown"
    why: str = ""
    command_id: str = ""


def parse_kill(data: bytes) -> KillCommand:
    """Read a raw control message. One that cannot be read stops everything: a stop is never lost to a typing error.

    `run` is not a way to resume: such a message is read as a full stop too.
    """
    try:
        command = KillCommand.model_validate_json(data) if data.strip() else KillCommand(why="empty control message")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "message"
        return KillCommand(why=f"unreadable control message ({where}: {first['msg']})"[:200])
    if command.mode is GateMode.RUN or (command.scope is not KillScope.ALL and not command.scope_value):
        return command.model_copy(update={"mode": GateMode.CANCEL_WORKING, "scope": KillScope.ALL, "scope_value": ""})
    return command


class KillAck(Message):
    """A process confirms that its local flag is set."""

    service: str
    instance: str
    command_id: str = ""
    gate_revision: int | None = None
    working_orders: int | None = None
    """Orders of ours still working at the broker, as far as this process knows."""

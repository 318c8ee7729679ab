"""The two bases of every message: facts and state tolerate new fields, commands refuse unknown ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict


def _aware_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError(f"{value.isoformat()} has no time zone: give an aware UTC time, for example with a trailing Z")
    return value.astimezone(UTC)


UtcDatetime = Annotated[datetime, AfterValidator(_aware_utc)]
"""An aware instant, converted to UTC; a naive datetime is refused."""


class Value(BaseModel):
    """A frozen part of a message: has no subject of its own."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Message(BaseModel):
    """A frozen fact or state that a subject carries. Readers ignore fields they do not know."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    version: ClassVar[int] = 1
    """Raised only by an incompatible change; a type name with its version is never used again."""

    ts_event: UtcDatetime
    """When it happened at the source."""

    @classmethod
    def type_name(cls) -> str:
        """Name that the `tt-type` header and the AsyncAPI document carry."""
        return cls.__name__


class Command(Message):
    """A message that asks for an effect. An unknown field is an error: it may have been meant to limit the effect."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

"""What every wire model shares: kebab-case names, decimals as text, a magnitude beside its effect.

The broker never sends a negative amount: it sends a magnitude and a sibling `<field>-effect` of Debit, Credit or None.
Here every such pair is one signed Decimal: what leaves the account (Debit) is negative, what comes in is positive.
"""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from tastyclient.errors import MalformedReplyError
from tastyclient.http import Json

W = TypeVar("W", bound="Wire")


def kebab(name: str) -> str:
    """The wire's spelling of a field."""
    return name.replace("_", "-")


class Wire(BaseModel):
    """Unknown fields are ignored: the broker adds some without notice."""

    model_config = ConfigDict(
        alias_generator=kebab, populate_by_name=True, extra="ignore", frozen=True, use_attribute_docstrings=True
    )


class Record(Wire):
    """A model read from the broker: amounts get their sign, and what is null or "NaN" counts as absent."""

    @model_validator(mode="before")
    @classmethod
    def _signed(cls, data: Any) -> Any:
        return signed(data) if isinstance(data, dict) else data


def signed(data: dict[str, Any]) -> dict[str, Any]:
    """The same fields with the effects applied: Debit negative, anything else as sent. Absent for null and "NaN"."""
    found: dict[str, Any] = {}
    for name, value in data.items():
        if value is None or (isinstance(value, str) and value == "NaN"):
            continue
        effect = data.get(f"{name}-effect") or data.get(f"{name.removesuffix('-amount')}-effect")
        if effect == "Debit":
            with suppress(InvalidOperation):  # the field's own validation names it
                value = -abs(Decimal(str(value)))
        found[name] = value
    return found


class InstrumentType(StrEnum):
    BOND = "Bond"
    CRYPTOCURRENCY = "Cryptocurrency"
    CURRENCY_PAIR = "Currency Pair"
    EQUITY = "Equity"
    EQUITY_OFFERING = "Equity Offering"
    EQUITY_OPTION = "Equity Option"
    EVENT_CONTRACT = "Event Contract"
    FIXED_INCOME_SECURITY = "Fixed Income Security"
    FUTURE = "Future"
    FUTURE_OPTION = "Future Option"
    INDEX = "Index"
    LIQUIDITY_POOL = "Liquidity Pool"
    UNKNOWN = "Unknown"
    WARRANT = "Warrant"


class OrderAction(StrEnum):
    """What a leg does. Buy and Sell are for a single outright future only."""

    BUY_TO_OPEN = "Buy to Open"
    BUY_TO_CLOSE = "Buy to Close"
    SELL_TO_OPEN = "Sell to Open"
    SELL_TO_CLOSE = "Sell to Close"
    BUY = "Buy"
    SELL = "Sell"
    ALLOCATE = "Allocate"

    @property
    def sign(self) -> int:
        """1 for what adds to the position, -1 for what takes from it."""
        return -1 if self.value.startswith("Sell") else 1


def _whole(value: Any) -> Any:
    """A whole quantity as int, whether it came as 1, "1" or "1.0"; a fraction as an exact Decimal."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return value
    try:
        number = Decimal(str(value))
        return int(number) if number == number.to_integral_value() else number
    except (InvalidOperation, OverflowError):
        return value


Quantity = Annotated[int | Decimal, BeforeValidator(_whole)]
"""Contracts or shares: int when whole, an exact Decimal for a fraction of a share or coin."""
Reference = Annotated[InstrumentType | str, Field(union_mode="left_to_right")]
"""A kind of instrument; one that is not known yet stays the broker's word."""
Action = Annotated[str, AfterValidator(OrderAction)]
"""Becomes an `OrderAction`; an unmapped action fails loudly."""


def read(model: type[W], data: Json) -> W:
    """Validate decoded JSON. Raises MalformedReplyError, which names the first field that cannot be read."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MalformedReplyError(
            f"{model.__name__}.{where}: {first['msg']}, got {first.get('input')!r}"[:500]
        ) from None


def items(model: type[W], data: Json) -> list[W]:
    """Validate the `items` of a list. Raises MalformedReplyError."""
    return [read(model, row) for row in rows(model.__name__, data)]


def rows(what: str, data: Json) -> list[dict[str, Json]]:
    """The objects of a list as they were sent. Raises MalformedReplyError."""
    found = data.get("items") if isinstance(data, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise MalformedReplyError(f"{what}: the list has no `items`, or one that is no object")
    return found

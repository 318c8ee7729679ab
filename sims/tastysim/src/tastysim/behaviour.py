"""The ways in which an order can be told to fill."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

SYNTAX = "book, model, immediate, delayed:SECONDS, partial[:SECONDS], partial:size, never or reject[:REASON]"


class FillKind(StrEnum):
    BOOK = "book"
    """At natural at once; between mid and natural by a chance that grows; never more at once than the shown sizes."""
    MODEL = "model"
    """By the fill model of live trading, paper and backtest (`strategies.fill_model`)."""
    IMMEDIATE = "immediate"
    """All of it at once where mid reaches the limit: at the limit, or at natural where that is better; market: mid."""
    DELAYED = "delayed"
    """After some seconds, as `immediate`."""
    PARTIAL = "partial"
    """Half at once and half later, or what the shown sizes allow each time, as `immediate`."""
    NEVER = "never"
    REJECT = "reject"
    """Rejected by the venue after it was routed."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How an order fills."""

    kind: FillKind = FillKind.BOOK
    seconds: float = 0.0
    """Market seconds: until a delayed fill, or until the second half of a partial one."""
    by_size: bool = False
    reason: str = ""

    @classmethod
    def parse(cls, text: str) -> Behaviour:
        """Read `model`, `delayed:30`, `partial:size`, `reject:no such class`, … Raises ValueError with the syntax."""
        name, colon, more = text.partition(":")
        try:
            kind = FillKind(name)
            if kind is FillKind.REJECT:
                return cls(kind, reason=more or "Rejected by the venue")
            if kind is FillKind.PARTIAL and more == "size":
                return cls(kind, by_size=True)
            if kind in (FillKind.DELAYED, FillKind.PARTIAL):
                seconds = float(more) if colon or kind is FillKind.DELAYED else 1.0
                if not 0 <= seconds < math.inf:
                    raise ValueError(more)
                return cls(kind, seconds)
            if colon:
                raise ValueError(more)
            return cls(kind)
        except ValueError:
            raise ValueError(f"{text!r} is no fill behaviour: write {SYNTAX}") from None

    def __str__(self) -> str:
        more = {
            FillKind.REJECT: f":{self.reason}", FillKind.DELAYED: f":{self.seconds:g}",
            FillKind.PARTIAL: ":size" if self.by_size else f":{self.seconds:g}",
        }  # fmt: skip
        return f"{self.kind}{more.get(self.kind, '')}"

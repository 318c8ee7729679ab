"""What can go wrong with a request.

BrokerError
├── RejectedError             the broker refused it, with proof: it had no effect
│   ├── AuthenticationError   401, 403: token, scope or account authority
│   ├── NotFoundError         404
│   └── ThrottledError        429
├── NotSentError              no byte of the request left this process
└── UnknownOutcomeError       sent or possibly sent; it may have had its effect
    └── MalformedReplyError   the reply could not be read

The attribute that matters most is `outcome`: only `rejected` and `not_sent` prove that nothing happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Outcome(StrEnum):
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    NOT_SENT = "not_sent"


@dataclass(frozen=True, slots=True)
class Reason:
    """One entry of the broker's error list."""

    code: str
    message: str


class BrokerError(Exception):
    """A request that did not succeed."""

    outcome: ClassVar[Outcome] = Outcome.UNKNOWN

    def __init__(
        self, message: str, *, status: int | None = None, code: str = "", reasons: Sequence[Reason] = ()
    ) -> None:
        self.status = status
        self.code = code
        self.reasons = tuple(reasons)
        details = "; ".join(f"{each.code}: {each.message}" for each in self.reasons)
        super().__init__(" ".join(part for part in (str(status or ""), code, message, details) if part))


class RejectedError(BrokerError):
    """The broker refused it, with proof."""

    outcome = Outcome.REJECTED


class AuthenticationError(RejectedError):
    """The token, its scope or the account authority was refused."""


class NotFoundError(RejectedError):
    """There is no such account, symbol or order."""


class ThrottledError(RejectedError):
    """Too many requests; nothing says when to come back."""


class NotSentError(BrokerError):
    """The connection failed before the request was written."""

    outcome = Outcome.NOT_SENT


class UnknownOutcomeError(BrokerError):
    """A timeout, a disconnect or a server fault after sending."""


class MalformedReplyError(UnknownOutcomeError):
    """A success status whose body cannot be read."""

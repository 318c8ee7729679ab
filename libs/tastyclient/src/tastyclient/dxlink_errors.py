"""What can go wrong with a DXLink connection.

ProtocolError           the connection must be made anew
├── TokenRefusedError   the quote token was refused: ask the broker for a new one
├── ServerError         the server said ERROR; `fatal` says whether the connection is lost
└── FrameError          one message could not be read; nothing of it was used, and the connection lives
"""

from __future__ import annotations

_FATAL = frozenset({"UNSUPPORTED_PROTOCOL", "TIMEOUT", "UNAUTHORIZED"})


class ProtocolError(ValueError):
    """The server sent something that cannot be understood; the connection must be made anew."""

    fatal = True


class TokenRefusedError(ProtocolError):
    """The token was refused."""


class ServerError(ProtocolError):
    """The server reports an error. Only those of the protocol, the keepalive and the token end a connection."""

    def __init__(self, kind: str, message: str, channel: int) -> None:
        super().__init__(f"the server reports {kind} on channel {channel}: {message}")
        self.kind = kind
        self.fatal = kind in _FATAL


class FrameError(ProtocolError):
    """One message could not be read; the text names what was wrong."""

    fatal = False


class SubscriptionLimitError(ValueError):
    """More was asked for than one session of the server may subscribe to."""

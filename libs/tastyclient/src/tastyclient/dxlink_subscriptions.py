"""What is wanted of the feed, as data, within what a session of the server may subscribe to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tastyclient.dxlink_errors import SubscriptionLimitError

Key = tuple[str, str | None]
"""Symbol and, of orders, source."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server allows one session; None = no limit."""

    symbols_per_message: int = 1_000
    subscriptions: int | None = None
    """Pairs of event type and symbol."""
    per_type: Mapping[str, int] = field(default_factory=dict)
    changes_per_minute: int | None = None
    """In any minute; so also the size of a burst."""


NO_LIMITS = Limits()
BROKER_LIMITS = Limits(
    subscriptions=25_000, per_type={"Candle": 100, "Order": 100, "Series": 100}, changes_per_minute=10_000
)
"""As the broker documents them for its feed."""


class Wanted:
    """Subscriptions in the order they were asked for: that is also the order of a replay."""

    def __init__(self, limits: Limits = NO_LIMITS) -> None:
        self.limits = limits
        self._of: dict[str, dict[Key, int | None]] = {}

    def of(self, event_type: str) -> Mapping[Key, int | None]:
        """Wanted keys → from when (epoch milliseconds, None = from now)."""
        return self._of.get(event_type, {})

    def types(self) -> list[str]:
        """Event types of which something is wanted."""
        return [event_type for event_type, keys in self._of.items() if keys]

    def __len__(self) -> int:
        return sum(len(keys) for keys in self._of.values())

    def replace(self, event_type: str, symbols: Iterable[str], source: str | None, from_time: int | None) -> None:
        """These symbols of this source and no others. SubscriptionLimitError: nothing has changed."""
        others = {key: at for key, at in self.of(event_type).items() if key[1] != source}
        self._take(event_type, others | {(symbol, source): from_time for symbol in symbols})

    def add(self, event_type: str, symbols: Iterable[str], source: str | None, from_time: int | None) -> None:
        """These symbols too. SubscriptionLimitError: nothing has changed."""
        self._take(event_type, dict(self.of(event_type)) | {(symbol, source): from_time for symbol in symbols})

    def remove(self, event_type: str, symbols: Iterable[str], source: str | None) -> None:
        """These symbols no more."""
        gone = {(symbol, source) for symbol in symbols}
        self._of[event_type] = {key: at for key, at in self.of(event_type).items() if key not in gone}

    def clear(self) -> None:
        """Nothing any more."""
        self._of.clear()

    def _take(self, event_type: str, keys: dict[Key, int | None]) -> None:
        limits = self.limits
        total = len(self) - len(self.of(event_type)) + len(keys)
        most = limits.per_type.get(event_type)
        if most is not None and len(keys) > most:
            raise SubscriptionLimitError(f"{len(keys)} symbols of {event_type}: a session may have {most}")
        if limits.subscriptions is not None and total > limits.subscriptions:
            raise SubscriptionLimitError(f"{total} subscriptions: a session may have {limits.subscriptions}")
        self._of[event_type] = keys


def row(event_type: str, key: Key, from_time: int | None) -> dict[str, str | int]:
    """One entry of a FEED_SUBSCRIPTION message."""
    symbol, source = key
    found: dict[str, str | int] = {"type": event_type, "symbol": symbol}
    if source is not None:
        found["source"] = source
    if from_time is not None:
        found["fromTime"] = from_time
    return found

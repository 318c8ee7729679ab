"""What a market of live quotes asks of the simulator: to be read all the time, and waited for after a start."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol, runtime_checkable

from tastysim.brokerage import Brokerage


@runtime_checkable
class Live(Protocol):
    """A market whose quotes come in by themselves, at the machine's own time."""

    async def run(self) -> None:
        """Read until cancelled."""

    def waits_for(self, symbols: Iterable[str]) -> str | None:
        """Which of these has no price yet."""


def unpriced(market: Live, brokerage: Brokerage) -> str | None:
    """A position whose price is not known yet: until it is, no account can be valued."""
    return market.waits_for(symbol for broker in brokerage.brokers.values() for symbol in broker.positions)


def when_priced(market: Live, brokerage: Brokerage, decide: Callable[[datetime], None]) -> Callable[[datetime], None]:
    """Decides as soon as every position has a price, not before."""

    def decided(now: datetime) -> None:
        if unpriced(market, brokerage) is None:
            decide(now)

    return decided

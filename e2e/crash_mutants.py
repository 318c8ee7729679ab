"""Executors with one thing wrong each: trials that do not find them prove nothing about the right one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def _sends_again() -> None:
    """A request whose answer was lost is sent a second time."""
    from executor.submit import Sender
    from tastyclient import BrokerError

    once = Sender._request

    async def request(self: Sender, *arguments: Any) -> Any:
        try:
            return await once(self, *arguments)
        except BrokerError:
            return await once(self, *arguments)

    Sender._request = request  # type: ignore[method-assign]


def _loses_fills() -> None:
    """Fills of bought legs are not booked."""
    from executor import observe

    class Careless:
        """The ledger's fills without half of them."""

        def __getattr__(self, name: str) -> Any:
            return getattr(found, name)

        async def book(self, session: Any, fill: Any, *arguments: Any) -> bool:
            return fill.action.sign < 0 and await found.book(session, fill, *arguments)

    found = observe.fills
    observe.fills = Careless()  # type: ignore[assignment]


def _knows_no_limit() -> None:
    """The permit is given without the second look at the limits."""
    from ledger import claims

    async def recheck(*_: Any) -> None:
        return None

    claims.reservations.recheck = recheck  # type: ignore[assignment]


MUTANTS: Mapping[str, Callable[[], None]] = {
    "sends_again": _sends_again,
    "loses_fills": _loses_fills,
    "knows_no_limit": _knows_no_limit,
}
"""Name → what it does to the process it is called in."""

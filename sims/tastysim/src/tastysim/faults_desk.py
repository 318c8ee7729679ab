"""The faults of one simulator in one place: installed, struck by requests, streams and orders, started by scenarios."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from tastysim.access import Tokens
from tastysim.faults import AnyFault, Throttle
from tastysim.faults_installed import Faults, Installed
from tastysim.faults_orders import OrderFaults, Push, ShownBrokerage
from tastysim.faults_requests import RequestFaults
from tastysim.scenario import Scenario, Scenarios

_WATCH_SECONDS = 0.05
log = logging.getLogger("tastysim.faults")


class FaultsDesk:
    """Everything that can go wrong. While no fault is installed and none has left something to do, nothing runs."""

    def __init__(self, brokerage: ShownBrokerage, tokens: Tokens, push: Push, cash: Decimal) -> None:
        market = brokerage.market

        def now() -> datetime:
            return market.now

        self.faults = Faults(now, lambda rows: brokerage.store.keep({}, events=rows))
        self.orders = OrderFaults(self.faults, brokerage, push, cash)
        self.requests = RequestFaults(self.faults, self.orders, tokens.revoke)
        self.scenarios = Scenarios(self.faults, now)
        self._watching: asyncio.Task[None] | None = None

    def install(self, fault: AnyFault) -> Installed:
        """Install a fault. Raises FaultError when its name is taken."""
        found = self.faults.install(fault)
        self.watch()
        return found

    def limit(self, requests_per_second: float) -> None:
        """Refuse what a token asks beyond a rate, with a burst of two seconds of it; 0 = no limit."""
        if requests_per_second:
            burst = max(1, round(2 * requests_per_second))
            self.faults.install(Throttle(name="rate-limit", requests_per_second=requests_per_second, burst=burst))

    def start(self, scenario: Scenario) -> str:
        """Begin a scenario; the name of its run."""
        name = self.scenarios.start(scenario)
        self.watch()
        return name

    def clear(self) -> list[str]:
        """End every scenario and remove every fault; their names."""
        names = list(self.faults.installed)
        for row in self.scenarios.rows():
            self.scenarios.stop(row["run"])
        for name in list(self.faults.installed):
            self.faults.remove(name)
        return names

    def before_match(self) -> None:
        """What happens at the broker before orders are matched."""
        if self._is_busy:
            self.scenarios.step()
            self.orders.step()

    def step(self, decide: Callable[[datetime], None]) -> Callable[[datetime], None]:
        """A step of the accounts with the faults before it."""

        def both(now: datetime) -> None:
            self.before_match()
            decide(now)

        return both

    @property
    def _is_busy(self) -> bool:
        return bool(self.faults.installed) or self.orders.is_busy or self.scenarios.is_busy

    def watch(self) -> None:
        """Look after what the market's steps do not move, as long as there is something: needs a running loop."""
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while self._is_busy:
            try:
                self.before_match()
                self.requests.frames.step()
                self.faults.flush()
            except Exception:  # the edge: what one fault cannot do must not keep the others from theirs
                log.exception("a fault failed")
            await asyncio.sleep(_WATCH_SECONDS)
        self.faults.flush()

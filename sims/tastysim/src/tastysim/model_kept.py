"""The model market over restarts of the process: its start and the time it has reached are kept in the store."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

from tastysim.listed import Universe
from tastysim.model_hours import Hours
from tastysim.model_market import ModelMarket
from tastysim.settings import SimSettings
from tastysim.store import Store

KEY = "model market"
_EVERY_SECONDS = 2.0


def resumed(settings: SimSettings, store: Store, now: datetime | None = None) -> ModelMarket:
    """The market where it was; one that starts now when there was none, or when seed, universe or hours are others.

    At the speed of life it goes on at the time of now, having moved in between; at others where it stopped.
    """
    now = now or datetime.now(UTC)
    universe, hours = Universe.parse(settings.universe, settings.seed), Hours(settings.hours)
    kept = json.loads(store.kept(KEY) or "null")
    if kept is None or any(kept[name] != value for name, value in _identity(settings).items()):
        return ModelMarket(settings.seed, now, universe=universe, hours=hours)
    start, at = (datetime.fromisoformat(kept[name]) for name in ("start", "now"))
    if settings.speed == 1 and not settings.paused:
        at = max(at, now)
    return ModelMarket(settings.seed, start, now=at, universe=universe, hours=hours)


def keeper(settings: SimSettings, store: Store, market: ModelMarket) -> Callable[[], None]:
    """Writes down every other second, and at once the first time, how far the market has come."""
    due = time.monotonic()
    identity = _identity(settings) | {"start": market.start.isoformat()}

    def keep() -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + _EVERY_SECONDS
            store.keep({KEY: json.dumps(identity | {"now": market.now.isoformat()})})

    return keep


def _identity(settings: SimSettings) -> dict[str, int | str]:
    return {"seed": settings.seed, "universe": settings.universe, "hours": settings.hours}

"""Call a person: log, metric, and a webhook where one is set."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import httpx

from chassis.telemetry import get_logger
from guardian import metrics

AGAIN_SECONDS = 300.0
log = get_logger("guardian")


@dataclass(slots=True)
class Pager:
    """Pages about the same thing again after five minutes only, or after it was well in between."""

    webhook_url: str
    mode: str
    raised: dict[str, str] = field(default_factory=dict)
    """What is wrong now: code → text."""
    _at: dict[str, float] = field(default_factory=dict)

    async def page(self, code: str, text: str) -> None:
        """Call a person about this; nothing that goes wrong here stops the guardian."""
        now = time.monotonic()
        fresh = code not in self.raised or now - self._at[code] > AGAIN_SECONDS
        self.raised[code] = text
        if not fresh:
            return
        self._at[code] = now
        metrics.alarms.labels(code).inc()
        log.error("alarm", code=code, message=text)
        if not self.webhook_url:
            return
        body = {"source": "guardian", "mode": self.mode, "code": code, "severity": "page", "text": text}
        try:
            async with httpx.AsyncClient(timeout=5.0, trust_env=False) as http:
                (await http.post(self.webhook_url, json=body)).raise_for_status()
        except httpx.HTTPError as error:
            log.warning("alarm.not_delivered", code=code, error=type(error).__name__)

    def clear(self, code: str) -> None:
        """It is well again."""
        if self.raised.pop(code, None) is not None:
            log.info("alarm.over", code=code)

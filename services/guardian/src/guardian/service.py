"""Build the guardian."""

from __future__ import annotations

from chassis.clock import Clock, SystemClock
from chassis.service import Service
from chassis.settings import SettingsError
from guardian.alerts import Pager
from guardian.api import application
from guardian.bridge import Bridge
from guardian.broker import CancelOnlyBroker
from guardian.handlers import Guardian
from guardian.settings import GuardianSettings


def build(settings: GuardianSettings, clock: Clock | None = None) -> Service:
    """The running parts of the service. Raises SettingsError without a broker or a grant."""
    if not settings.broker_url:
        raise SettingsError("guardian needs TT_BROKER_URL: the address of the broker or the simulator")
    secret, token = settings.grant()
    broker = CancelOnlyBroker(settings.broker_url, secret, token, settings.request_timeout_seconds)
    guardian = Guardian(
        settings, broker, clock or SystemClock(), Pager(settings.alert_webhook_url, settings.mode.value)
    )
    bridge = Bridge(guardian)
    # no broker of the bus is handed to the chassis: it would end the process with the bus
    return Service(
        settings=settings,
        app=application(guardian),
        loops=(guardian.file_loop, guardian.sweep_loop, guardian.watch_loop, bridge.run),
        on_stop=(bridge.close, broker.close),
        probes={"broker": guardian.broker_probe, "executor": guardian.executor_probe},
        killed=lambda: bool(guardian.stops),
    )

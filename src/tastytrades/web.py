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
    steps = [["run", "build"]] if _installed(web) else [["ci"], ["run", "build"]]
    with log_path.open("ab") as log:
        for step in steps:
            finished = subprocess.run(
                [*_npm(), *step],
                cwd=web,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
            if finished.returncode != 0:
                raise RuntimeFault(
                    f"building the web UI failed at `npm {' '.join(step)}`: see {log_path}; "
                    "`tastytrades up --no-web` starts everything else"
                )
            if step == ["ci"]:
                _mark_installed(web)
    write_whole(stamp, wanted, 0o644)
    return web / "dist"


def check() -> int:
    """Type-check, test and build the UI; output goes to the terminal. Returns the first exit code that is not 0."""
    web = sources_dir()
    steps = [["ci", "--silent"], ["run", "check", "--silent"], ["test", "--silent"], ["run", "build", "--silent"]]
    if _installed(web):
        steps = steps[1:]
    for step in steps:
        code = subprocess.run([*_npm(), *step], cwd=web, env=_environment(), check=False).returncode
        if code:
            return code
        if step[0] == "ci":
            _mark_installed(web)
    write_whole(web / "dist" / ".built-from", _fingerprint(web), 0o644)
    return 0


def _installed(web: Path) -> bool:
    marker = web / "node_modules" / ".installed-from"
    return marker.exists() and marker.read_text() == _lock(web)


def _mark_installed(web: Path) -> None:
    write_whole(web / "node_modules" / ".installed-from", _lock(web), 0o644)


def _lock(web: Path) -> str:
    return hashlib.sha256((web / "package-lock.json").read_bytes()).hexdigest()


def _npm() -> list[str]:
    own = Path(sys.executable).parent / "npm"
    return [str(own) if own.exists() else "npm"]


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TT_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    # the machine's own certificates, as uv uses them; and a dead network is reported within a minute or two
    network = {"NODE_USE_SYSTEM_CA": "1", "npm_config_fetch_retries": "2", "npm_config_fetch_timeout": "30000"}
    return kept | network | {"PATH": path}


def _fingerprint(web: Path) -> str:
    digest = hashlib.sha256()
    folders = (folder for name in ("src", "public") if (folder := web / name).exists())
    files = [web / name for name in SOURCES if (web / name).exists()]
    files += sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    for path in files:
        digest.update(str(path.relative_to(web)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


if __name__ == "__main__":
    raise SystemExit(check())

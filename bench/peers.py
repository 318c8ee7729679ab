"""Peers that are measured beside ours: each in an environment of its own, so that their pins never meet ours."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PEERS = Path(__file__).parent / ".peers"
_UV = Path(sys.executable).with_name("uv")


class PeerMissingError(RuntimeError):
    """A peer cannot be installed on this machine; the text says why."""


def peer_python(name: str, requirements: Sequence[str]) -> Path:
    """Python of an environment that holds the pinned requirements, made on first use. Raises PeerMissingError."""
    pins = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:8]
    folder = PEERS / f"{name}-{pins}"
    python = folder / "bin" / "python"
    if (folder / "installed").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    environment = os.environ | {"UV_SYSTEM_CERTS": "1"}
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(_UV), "pip", "install", "-q", "--python", str(python), *requirements],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PeerMissingError(f"{name} cannot be installed: {(done.stderr.strip() or 'no output')[-400:]}")
    (folder / "installed").touch()
    return python


def run_peer(python: Path, script: str, *arguments: str, timeout: float = 600.0) -> str:
    """Run a script text in a peer's environment; returns what it printed. Raises PeerMissingError when it fails."""
    done = subprocess.run(
        [str(python), "-c", script, *arguments], capture_output=True, text=True, check=False, timeout=timeout
    )
    if done.returncode:
        raise PeerMissingError(f"the peer failed: {done.stderr.strip()[-400:]}")
    return done.stdout

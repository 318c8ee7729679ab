"""Where the product keeps its data, and the fault that a user can mend."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path


class RuntimeFault(RuntimeError):
    """Something the user can mend; the text says how. The command line prints it as one line."""


def default_data_dir() -> Path:
    """`TT_DATA_DIR`, else `.data` in the current folder."""
    return Path(os.environ.get("TT_DATA_DIR") or ".data").resolve()


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file so that a reader sees either the old text or the new one, never half of it."""
    temporary = path.with_suffix(f"{path.suffix}.{os.getpid()}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def secret(data_dir: Path, name: str) -> str:
    """A random secret that stays the same for a data folder: the simulator's client secret and refresh token."""
    path = data_dir / "secrets" / name
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, secrets.token_urlsafe(18))
    return path.read_text().strip()


def choose_port(preferred: int, taken: set[int]) -> int:
    """The preferred port when it is free, else any free one. The choice is added to `taken`."""
    for candidate in (preferred, 0):
        if candidate in taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            port = int(probe.getsockname()[1])
        if port not in taken:
            taken.add(port)
            return port
    return choose_port(0, taken)

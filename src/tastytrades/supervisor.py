"""Start, watch, restart and stop child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

BACK_OFF_SECONDS = (0.2, 1.0, 2.0, 5.0, 10.0)
SETTLED_AFTER_SECONDS = 60.0
LOG_BYTES_MAX = 32 * 2**20


@dataclass(slots=True)
class Child:
    """One supervised process."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log_path: Path
    stop_signal: int = signal.SIGTERM
    stop_seconds: float = 15.0
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    failures: int = 0
    """Consecutive exits soon after a start."""
    started_at: float = 0.0
    restart_at: float | None = None

    def start(self) -> None:
        """Start the process; its output is appended to its log, which is cut when it grows too long."""
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_BYTES_MAX:
            self.log_path.replace(self.log_path.with_suffix(".old.log"))
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        self.started_at = time.monotonic()
        self.restart_at = None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def last_lines(self, count: int = 12) -> str:
        """The end of the log, for a message to the user."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, self.log_path.stat().st_size - 8192))
                return "\n".join(log.read().decode(errors="replace").splitlines()[-count:])
        except OSError:
            return ""


def _die_with_parent() -> None:
    """Ask Linux to stop the child when the supervisor is gone, however it went (PR_SET_PDEATHSIG = 1)."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


@dataclass(slots=True)
class Supervisor:
    """Keeps its children running until told to stop."""

    report: Callable[[str, str], None]
    """Called with (child name, what happened)."""
    children: list[Child] = field(default_factory=list)

    def add(self, child: Child) -> Child:
        child.start()
        self.children.append(child)
        return child

    def tick(self, now: float) -> None:
        """Notice exits and restart what is due. `now` is monotonic seconds."""
        for child in self.children:
            if child.restart_at is not None:
                if now >= child.restart_at:
                    child.start()
                    child.restarts += 1
                    self.report(child.name, f"restarted (number {child.restarts})")
            elif child.process is not None and (code := child.process.poll()) is not None:
                child.failures = 0 if now - child.started_at > SETTLED_AFTER_SECONDS else child.failures + 1
                delay = BACK_OFF_SECONDS[min(child.failures, len(BACK_OFF_SECONDS) - 1)]
                child.restart_at = now + delay
                self.report(
                    child.name, f"{_describe_exit(code)}; starting it again in {delay:g} s (log: {child.log_path})"
                )

    def end(self, name: str, why: str) -> None:
        """Kill a child that does not do as told; it is started again as after a crash."""
        for child in self.children:
            if child.name == name and child.running and child.process is not None:
                self.report(name, f"{why}: killed")
                os.killpg(child.process.pid, signal.SIGKILL)
                child.process.wait(5)

    def stop(self) -> None:
        """Stop the children, last started first, each within its own time; what does not stop is killed."""
        for child in reversed(self.children):
            child.restart_at = None
            if child.running and child.process is not None:
                child.process.send_signal(child.stop_signal)
                try:
                    child.process.wait(child.stop_seconds)
                except subprocess.TimeoutExpired:
                    self.report(child.name, f"did not stop within {child.stop_seconds:g} s: killed")
                    os.killpg(child.process.pid, signal.SIGKILL)
                    child.process.wait(5)
        self.children.clear()


def _describe_exit(code: int) -> str:
    if code < 0:
        return f"was stopped by signal {signal.Signals(-code).name}"
    return f"exited with code {code}"

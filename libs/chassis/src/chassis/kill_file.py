"""The stop that needs no server: a file named KILL in the data folder. Its presence stops; what is in it says how."""

from __future__ import annotations

import os
from pathlib import Path

from schemas.account import KillScope
from schemas.commands import KillCommand, parse_kill

NAME = "KILL"


def path(data_dir: Path) -> Path:
    """Where the file lies."""
    return data_dir / NAME


def read(data_dir: Path) -> KillCommand | None:
    """The stop that the file asks for; None without a file.

    Anyone may make it: empty, or with words that say why, it stops everything; a KillCommand as JSON says more. The
    same file is the same command however often it is read. A file that cannot be opened stops everything too.
    """
    file = path(data_dir)
    try:
        changed = file.stat().st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        why = f"{file.name} is there and cannot be read ({error.strerror})"
        return KillCommand(who="file", why=why, command_id="file")
    try:
        data = file.read_bytes()[:65536]
    except OSError as error:
        data = f"{file.name} cannot be read ({error.strerror})".encode()
    if data.strip().startswith(b"{"):
        command = parse_kill(data)
    else:
        why = data.decode(errors="replace").strip()[:200] or "the file KILL is there"
        command = KillCommand(who=_owner(file), why=why)
    return command if command.command_id else command.model_copy(update={"command_id": f"file-{changed}"})


def write(data_dir: Path, command: KillCommand) -> None:
    """Ask for a stop. A file that is there and stops everything stays: a narrower stop must not replace it."""
    there = read(data_dir)
    if there is not None and there.scope is KillScope.ALL and there.mode.severity >= command.mode.severity:
        return
    file, temporary = path(data_dir), path(data_dir).with_name(f"{NAME}.{os.getpid()}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(command.model_dump_json())
    temporary.replace(file)


def remove(data_dir: Path) -> bool:
    """Take the file away, as part of a resume; whether there was one."""
    try:
        path(data_dir).unlink()
    except FileNotFoundError:
        return False
    return True


def _owner(file: Path) -> str:
    try:
        return file.owner()
    except (KeyError, OSError):
        return "file"

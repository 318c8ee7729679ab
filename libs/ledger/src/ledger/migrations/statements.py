"""Run a block of SQL: the driver takes one statement at a time."""

from __future__ import annotations

from alembic import op

from schemas.orders import TRANSITIONS


def run(block: str) -> None:
    """Execute every statement of a block; semicolons inside dollar quotes end nothing."""
    quoted, current = False, ""
    for line in block.strip().splitlines():
        quoted ^= line.count("$$") % 2 == 1
        current += line + "\n"
        if line.rstrip().endswith(";") and not quoted:
            op.execute(current)
            current = ""


def quoted(words: str) -> str:
    """The inside of an SQL string."""
    return words.replace("'", "''")


def write_transitions() -> None:
    """Make the database's table of legal moves that of `schemas.orders`."""
    moves = ", ".join(
        f"('{old.value}', '{new.value}')" for old, targets in TRANSITIONS.items() for new in sorted(targets)
    )
    op.execute("DELETE FROM ledger.transition")
    op.execute(f"INSERT INTO ledger.transition VALUES {moves}")

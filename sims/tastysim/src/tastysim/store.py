"""What survives kill -9: one SQLite file with full sync. Orders, events, transactions, value history, lists.

The history is append-only: the file itself refuses to change or delete an event, and each event carries a hash over
itself and all before it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Row = dict[str, Any]

_TABLES = (
    "kept(key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "history(n INTEGER PRIMARY KEY, event TEXT NOT NULL, chain TEXT)",
    "orders(id INTEGER PRIMARY KEY, account TEXT NOT NULL, row TEXT NOT NULL)",
    "complex_orders(id INTEGER PRIMARY KEY, account TEXT NOT NULL, row TEXT NOT NULL)",
    "transactions(id INTEGER PRIMARY KEY, account TEXT NOT NULL, row TEXT NOT NULL)",
    "net_liq(account TEXT, minute INTEGER, open TEXT, high TEXT, low TEXT, close TEXT, PRIMARY KEY(account, minute))",
    "snapshots(account TEXT, day TEXT, time_of_day TEXT, row TEXT NOT NULL, PRIMARY KEY(account, day, time_of_day))",
    "watchlists(name TEXT PRIMARY KEY, row TEXT NOT NULL)",
    "alerts(id TEXT PRIMARY KEY, row TEXT NOT NULL)",
)
_FIRST_ORDER, _FIRST_TRANSACTION = 1000, 50_000
_APPEND_ONLY = (
    "CREATE TRIGGER IF NOT EXISTS history_keeps_{what} BEFORE {what} ON history "
    "BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END"
)


class Store:
    """The simulator's file. Every write is on disk before it returns; in a `batch`, before the batch ends."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / "broker.sqlite")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        for table in _TABLES:
            self._db.execute(f"CREATE TABLE IF NOT EXISTS {table}")
        if "chain" not in {row[1] for row in self._db.execute("PRAGMA table_info(history)")}:
            self._db.execute("ALTER TABLE history ADD COLUMN chain TEXT")
        for what in ("UPDATE", "DELETE"):
            self._db.execute(_APPEND_ONLY.format(what=what))
        last = self._db.execute("SELECT chain FROM history ORDER BY n DESC LIMIT 1").fetchone()
        self._chain: str = (last[0] if last else None) or ""
        self._depth = 0
        self._order_id = max(
            self._highest("orders"), self._highest("complex_orders"), int(self.kept("last-order-id") or _FIRST_ORDER)
        )
        self._transaction_id = max(
            self._highest("transactions"), int(self.kept("last-transaction-id") or _FIRST_TRANSACTION)
        )

    def _highest(self, table: str) -> int:
        return int(self._db.execute(f"SELECT COALESCE(MAX(id), 0) FROM {table}").fetchone()[0])

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Everything written within is one transaction: all of it on disk when the outermost batch ends, or nothing.

        Answer and tell nobody before it ends.
        """
        self._depth += 1
        chain = self._chain
        try:
            yield
        except BaseException:
            self._depth -= 1
            if not self._depth:
                self._db.rollback()
                self._chain = chain
            raise
        self._depth -= 1
        if not self._depth:
            self._db.commit()

    def next_order_id(self) -> int:
        """Ids of orders and complex orders ascend over all accounts and restarts."""
        self._order_id += 1
        return self._order_id

    def next_transaction_id(self) -> int:
        """Ids of transactions ascend over all accounts and restarts."""
        self._transaction_id += 1
        return self._transaction_id

    def kept(self, key: str) -> str | None:
        """A value by its key."""
        found = self._db.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone()
        return None if found is None else str(found[0])

    def rows(self, table: str, account: str) -> list[Row]:
        """Rows of an account in a table of orders, complex orders or transactions, oldest first."""
        found = self._db.execute(f"SELECT row FROM {table} WHERE account = ? ORDER BY id", (account,))
        return [json.loads(row) for (row,) in found]

    def history(self) -> list[Row]:
        """Everything that happened, oldest first and numbered by `n`: the ground truth for an independent check."""
        return [
            json.loads(event) | {"n": n} for n, event in self._db.execute("SELECT n, event FROM history ORDER BY n")
        ]

    def first_broken_link(self) -> int | None:
        """Number of the first event that is not what was written, or that follows a missing one; None when all are."""
        before, expected = "", 1
        for n, event, chain in self._db.execute("SELECT n, event, chain FROM history ORDER BY n"):
            if n != expected or (chain is not None and chain != _link(before, event)):
                return int(n)
            before, expected = chain or "", n + 1
        return None

    def keep(
        self, kept: Mapping[str, str], *, account: str = "", orders: Iterable[Row] = (),
        complex_orders: Iterable[Row] = (), events: Iterable[Row] = (), transactions: Iterable[Row] = (),
    ) -> None:  # fmt: skip
        """Write everything that belongs together in one transaction."""
        with self.batch():
            self._db.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", list(kept.items()))
            for table, rows in (("orders", orders), ("complex_orders", complex_orders), ("transactions", transactions)):
                values = [(row["id"], account, json.dumps(row)) for row in rows]
                self._db.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", values)
                for number, _, _ in values:
                    if table != "transactions":
                        self._order_id = max(self._order_id, int(number))
            for event in map(json.dumps, events):
                self._chain = _link(self._chain, event)
                self._db.execute("INSERT INTO history(event, chain) VALUES (?, ?)", (event, self._chain))

    def forget(self, account: str) -> None:
        """Forget the orders, transactions and values of an account. The history stays, and ids go on."""
        with self.batch():
            last = {"last-order-id": str(self._order_id), "last-transaction-id": str(self._transaction_id)}
            self.keep(last)
            for table in ("orders", "complex_orders", "transactions", "net_liq", "snapshots"):
                self._db.execute(f"DELETE FROM {table} WHERE account = ?", (account,))

    def add_net_liq(self, rows: Iterable[tuple[str, int, str, str, str, str]]) -> None:
        """Minutes of net liquidating value: account, minute since the epoch, open, high, low, close."""
        with self.batch():
            self._db.executemany("INSERT OR REPLACE INTO net_liq VALUES (?, ?, ?, ?, ?, ?)", list(rows))

    def net_liq(self, account: str, first: int, last: int) -> list[tuple[int, str, str, str, str]]:
        """Minutes of an account from `first` to `last`, oldest first."""
        asked = "SELECT minute, open, high, low, close FROM net_liq WHERE account = ? AND minute BETWEEN ? AND ?"
        return list(self._db.execute(f"{asked} ORDER BY minute", (account, first, last)))

    def add_snapshot(self, account: str, day: str, time_of_day: str, row: Row) -> None:
        """A balance of a day; the first one of its kind stays."""
        with self.batch():
            self._db.execute(
                "INSERT OR IGNORE INTO snapshots VALUES (?, ?, ?, ?)", (account, day, time_of_day, json.dumps(row))
            )

    def snapshots(self, account: str, time_of_day: str) -> list[Row]:
        """Balances of an account at one time of day, newest first."""
        asked = "SELECT row FROM snapshots WHERE account = ? AND time_of_day = ? ORDER BY day DESC"
        return [json.loads(row) for (row,) in self._db.execute(asked, (account, time_of_day))]

    def named(self, table: str) -> dict[str, Row]:
        """Watchlists by name or alerts by id, in the order of their keys."""
        key = "name" if table == "watchlists" else "id"
        return {name: json.loads(row) for name, row in self._db.execute(f"SELECT * FROM {table} ORDER BY {key}")}

    def put(self, table: str, key: str, row: Row | None) -> None:
        """Write a watchlist or an alert; None deletes it."""
        with self.batch():
            if row is None:
                self._db.execute(f"DELETE FROM {table} WHERE {'name' if table == 'watchlists' else 'id'} = ?", (key,))
            else:
                self._db.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (key, json.dumps(row)))


def _link(before: str, event: str) -> str:
    return hashlib.sha256(f"{before}{event}".encode()).hexdigest()

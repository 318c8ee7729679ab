"""The audit rows as a hash chain: h(n) = SHA-256(h(n-1) ‖ canonical row). The database links them at each commit.

The chain proves that no row before its head was changed, removed, inserted or moved. That the chain itself was not
rewritten is proved by anchors: heads kept elsewhere, in a file of their own, each with a keyed hash.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

GENESIS = bytes(32)
"""The hash before the first row."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PROBLEMS = 20
_ROWS = text(
    "SELECT c.seq, c.audit_id, c.hash, a.at, a.who, a.action, a.target, a.outcome, a.detail "
    "FROM ledger.audit_chain c LEFT JOIN ledger.audit a ON a.id = c.audit_id ORDER BY c.seq"
)
_HEAD = text("SELECT seq, hash FROM ledger.audit_head")
_LOOSE = text(
    "SELECT a.id FROM ledger.audit a LEFT JOIN ledger.audit_chain c ON c.audit_id = a.id "
    "WHERE c.seq IS NULL ORDER BY a.id LIMIT 20"
)


@dataclass(frozen=True, slots=True)
class Anchor:
    """A head of the chain as it was kept elsewhere."""

    seq: int
    hash: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of the whole chain found. Sound = no problems; the first 20 are named."""

    rows: int
    head: Anchor
    problems: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether every row is the one that was written, in its place."""
        return not self.problems


def canonical(
    audit_id: int, at: datetime, who: str, action: str, target: str, outcome: str, detail: Mapping[str, object]
) -> bytes:
    """The bytes of a row that are hashed: each field with its length before it, details ordered by their UTF-8 key."""
    fields = [str(audit_id), str((at - _EPOCH) // _MICROSECOND), who, action, target, outcome]
    for key in sorted(detail, key=str.encode):
        value = detail[key]
        fields += (key, value if isinstance(value, str) else "" if value is None else json.dumps(value))
    parts = []
    for each in fields:
        data = each.encode()
        parts.append(b"%d:%s" % (len(data), data))
    return b"".join(parts)


async def head(session: AsyncSession) -> Anchor:
    """The newest link as committed."""
    row = (await session.execute(_HEAD)).one()
    return Anchor(row.seq, row.hash.hex(), datetime.now(UTC))


async def verify(session: AsyncSession, anchors: Sequence[Anchor] = ()) -> Verification:
    """Reckon the whole chain anew and compare it with its rows, its head and the anchors. Reads in a stream."""
    problems: list[str] = []
    expected = {each.seq: each for each in anchors}
    link, count = GENESIS, 0
    rows = await session.stream(_ROWS.execution_options(yield_per=2_000))
    async for seq, audit_id, kept, at, who, action, target, outcome, detail in rows:
        count += 1
        if seq != count:
            problems.append(f"link {count} is missing: the next is {seq}")
            break
        if at is None:
            problems.append(f"audit row {audit_id} of link {seq} is gone")
            break
        link = hashlib.sha256(link + canonical(audit_id, at, who, action, target, outcome, detail)).digest()
        if link != kept:
            problems.append(f"audit row {audit_id} of link {seq} is not what was written")
            link = kept
        if (anchor := expected.pop(seq, None)) is not None and anchor.hash != kept.hex():
            problems.append(f"link {seq} is not the one anchored at {anchor.at.isoformat()}")
        if len(problems) >= _PROBLEMS:
            break
    newest = await head(session)
    if not problems and (newest.seq, newest.hash) != (count, link.hex()):
        problems.append(f"the head says {newest.seq} links, the chain has {count}")
    problems += [f"audit row {row.id} is not in the chain" for row in (await session.execute(_LOOSE)).all()]
    if len(problems) < _PROBLEMS:
        problems += [f"link {each.seq} was anchored at {each.at.isoformat()} and is gone" for each in expected.values()]
    return Verification(count, newest, tuple(problems[:_PROBLEMS]))


async def write_anchor(session: AsyncSession, path: Path, key: bytes) -> Anchor:
    """Append the head to a file kept elsewhere, with a hash under a key that the database does not know."""
    found = await head(session)
    line = {"seq": found.seq, "hash": found.hash, "at": found.at.isoformat()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line | {"mac": _mac(line, key)}) + "\n")
    return found


def read_anchors(path: Path, key: bytes) -> list[Anchor]:
    """The anchors of a file, oldest first. ValueError names the first line that was not written with this key."""
    return list(_anchors(path.read_text(encoding="utf-8").splitlines(), key)) if path.exists() else []


def _anchors(lines: Iterable[str], key: bytes) -> Iterable[Anchor]:
    for number, line in enumerate(lines, 1):
        try:
            fields = json.loads(line)
            mac = str(fields.pop("mac"))
            if not hmac.compare_digest(mac, _mac(fields, key)):
                raise ValueError(f"line {number} of the anchors was not written with this key")
            yield Anchor(int(fields["seq"]), str(fields["hash"]), datetime.fromisoformat(fields["at"]))
        except (KeyError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"line {number} of the anchors cannot be read") from error


def _mac(fields: Mapping[str, object], key: bytes) -> str:
    return hmac.new(key, json.dumps(fields, sort_keys=True).encode(), hashlib.sha256).hexdigest()

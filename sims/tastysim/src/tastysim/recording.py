"""Which recorded file is replayed, which of its sessions and which underlyings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from strategies.chainfile import ChainFileError

_TEXT = re.compile(r"^(?P<path>.+?)(@(?P<days>[^@,/]*))?(?P<names>(,[A-Z][A-Z0-9]{0,5})+)?$")


@dataclass(frozen=True, slots=True)
class Recording:
    """A file and what of it is replayed: by default its last session, all underlyings."""

    path: Path
    session: date | None = None
    """The session, or the first one of a range."""
    until: date | None = None
    """The last one of a range; None = `session` alone."""
    underlyings: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Recording:
        """Read `replay:FILE[@DAY | @FIRST..LAST | @..][,UNDERLYING…]`, or `replay-minutes:`. Raises ChainFileError."""
        kind, _, rest = text.partition(":")
        found = _TEXT.match(rest)
        if found is None:
            raise ChainFileError(f"{text}: write {kind}:FILE@YYYY-MM-DD")
        names = tuple((found["names"] or "").split(",")[1:])
        days = found["days"] or ""
        first, dots, last = days.partition("..")
        try:
            if dots:
                start = date.fromisoformat(first) if first else date.min
                return cls(Path(found["path"]), start, date.fromisoformat(last) if last else date.max, names)
            return cls(Path(found["path"]), date.fromisoformat(days) if days else None, None, names)
        except ValueError:
            raise ChainFileError(
                f"{text}: {days!r} is not a date; write {kind}:FILE@YYYY-MM-DD or {kind}:FILE@FIRST..LAST"
            ) from None

    def chosen(self, sessions: Sequence[date]) -> list[date]:
        """Its sessions among those of the file, oldest first. Raises ChainFileError when there is none."""
        first, last = self.session, self.until or self.session
        found = [day for day in sessions if first is None or last is None or first <= day <= last]
        if not found:
            have = ", ".join(str(day) for day in sessions[-12:]) or "no session"
            wanted = str(self.session) if self.until is None else f"{self.session}..{self.until}"
            names = f" for {', '.join(self.underlyings)}" if self.underlyings else ""
            raise ChainFileError(f"{self.path} has no session {wanted}{names}: it has {have}")
        return found if self.session is not None else found[-1:]

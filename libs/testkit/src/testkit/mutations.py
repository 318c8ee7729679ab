"""Seeded damage to messages: values of the wrong kind, broken JSON, arbitrary bytes; and how long to go on."""

from __future__ import annotations

import copy
import json
import os
import random
import time
from collections.abc import Iterator
from typing import Any

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 2, 1.5, -0.0, 1e308, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**40, "", " ", "NaN",
    "Infinity", "\x00", "é☃😀", "'; DROP TABLE", "A" * 5_000, "1e999", "-1", "0", "null", "../..", "%00", [], {}, [[]],
    [None], {"": None}, {"type": "Quote"}, ["Quote", []], [1, 2, 3], "*", "SPY", "AAPL{=5m}", "AAPL{=0m}", "A{=9y}",
    "2026-99-99", "99999-01-01", "2026-01-01T00:00:00Z", "1" * 400, "-0", "1_000", "٣", "0x10", "Infinity", "sNaN",
)  # fmt: skip
"""Values that readers forget."""
_DEPTHS = (50, 1_000, 5_000)


def fuzz_rounds(count: int) -> Iterator[int]:
    """Numbers of rounds: `count` of them, or as many as fit into `TT_FUZZ_SECONDS`."""
    seconds = float(os.environ.get("TT_FUZZ_SECONDS", "0"))
    until, number = time.monotonic() + seconds, 0
    while number < count or time.monotonic() < until:
        yield number
        number += 1


class Mutator:
    """Damage drawn from a seed: the same seed, the same damage."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def value(self, template: Any) -> Any:
        """A copy of a JSON value in which something is not what it should be."""
        found = copy.deepcopy(template)
        for _ in range(self.random.choice((1, 1, 1, 2, 4))):
            found = self._spoil(found)
        return found

    def _spoil(self, found: Any) -> Any:
        places = list(_places(found))
        if not places or self.random.random() < 0.05:
            return self.hostile()
        holder, key = self.random.choice(places)
        deed = self.random.randrange(5)
        if deed == 0 and isinstance(holder, dict):
            del holder[key]
        elif deed == 1 and isinstance(holder, dict):
            holder[self.random.choice(("", "extra", "type", "data", "legs", "value"))] = self.hostile()
        elif deed == 2 and isinstance(holder, list):
            holder.extend([holder[key]] * self.random.choice((1, 3, 50)))
        elif deed == 3:
            holder[key] = [holder[key]]
        else:
            holder[key] = self.hostile()
        return found

    def hostile(self) -> Any:
        """A value that readers forget."""
        return copy.deepcopy(self.random.choice(HOSTILE))

    def text(self, template: Any) -> str:
        """JSON of a damaged value, or damaged JSON."""
        written = json.dumps(self.value(template), ensure_ascii=self.random.random() < 0.5)
        deed = self.random.randrange(8)
        if deed == 0:
            return written[: self.random.randrange(len(written) + 1)]
        if deed == 1:
            depth = self.random.choice(_DEPTHS)
            return written.replace(":", ":" + "[" * depth, 1)
        if deed == 2:
            depth = self.random.choice(_DEPTHS)
            return '{"a":' * depth + "1" + "}" * depth
        if deed == 3:
            place = self.random.randrange(len(written) + 1)
            junk = self.random.choice(("\x00", ",", "}", '"', "\\ud800", "1e99999", "NaN", "\ufeff", "[", "-"))
            return written[:place] + junk + written[place:]
        return written

    def data(self, template: Any) -> bytes:
        """Damaged JSON as bytes, which need not be text."""
        written = bytearray(self.text(template).encode("utf-8", "surrogatepass"))
        for _ in range(self.random.choice((0, 0, 1, 3))):
            place = self.random.randrange(len(written) + 1)
            written[place:place] = self.random.randbytes(self.random.choice((1, 2, 9)))
        return bytes(written) if self.random.random() < 0.95 else self.random.randbytes(self.random.randrange(200))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place within a JSON value: what holds it, and its key there."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])

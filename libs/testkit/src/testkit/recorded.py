"""A recorded broker: answers as a real one was seen to answer, for clients that must be able to read all of it.

Shapes and words are those of captured payloads of the tastytrade Open API; identifiers are neutral.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib import resources
from typing import Any
from urllib.parse import unquote

ACCOUNT = "5WT00001"


@dataclass(frozen=True, slots=True)
class Recorded:
    """One answer: to a method and a path, its percent-encoding undone and its query left out."""

    method: str
    path: str
    status: int
    body: Any


def recordings() -> list[Recorded]:
    """Everything that is recorded, by file."""
    files = sorted(
        (each for each in resources.files("testkit").joinpath("recorded").iterdir() if each.name.endswith(".json")),
        key=lambda each: each.name,
    )
    return [Recorded(**row) for each in files for row in json.loads(each.read_text("utf-8"))]


@dataclass(slots=True)
class RecordedBroker:
    """Answers requests from recordings, and remembers which of them were asked for."""

    answers: dict[tuple[str, str], Recorded] = field(default_factory=dict)
    asked: set[tuple[str, str]] = field(default_factory=set)
    url: str = ""

    @property
    def unasked(self) -> set[tuple[str, str]]:
        """Recordings that nobody has read."""
        return set(self.answers) - self.asked

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while line := await reader.readline():
                method, target, _ = line.decode().split(" ", 2)
                length = 0
                while (header := await reader.readline()).strip():
                    name, _, value = header.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                await reader.readexactly(length)
                writer.write(self._answer(method, unquote(target.partition("?")[0])))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _answer(self, method: str, path: str) -> bytes:
        found = self.answers.get((method, path))
        status, body = (404, {"error": {"code": "not_found", "message": path}}) if found is None else (
            found.status, found.body
        )  # fmt: skip
        self.asked.add((method, path))
        content = json.dumps(body).encode()
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


@asynccontextmanager
async def recorded_broker(answers: Iterable[Recorded] = ()) -> AsyncIterator[RecordedBroker]:
    """A server on a free port that answers what is recorded."""
    broker = RecordedBroker({(each.method, each.path): each for each in answers or recordings()})
    server = await asyncio.start_server(broker.handle, "127.0.0.1", 0)
    broker.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield broker
    finally:
        server.close()

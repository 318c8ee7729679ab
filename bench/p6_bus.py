"""P6: quotes through the bus, one process each side, column batches against one JSON message a quote.

Ours: encode a column batch, publish on core NATS, decode and scatter into the reader's arrays. Peer: the same quotes
as one pydantic JSON message each, the way a typed message framework carries them. Rates: quotes per CPU-second of both.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nats
import numpy as np
from pydantic import BaseModel

from chassis.embedded import start_nats
from schemas.columns import ColumnBatch, ColumnKind, decode, encode

ROWS, BATCH, BATCHES, SINGLES = 600, 500, 4_000, 40_000
SUBJECT = "bench.quotes"


class _Quote(BaseModel):
    row: int
    bid: float
    ask: float
    bid_size: float
    ask_size: float
    ts_event: int


def _columns(count: int) -> ColumnBatch:
    generator = np.random.default_rng(1)
    price = generator.uniform(0.05, 20, count)
    return ColumnBatch(
        ColumnKind.QUOTE,
        1,
        0,
        {
            "row": generator.integers(0, ROWS, count).astype("<u4"),
            "bid": price,
            "ask": price + 0.05,
            "bid_size": np.ones(count),
            "ask_size": np.ones(count),
            "ts_event": np.full(count, 1, dtype="<i8"),
        },
    )


def _reader(url: str, kind: str, expected: int, ready: object, result: object) -> None:
    bids, asks = np.full(ROWS, np.nan), np.full(ROWS, np.nan)

    async def read() -> None:
        done = asyncio.Event()
        seen = 0

        async def on_columns(message: object) -> None:
            nonlocal seen
            columns = decode(message.data).columns  # type: ignore[attr-defined]
            bids[columns["row"]], asks[columns["row"]] = columns["bid"], columns["ask"]
            seen += len(columns["row"])
            if seen >= expected:
                done.set()

        async def on_json(message: object) -> None:
            nonlocal seen
            quote = _Quote.model_validate_json(message.data)  # type: ignore[attr-defined]
            bids[quote.row], asks[quote.row] = quote.bid, quote.ask
            seen += 1
            if seen >= expected:
                done.set()

        connection = await nats.connect(url)
        await connection.subscribe(
            SUBJECT, cb=on_columns if kind == "columns" else on_json, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        await connection.flush()
        ready.set()  # type: ignore[attr-defined]
        before = time.process_time()
        await asyncio.wait_for(done.wait(), 120)
        result.put((seen, time.process_time() - before))  # type: ignore[attr-defined]
        await connection.close()

    asyncio.run(read())


async def _publish(url: str, kind: str) -> tuple[int, float]:
    connection = await nats.connect(url)
    before = time.process_time()
    if kind == "columns":
        batch = _columns(BATCH)
        for _ in range(BATCHES):
            await connection.publish(SUBJECT, encode(batch))
        count = BATCH * BATCHES
    else:
        quote = _Quote(row=3, bid=1.25, ask=1.3, bid_size=10, ask_size=12, ts_event=1)
        for _ in range(SINGLES):
            await connection.publish(SUBJECT, quote.model_dump_json().encode())
        count = SINGLES
    await connection.flush(60)
    spent = time.process_time() - before
    await connection.close()
    return count, spent


def _through_the_bus(url: str, kind: str) -> float:
    context = multiprocessing.get_context("spawn")
    ready, result = context.Event(), context.Queue()
    expected = BATCH * BATCHES if kind == "columns" else SINGLES
    reader = context.Process(target=_reader, args=(url, kind, expected, ready, result))
    reader.start()
    ready.wait(30)
    count, publisher_seconds = asyncio.run(_publish(url, kind))
    seen, reader_seconds = result.get(timeout=120)
    reader.join(10)
    if seen != count:
        raise RuntimeError(f"{count - seen} of {count} quotes were lost: the figure would be worthless")
    return float(count / (publisher_seconds + reader_seconds))


def _encode_decode_ns() -> float:
    batch = _columns(BATCH)
    best = float("inf")
    for _ in range(20):
        before = time.process_time_ns()
        for _ in range(200):
            decode(encode(batch))
        best = min(best, (time.process_time_ns() - before) / (200 * BATCH))
    return best


def measure() -> dict[str, object]:
    """Interleaved, three rounds each, medians."""
    with TemporaryDirectory() as folder:
        server = start_nats(Path(folder) / "nats", log_path=Path(folder) / "nats.log")
        try:
            rounds = [(_through_the_bus(server.url, "columns"), _through_the_bus(server.url, "json")) for _ in range(3)]
        finally:
            server.stop()
    ours, peer = (float(np.median([each[index] for each in rounds])) for index in (0, 1))
    return {
        "what": "quotes through the bus, quotes per CPU-second, both processes",
        "ours": round(ours),
        "peer": round(peer),
        "peer_name": "one pydantic JSON message a quote, nats-py",
        "ratio": round(ours / peer, 1),
        "target": 300_000,
        "met": ours >= 300_000,
        "encode_decode_ns_per_quote": round(_encode_decode_ns(), 1),
        "encode_decode_target_ns": 50,
    }

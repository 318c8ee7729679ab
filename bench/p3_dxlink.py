"""P3: a DXLink COMPACT frame, from its text to columns, against the third-party SDK and against parsing the JSON alone.

Ours: the protocol machine reads the message, checks every value and gives symbols and one array of numbers
(`ours_checked_only`: without making the array; `ours_by_name`: symbols as text and four fields by name). Peer: the
PyPI package `tastytrade`, its own path from the text to typed events in its queue. Both read the same frames, in the
SDK's own field order (12 fields of a quote, 13 of greeks). Rates: events per CPU-second, medians of interleaved rounds.

The other end of the line is in the same result: what the simulator's server makes and sends (`simulator_streams`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import orjson
from tastytrade import DXLinkStreamer
from tastytrade.dxfeed import Greeks, Quote

from bench import simulator_streams
from tastyclient.dxlink import Channel, DXLink
from tastyclient.dxlink_compiled import CompiledReader
from tastyclient.events import Columns

SIZES, SYMBOLS, EVENTS_PER_ROUND, ROUNDS = (1, 10, 50, 500), 1000, 5_000, 7
QUOTE = (
    "eventSymbol", "eventTime", "sequence", "timeNanoPart", "bidTime", "bidExchangeCode", "askTime", "askExchangeCode",
    "bidPrice", "askPrice", "bidSize", "askSize",
)  # fmt: skip
GREEKS = (
    "eventSymbol", "eventTime", "eventFlags", "index", "time", "sequence",
    "price", "volatility", "delta", "gamma", "theta", "rho", "vega",
)  # fmt: skip
CHANNEL = {"Quote": 7, "Greeks": 3}
NAMES = [f".SPY26{1201 + number % 29}{'CP'[number % 2]}{400 + number}" for number in range(SYMBOLS)]
MISSING = 0.02
"""Share of sizes that are "NaN"."""


def _frame(kind: str, size: int, generator: np.random.Generator) -> bytes:
    flat: list[object] = []
    for number in generator.integers(0, SYMBOLS, size).tolist():
        at = 1_795_000_000_000 + number
        price = round(float(generator.uniform(0.05, 20)), 2)
        if kind == "Quote":
            sizes = [float(each) for each in generator.integers(1, 500, 2)]
            shown = ["NaN" if generator.uniform() < MISSING else each for each in sizes]
            flat += [NAMES[number], 0, 0, 0, at, "Q", at, "Q", price, round(price + 0.05, 2), *shown]
        else:
            greeks = [round(float(each), 9) for each in generator.normal(0, 0.3, 6)]
            flat += [NAMES[number], 0, 0, at << 22, at, 0, price, *greeks]
    return orjson.dumps({"type": "FEED_DATA", "channel": CHANNEL[kind], "data": [kind, flat]})


def _machine(kind: str, reader: CompiledReader | None) -> DXLink:
    names = QUOTE if kind == "Quote" else GREEKS
    machine = DXLink("", fields={kind: names}, channels=(Channel(CHANNEL[kind]),), compiled=reader)
    machine.want(kind, NAMES)
    return machine


READ = {"Quote": ("bidPrice", "askPrice", "bidSize", "askSize"), "Greeks": ("volatility", "delta", "gamma", "theta")}


def _read(machine: DXLink, frame: bytes) -> Columns:
    (columns,) = machine.feed(frame)
    columns.numbers()
    return columns


def _read_by_name(machine: DXLink, frame: bytes) -> object:
    (columns,) = machine.feed(frame)
    values = columns.values
    return columns.symbols, [values[name] for name in READ[columns.event_type]]


def _rate(size: int, work: Callable[[], object], after: Callable[[], object] | None = None) -> float:
    repeats = max(1, EVENTS_PER_ROUND // size)
    before = time.process_time_ns()
    for _ in range(repeats):
        work()
    spent = time.process_time_ns() - before
    if after is not None:
        after()
    return repeats * size * 1e9 / spent


def _drain(streamer: DXLinkStreamer) -> None:
    for event_type in (Quote, Greeks):
        while streamer.get_event_nowait(event_type) is not None:
            pass


def _measure(kind: str, size: int, compiled: CompiledReader) -> dict[str, float]:
    frame = _frame(kind, size, np.random.default_rng(size))
    text = frame.decode()
    ours, general = _machine(kind, compiled), _machine(kind, None)
    streamer = DXLinkStreamer(None)  # type: ignore[arg-type]  # only its reading is used

    def peer() -> None:
        message = json.loads(text)
        streamer._map_message(message["data"], message["channel"])

    rounds = [
        (
            _rate(size, lambda: ours.feed(frame)),
            _rate(size, lambda: _read(ours, frame)),
            _rate(size, lambda: _read(general, frame)),
            _rate(size, lambda: _read_by_name(ours, frame)),
            _rate(size, peer, lambda: _drain(streamer)),
            _rate(size, lambda: orjson.loads(frame)),
        )
        for _ in range(ROUNDS)
    ]
    checked, ours_rate, general_rate, named, peer_rate, floor = (
        float(np.median(each)) for each in zip(*rounds, strict=True)
    )
    return {
        "ours": round(ours_rate),
        "ours_checked_only": round(checked),
        "ours_without_compiled": round(general_rate),
        "ours_by_name": round(named),
        "peer": round(peer_rate),
        "orjson_alone": round(floor),
        "ratio": round(ours_rate / peer_rate, 1),
        "ratio_without_compiled": round(general_rate / peer_rate, 1),
        "cost_of_parsing_alone": round(floor / ours_rate, 2),
        "cost_of_parsing_alone_without_compiled": round(floor / general_rate, 2),
    }


def _load_cost() -> dict[str, float]:
    """CPU seconds and resident memory that the compiled reader costs a process whose cache is warm."""
    code = (
        "import time,psutil,tastyclient.stream;from tastyclient.dxlink_compiled import CompiledReader;"
        "p=psutil.Process();m=p.memory_info().rss;b=time.process_time();r=CompiledReader();r.load();"
        "assert r.kernels,r.failure;print(time.process_time()-b,(p.memory_info().rss-m)/2**20)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, megabytes = (float(each) for each in done.stdout.split())
    return {"cpu_seconds": round(seconds, 2), "resident_mib": round(megabytes)}


def measure() -> dict[str, object]:
    """Every size and type; met when quotes and greeks meet all three targets."""
    compiled = CompiledReader()
    compiled.load()
    if compiled.kernels is None:
        raise RuntimeError(f"the compiled reader is not available: {compiled.failure}")
    found = {kind: {size: _measure(kind, size, compiled) for size in SIZES} for kind in CHANNEL}
    many = [each[size] for each in found.values() for size in SIZES if size >= 50]
    ones = [each[1] for each in found.values()]
    quotes = found["Quote"][500]
    targets = {
        "20 times the SDK at 50 events and more": min(each["ratio"] for each in many) >= 20,
        "8 times the SDK at one event": min(each["ratio"] for each in ones) >= 8,
        "1.5 times parsing alone at 50 events and more": max(each["cost_of_parsing_alone"] for each in many) <= 1.5,
    }
    return {
        "what": "DXLink text to columns, 500 quotes a frame, events per CPU-second",
        "ours": quotes["ours"],
        "peer": quotes["peer"],
        "peer_name": f"tastytrade {version('tastytrade')}",
        "ratio": quotes["ratio"],
        "target": 20,
        "met": all(targets.values()),
        "targets": targets,
        "events_a_frame": {kind: {str(size): each for size, each in sizes.items()} for kind, sizes in found.items()},
        "loading_the_compiled_reader": _load_cost(),
        "simulator": simulator_streams.measure(),
    }

"""Reading frames: the compiled reader, the general reader and the third-party SDK agree; nothing makes one fail."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tastyclient.dxlink import CHANNELS, Channel, DXLink, ProtocolError
from tastyclient.dxlink_compiled import CompiledReader
from tastyclient.events import EVENT_FIELDS, Columns

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
thorough = settings(
    max_examples=60 * SCALE, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

SYMBOLS = [f".SPY26121{number % 10}P{600 + number}" for number in range(40)] + ["SPY", "BRK/B", "/ESZ26:XCME", "AÄ"]
SDK_FIELDS = {
    "Quote": EVENT_FIELDS["Quote"],
    "Greeks": EVENT_FIELDS["Greeks"],
    "Trade": EVENT_FIELDS["Trade"],
    "Summary": EVENT_FIELDS["Summary"],
    "Candle": tuple("vwap" if name == "VWAP" else name for name in EVENT_FIELDS["Candle"]),
    "TimeAndSale": EVENT_FIELDS["TimeAndSale"],
}


@pytest.fixture(scope="module")
def compiled() -> CompiledReader:
    reader = CompiledReader()
    reader.load()
    assert reader.kernels is not None, reader.failure
    return reader


def machine(fields: dict[str, tuple[str, ...]] | None, compiled: CompiledReader | None) -> DXLink:
    found = DXLink("", fields=fields, channels=[Channel(1)], compiled=compiled)
    for event_type in fields or ("Quote",):
        found.want(event_type, SYMBOLS)
    return found


def frame(*pairs: Any) -> bytes:
    return orjson.dumps({"type": "FEED_DATA", "channel": 1, "data": list(pairs)})


def same(first: list[Columns], second: list[Columns]) -> bool:
    def flat(found: list[Columns]) -> list[Any]:
        return [
            (
                each.event_type,
                each.symbols,
                each.ids.tolist(),
                {name: repr(values.tolist()) for name, values in each.values.items()},
                repr(each.numbers().tolist()),
                {name: values.tolist() for name, values in each.integers.items()},
                dict(each.texts),
            )
            for each in found
        ]

    return flat(first) == flat(second)


def outcome(reader: DXLink, text: str | bytes) -> list[Columns] | str:
    """The events, or the typed error's text."""
    try:
        return reader.feed(text)
    except ProtocolError as error:
        return str(error)


numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(-10_000, 10_000, places=4).map(float),
    st.integers(-(2**63), 2**63),
    st.integers(-1000, 1000),
    st.sampled_from(["NaN", "Infinity", "-Infinity", None, 0.1, 1e22, 1e23, -0.0, 5e-324, True, False]),
)
letters = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=6)


@st.composite
def rows(draw: st.DrawFn, event_type: str) -> list[Any]:
    """Values of some events of one type, in the SDK's order."""
    values: list[Any] = []
    empty = machine(SDK_FIELDS, None).feed(
        orjson.dumps(
            {"type": "FEED_DATA", "channel": 1, "data": [{"eventType": event_type, "eventSymbol": "A", "index": 0}]}
        )
    )[0]
    for _ in range(draw(st.integers(1, 30))):
        for name in SDK_FIELDS[event_type]:
            if name == "eventSymbol":
                values.append(draw(st.sampled_from(SYMBOLS)))
            elif name in empty.integers:
                values.append(draw(st.integers(-(2**63), 2**63 - 1)))
            elif name in empty.texts:
                values.append(draw(st.one_of(letters, st.sampled_from(["NaN", None, "\x00", 'a"b', "Ä"]))))
            else:
                values.append(draw(numbers))
    return values


@thorough
@given(st.data())
def test_the_compiled_and_the_general_reader_agree_to_the_bit(compiled: CompiledReader, data: st.DataObject) -> None:
    """Whatever the values: infinite, missing, huge, exact integers beyond 2^53, texts with quotes in them."""
    event_type = data.draw(st.sampled_from(sorted(SDK_FIELDS)))
    text = frame(event_type, data.draw(rows(event_type)), "Quote", data.draw(rows("Quote")))
    first, second = outcome(machine(SDK_FIELDS, compiled), text), outcome(machine(SDK_FIELDS, None), text)
    if isinstance(first, str) or isinstance(second, str):
        assert first == second
    else:
        assert same(first, second)


def test_the_compiled_reader_reads_the_servers_spelling(
    compiled: CompiledReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is really used: JSON parsing never happens for a plain frame of many events, of several types."""
    reader = machine(SDK_FIELDS, compiled)
    quotes = [value for number in range(30) for value in quote(SYMBOLS[number], 1.25 + number)]
    greeks = [value for number in range(30) for value in [SYMBOLS[number], 0, 0, 7 << 60, 1.5e12, 0, *[0.125] * 7]]
    text = frame("Quote", quotes, "Greeks", greeks)
    monkeypatch.setattr(orjson, "loads", None)
    first, second = reader.feed(text)
    assert first.ids.tolist() == second.ids.tolist() == list(range(30))
    assert first.symbols == SYMBOLS[:30]
    assert first.texts["askExchangeCode"] == ["Q"] * 30
    assert first.values["bidPrice"].tolist() == [1.25 + number for number in range(30)]
    assert second.integers["index"].tolist() == [7 << 60] * 30


def quote(symbol: str, bid: float) -> list[Any]:
    return [symbol, 0, 0, 0, 1_700_000_000_000, "Q", 1_700_000_000_000, "Q", bid, round(bid + 0.05, 2), 10.0, "NaN"]


@pytest.mark.parametrize(
    "spoiled",
    [
        b'"UNKNOWN"', b"01", b"1.", b".5", b"-", b"+1", b"1e", b"1e+", b"--1", b"1.5.2", b'"x"', b"nul", b"tru", b"[]",
        b"{}", b"", b" 1", b'"Nan"', b'"\\u0041"', b'"\xff"', b"1e999", b"123456789012345678901234567890", b"0.1e-400",
        b"1e00022", b"9007199254740993", b"-0", b"true", b"null",
    ],
)  # fmt: skip
@pytest.mark.parametrize("position", [0, 5, 8, 11])
def test_one_odd_value_means_the_same_to_both_readers(compiled: CompiledReader, spoiled: bytes, position: int) -> None:
    """Wrong JSON, odd spellings and wrong kinds: an error that names it, or the very value."""
    values = [orjson.dumps(value) for number in range(20) for value in quote(SYMBOLS[number], 1.5)]
    values[12 * 7 + position] = spoiled
    text = b'{"type":"FEED_DATA","channel":1,"data":["Quote",[' + b",".join(values) + b"]]}"
    first, second = outcome(machine(SDK_FIELDS, compiled), text), outcome(machine(SDK_FIELDS, None), text)
    if isinstance(first, str) or isinstance(second, str):
        assert first == second
    else:
        assert same(first, second)


def test_every_frame_cut_short_is_an_error_and_not_a_crash(compiled: CompiledReader) -> None:
    """The reader never looks behind the end of what came."""
    text = frame("Quote", [value for number in range(15) for value in quote(SYMBOLS[number], 1.5)])
    reader = machine(SDK_FIELDS, compiled)
    for end in range(60, len(text)):
        assert isinstance(outcome(reader, text[:end]), str)


def test_symbols_wanted_later_are_found_too(compiled: CompiledReader) -> None:
    """The table grows over every size it was made for."""
    reader = machine(SDK_FIELDS, CompiledReader() if compiled.kernels is None else compiled)
    for number in range(0, 5000, 500):
        fresh = [f"S{each}" for each in range(number, number + 500)]
        reader.add("Quote", fresh)
        (found,) = reader.feed(frame("Quote", [value for symbol in fresh for value in quote(symbol, 2.5)]))
        assert found.symbols == fresh


def test_values_equal_those_of_the_sdk(compiled: CompiledReader) -> None:
    """On the same frames: every field of quotes, greeks, trades, summaries and candles; both readers."""
    pytest.importorskip("tastytrade")
    from tastytrade import dxfeed

    generator = np.random.default_rng(11)
    for event_type in ("Quote", "Greeks", "Trade", "Summary", "Candle"):
        model = getattr(dxfeed, event_type)
        schema = model.model_json_schema()["properties"]
        keys = list(schema)
        fields = {event_type: tuple(keys)}
        for size in (1, 2, 200):
            values = [_sdk_value(schema[key], key, number, generator) for number in range(size) for key in keys]
            text = frame(event_type, values)
            theirs = model.from_stream(json.loads(text)["data"][1])
            assert len(theirs) == size
            for reader in (machine(fields, compiled), machine(fields, None)):
                (ours,) = reader.feed(text)
                for event, peer in zip(ours.events(), theirs, strict=True):
                    for key, name in zip(keys, model.model_fields, strict=True):
                        assert _equal(event[key], getattr(peer, name)), (event_type, key)


def _sdk_value(schema: dict[str, Any], key: str, number: int, generator: np.random.Generator) -> Any:
    kinds = {each.get("type") for each in schema.get("anyOf", [schema])}
    if key == "eventSymbol":
        return SYMBOLS[number % len(SYMBOLS)]
    if "boolean" in kinds:
        return bool(number % 2)
    if "number" in kinds or ("anyOf" in schema and "integer" not in kinds):
        optional = "null" in kinds or "default" in schema
        return "NaN" if optional and number % 7 == 3 else round(float(generator.normal(0, 100)), 4)
    if "integer" in kinds:
        return int(generator.integers(0, 1 << 62 if key == "index" else 1 << 40))
    return "Q"


def _equal(ours: float | int | str, theirs: object) -> bool:
    if theirs is None or (theirs == 0 and isinstance(ours, float) and math.isnan(ours)):
        return ours == "" or (isinstance(ours, float) and math.isnan(ours))
    if isinstance(theirs, str):
        return ours == theirs
    if isinstance(theirs, Decimal):
        return float(theirs) == ours
    return ours == theirs


# fuzz

json_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(["NaN", "SPY"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=8),
        st.dictionaries(
            st.sampled_from(["type", "channel", "data", "eventSymbol", "eventType", "state", "eventFields", "error"]),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=20,
)
messages = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["SETUP", "AUTH_STATE", "CHANNEL_OPENED", "CHANNEL_CLOSED", "FEED_CONFIG", "FEED_DATA", "ERROR"]
        )
    },
    optional={
        "channel": st.one_of(st.sampled_from([0, 1, 3]), json_values),
        "state": st.one_of(st.sampled_from(["AUTHORIZED", "UNAUTHORIZED"]), json_values),
        "eventFields": st.one_of(
            json_values,
            st.dictionaries(
                st.sampled_from(["Quote", "Candle", "Novel"]),
                st.lists(st.sampled_from(["eventSymbol", "bidPrice", "index", "type", "novel"]), max_size=5),
            ),
        ),
        "data": st.one_of(
            json_values,
            st.tuples(st.sampled_from(["Quote", "Trade", "Novel"]), st.lists(json_values, max_size=14)).map(list),
            st.lists(
                st.fixed_dictionaries(
                    {"eventType": st.sampled_from(["Quote", "Candle"])},
                    optional={"eventSymbol": json_values, "bidPrice": json_values},
                ),
                max_size=3,
            ),
        ),
        "keepaliveTimeout": json_values,
        "error": json_values,
        "message": json_values,
    },
)


def read_all(reader: DXLink, text: str | bytes) -> None:
    """Events that can be looked at in every way, or a typed error; and what is said in answer is JSON."""
    found = outcome(reader, text)
    if not isinstance(found, str):
        for columns in found:
            assert len(list(columns.events())) == len(columns) == len(columns.ids) == columns.numbers().shape[1]
    for message in reader.take_outgoing():
        json.loads(message.text)


@settings(thorough, max_examples=100 * SCALE)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200), json_values.map(json.dumps), messages.map(json.dumps)))
def test_anything_at_all_is_events_or_a_typed_error(text: bytes | str) -> None:
    """Bytes, text, JSON of any form and almost-messages, to a machine in any state."""
    for reader in (DXLink("t", channels=CHANNELS), machine(None, None)):
        reader.want("Candle", ["SPY{=d}"])
        read_all(reader, text)
        reader.feed('{"type":"KEEPALIVE","channel":0}')


@settings(thorough, max_examples=40 * SCALE)
@given(st.lists(messages.map(json.dumps), max_size=12))
def test_any_sequence_of_messages_leaves_a_machine_that_still_answers(texts: list[str]) -> None:
    """Whatever came before, a restart begins anew and the wanted is asked for again."""
    reader = DXLink("t")
    reader.want("Quote", ["SPY"])
    reader.want("Candle", ["SPY{=d}"], from_time=0)
    for text in texts:
        read_all(reader, text)
    reader.restart("u")
    for state in ("UNAUTHORIZED", "AUTHORIZED"):
        reader.feed(json.dumps({"type": "AUTH_STATE", "state": state}))
    reader.feed('{"type":"CHANNEL_OPENED","channel":1}')
    assert json.loads(reader.take_outgoing()[-1].text)["add"] == [{"type": "Quote", "symbol": "SPY"}]


@settings(thorough, max_examples=100 * SCALE)
@given(st.data())
def test_a_damaged_frame_means_the_same_to_both_readers(compiled: CompiledReader, data: st.DataObject) -> None:
    """Bytes replaced, put in and taken out anywhere."""
    text = bytearray(frame("Quote", [value for number in range(12) for value in quote(SYMBOLS[number], 0.05 + number)]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.one_of(
                st.binary(max_size=2), st.sampled_from([b",", b'"', b"]", b"[", b"0", b"e", b".", b"-", b"null", b"\\"])
            )
        )
    first, second = outcome(machine(SDK_FIELDS, compiled), bytes(text)), outcome(machine(SDK_FIELDS, None), bytes(text))
    if isinstance(first, str) or isinstance(second, str):
        assert first == second
    else:
        assert same(first, second)


def test_a_process_that_streams_a_little_never_imports_the_compiler() -> None:
    """numba is no part of any service's start."""
    code = "import sys, tastyclient; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_without_the_compiler_everything_works_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba is optional: a failed import leaves the general reader."""
    monkeypatch.setitem(sys.modules, "tastyclient.kernels.compact", None)
    monkeypatch.delattr("tastyclient.kernels.compact", raising=False)
    reader = CompiledReader()
    reader.load()
    assert reader.kernels is None
    assert reader.failure is not None
    text = frame("Quote", [value for number in range(30) for value in quote(SYMBOLS[number], 1.5)])
    assert len(machine(SDK_FIELDS, reader).feed(text)[0]) == 30

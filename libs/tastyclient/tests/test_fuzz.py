"""Anything at all from a server: events, replies or typed errors, and a machine that goes on.

Seeded and short by default; `TT_FUZZ_SECONDS` sets how long each test goes on.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from tastyclient.account_stream import Other, Reply, StreamRefusedError, Unreadable, parse
from tastyclient.dxlink import DXLink, ProtocolError, State
from tastyclient.dxlink_series import SeriesReader
from tastyclient.events import EVENT_FIELDS, candle_symbol
from tastyclient.models import Balance, PlacedComplexOrder, PlacedOrder, Position, TradingStatus
from testkit import Mutator, fuzz_rounds

CANDLE = candle_symbol("SPY", "5m")
QUOTE = ["SPY", 0, 1, 0, 5, "Q", 5, "Q", 1.5, 1.6, 10.0, "NaN"]
FROM_FEED: list[dict[str, Any]] = [
    {"type": "SETUP", "channel": 0, "keepaliveTimeout": 60, "acceptKeepaliveTimeout": 60, "version": "1.0"},
    {"type": "AUTH_STATE", "channel": 0, "state": "UNAUTHORIZED"},
    {"type": "AUTH_STATE", "channel": 0, "state": "AUTHORIZED", "userId": "x"},
    {"type": "CHANNEL_OPENED", "channel": 1, "service": "FEED", "parameters": {"contract": "AUTO"}},
    {"type": "FEED_CONFIG", "channel": 1, "dataFormat": "COMPACT", "aggregationPeriod": 0.1,
     "eventFields": {"Quote": list(EVENT_FIELDS["Quote"]), "Candle": list(EVENT_FIELDS["Candle"])}},
    {"type": "FEED_DATA", "channel": 1, "data": ["Quote", QUOTE * 3]},
    {"type": "FEED_DATA", "channel": 1, "data": ["Quote", QUOTE, "Candle", [CANDLE, 0, 4, 1 << 62, 5, 0, *[1.5] * 11]]},
    {"type": "FEED_DATA", "channel": 1, "data": [{"eventType": "Quote", "eventSymbol": "SPY", "bidPrice": 1.0}]},
    {"type": "FEED_DATA", "channel": 1, "data": ["Candle", [CANDLE, 0, 12, 1 << 61, 5, 0, *["NaN"] * 11]]},
    {"type": "ERROR", "channel": 1, "error": "BAD_ACTION", "message": "no"},
    {"type": "KEEPALIVE", "channel": 0},
    {"type": "CHANNEL_CLOSED", "channel": 3},
]  # fmt: skip
FROM_BROKER: list[dict[str, Any]] = [
    {"status": "ok", "action": "connect", "web-socket-session-id": "5b", "value": ["5WT00001"], "request-id": 1},
    {"status": "error", "action": "heartbeat", "message": "connect-not-completed"},
    {"type": "Order", "timestamp": 1, "data": {
        "id": 1, "account-number": "5WT00001", "status": "Filled", "price": "1.25", "price-effect": "Debit", "size": 1,
        "time-in-force": "Day", "order-type": "Limit", "underlying-symbol": "SPY", "updated-at": 1688584052750,
        "received-at": "2023-07-05T19:07:32.444+00:00", "legs": [{
            "instrument-type": "Equity Option", "symbol": "SPY   261218P00690000", "quantity": 1,
            "action": "Buy to Open", "remaining-quantity": 0, "fills": [{
                "fill-id": "1", "quantity": 1, "fill-price": "1.25",
                                                "filled-at": "2023-07-05T19:07:32.496+00:00"}]}]}},
    {"type": "ComplexOrder", "data": {"id": 2, "account-number": "5WT00001", "type": "OCO", "orders": []}},
    {"type": "CurrentPosition", "data": {
        "account-number": "5WT00001", "symbol": "SPY", "instrument-type": "Equity", "quantity": "10", "multiplier": 1,
        "quantity-direction": "Long", "average-open-price": "600.1", "close-price": "601"}},
    {"type": "AccountBalance", "data": {
        "account-number": "5WT00001", "cash-balance": "100.0", "net-liquidating-value": "100.0", "pending-cash": "0.0",
        "pending-cash-effect": "None", "equity-buying-power": "1", "derivative-buying-power": "1"}},
    {"type": "TradingStatus", "data": {"account-number": "5WT00001", "is-frozen": False, "is-closed": False}},
    {"results": [{"type": "QuoteAlert", "data": {"symbol": "SPY"}}, {"type": "UserMessage", "data": None}]},
]  # fmt: skip


def test_the_machine_answers_any_server_with_events_or_typed_errors() -> None:
    """Whole connections, damaged anywhere; then the machine begins anew and streams."""
    streamed = 0
    for number in fuzz_rounds(300):
        mutator, machine, series = Mutator(number), DXLink("token"), SeriesReader()
        machine.want("Quote", ["SPY"])
        machine.want("Candle", [CANDLE], from_time=0)
        for message in [*FROM_FEED, *FROM_FEED]:
            sound = mutator.random.random() < 0.4
            text = json.dumps(message).encode() if sound else mutator.data(message)
            with suppress(ProtocolError):
                for columns in machine.feed(text if mutator.random.random() < 0.8 else text.decode("utf-8", "replace")):
                    streamed += len(columns)
                    list(columns.events())
                    if columns.event_type == "Candle" and {"eventFlags", "index"} <= set(columns.integers):
                        list(series.take(columns))
            for outgoing in machine.take_outgoing():
                assert json.loads(outgoing.text)["type"]
        machine.restart("token")
        for message in FROM_FEED[:4]:
            machine.feed(json.dumps(message))
        assert machine.state is State.STREAMING
    assert streamed > 0


def test_the_account_stream_reads_anything_as_news_replies_or_a_refusal() -> None:
    """What is known and does not fit is Unreadable, never a crash and never half an order."""
    kinds = (Reply, Other, Unreadable, PlacedOrder, PlacedComplexOrder, Position, Balance, TradingStatus)
    found: set[type] = set()
    for number in fuzz_rounds(1_500):
        mutator = Mutator(number)
        for message in FROM_BROKER:
            text = json.dumps(message) if mutator.random.random() < 0.1 else mutator.data(message)
            try:
                read = parse(text)
            except StreamRefusedError:
                continue
            assert all(isinstance(each, kinds) for each in read)
            found |= {type(each) for each in read}
    assert {Reply, Other, Unreadable} <= found


@pytest.mark.parametrize("depth", [10, 900, 100_000])
def test_nesting_without_end_is_refused(depth: int) -> None:
    """As deep as it likes."""
    text = "[" * depth + "]" * depth
    with pytest.raises(ProtocolError):
        DXLink("token").feed(text)
    with pytest.raises(StreamRefusedError):
        parse(text)

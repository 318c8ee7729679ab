"""The protocol machine: handshake, channels, subscriptions as data, columns out, a typed error for everything else."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tastyclient.dxlink import (
    CHANNELS,
    Channel,
    Contract,
    DXLink,
    FrameError,
    ProtocolError,
    ServerError,
    State,
    TokenRefusedError,
)
from tastyclient.dxlink_errors import SubscriptionLimitError
from tastyclient.dxlink_subscriptions import BROKER_LIMITS, Limits
from tastyclient.events import EVENT_FIELDS, FIELDS, Columns

QUOTE = ["Quote", [".SPY261218P600", 1.25, 1.3, 10, "NaN", 1, 2, "SPY", 600.1, 600.2, 3.0, 4, 5, 6]]


def streaming(machine: DXLink | None = None) -> DXLink:
    """A machine after its handshake; what it said is still to be taken."""
    machine = machine or DXLink("secret")
    for message in (
        {"type": "SETUP", "channel": 0, "keepaliveTimeout": 45},
        {"type": "AUTH_STATE", "channel": 0, "state": "UNAUTHORIZED"},
        {"type": "AUTH_STATE", "channel": 0, "state": "AUTHORIZED"},
        {"type": "CHANNEL_OPENED", "channel": 1},
    ):
        assert machine.feed(json.dumps(message)) == []
    return machine


def sent(machine: DXLink) -> list[dict[str, Any]]:
    return [json.loads(message.text) for message in machine.take_outgoing()]


def names(message: dict[str, Any], verb: str = "add") -> list[str]:
    return [row["symbol"] for row in message[verb]]


def data(kind: str, values: list[Any], channel: int = 1) -> str:
    return json.dumps({"type": "FEED_DATA", "channel": channel, "data": [kind, values]})


def test_handshake_goes_from_setup_to_feed_setup() -> None:
    """Each answer brings the next request, the token among them; the server's patience is remembered."""
    machine = streaming()
    messages = sent(machine)
    assert [each["type"] for each in messages] == ["SETUP", "AUTH", "CHANNEL_REQUEST", "FEED_SETUP"]
    assert messages[1]["token"] == "secret"
    assert messages[3]["acceptDataFormat"] == "COMPACT"
    assert machine.state is State.STREAMING
    assert machine.server_patience_seconds == 45


def test_a_second_authorized_changes_nothing() -> None:
    """Channels are requested once a connection."""
    machine = streaming()
    machine.take_outgoing()
    machine.feed('{"type":"AUTH_STATE","channel":0,"state":"AUTHORIZED"}')
    assert sent(machine) == []


def test_subscriptions_are_the_difference_and_are_replayed_on_a_new_connection() -> None:
    """What is wanted is data: only changes are sent, and everything again after a restart, in the order asked for."""
    machine = streaming()
    machine.want("Quote", ["SPY", "QQQ"])
    machine.want("Quote", ["QQQ", "IWM"])
    machine.add("Quote", ["IWM", "DIA"])
    machine.remove("Quote", ["QQQ", "never wanted"])
    changes = [each for each in sent(machine) if each["type"] == "FEED_SUBSCRIPTION"]
    assert [(verb, names(each, verb)) for each in changes for verb in ("remove", "add") if verb in each] == [
        ("add", ["SPY", "QQQ"]), ("remove", ["SPY"]), ("add", ["IWM"]), ("add", ["DIA"]), ("remove", ["QQQ"]),
    ]  # fmt: skip
    machine.restart("second")
    messages = sent(streaming(machine))
    assert messages[1]["token"] == "second"
    assert names(messages[-1]) == ["IWM", "DIA"]


def test_reset_is_one_message_and_nothing_is_wanted_after_it() -> None:
    """Also not after a reconnect."""
    machine = streaming()
    machine.want("Quote", ["SPY", "QQQ"])
    machine.want("Greeks", ["A"])
    machine.take_outgoing()
    machine.reset()
    assert sent(machine) == [{"type": "FEED_SUBSCRIPTION", "channel": 1, "reset": True}]
    machine.want("Quote", ["SPY"])
    assert names(sent(machine)[-1]) == ["SPY"]


def test_only_what_is_wanted_is_set_up() -> None:
    """A further event type makes a further FEED_SETUP, with the fields asked for."""
    machine = streaming()
    machine.want("Quote", ["SPY"])
    machine.want("Profile", ["SPY"])
    setups = [each["acceptEventFields"] for each in sent(machine) if "acceptEventFields" in each]
    assert [sorted(each) for each in setups] == [["Quote"], ["Profile", "Quote"]]
    assert setups[1]["Profile"] == list(FIELDS["Profile"])


def test_candles_open_a_channel_of_their_own_with_their_past() -> None:
    """Under HISTORY, on demand, with fromTime; another fromTime asks again."""
    machine = streaming()
    machine.take_outgoing()
    machine.want("Candle", ["SPY{=5m}"], from_time=1_700_000_000_000)
    (request,) = sent(machine)
    assert (request["type"], request["channel"], request["parameters"]) == (
        "CHANNEL_REQUEST", 3, {"contract": "HISTORY"},
    )  # fmt: skip
    machine.feed('{"type":"CHANNEL_OPENED","channel":3,"service":"FEED"}')
    setup, added = sent(machine)
    assert list(setup["acceptEventFields"]) == ["Candle"]
    assert added["add"] == [{"type": "Candle", "symbol": "SPY{=5m}", "fromTime": 1_700_000_000_000}]
    machine.want("Candle", ["SPY{=5m}"], from_time=1_600_000_000_000)
    (again,) = sent(machine)
    assert again["add"][0]["fromTime"] == 1_600_000_000_000


def test_order_books_of_two_sources_are_wanted_apart() -> None:
    """Replacing those of one source leaves the other's."""
    machine = streaming()
    machine.want("Order", ["SPY"], source="NTV")
    machine.want("Order", ["SPY"], source="ISE")
    machine.want("Order", [], source="NTV")
    changes = [each for each in sent(machine) if each["type"] == "FEED_SUBSCRIPTION"]
    assert [each["source"] for each in changes[0]["add"] + changes[1]["add"]] == ["NTV", "ISE"]
    assert [each["source"] for each in changes[2]["remove"]] == ["NTV"]


def test_a_channel_can_be_closed_and_its_number_used_again() -> None:
    """The server's answer to our cancel is expected; one that nobody asked for ends the connection."""
    machine = streaming()
    machine.want("Candle", ["SPY{=d}"], from_time=0)
    machine.feed('{"type":"CHANNEL_OPENED","channel":3}')
    machine.take_outgoing()
    machine.close_channel(3)
    assert sent(machine) == [{"type": "CHANNEL_CANCEL", "channel": 3}]
    machine.feed('{"type":"CHANNEL_CLOSED","channel":3}')
    assert sent(machine)[0]["type"] == "CHANNEL_REQUEST"
    with pytest.raises(ProtocolError, match="closed channel 1") as caught:
        machine.feed('{"type":"CHANNEL_CLOSED","channel":1}')
    assert caught.value.fatal


def test_25000_symbols_are_sent_in_bounded_messages() -> None:
    """No message grows without limit, and each says how many subscriptions it changes."""
    machine = streaming(DXLink("secret", limits=BROKER_LIMITS))
    machine.take_outgoing()
    machine.want("Quote", [f".S{number}" for number in range(25_000)])
    messages = [each for each in machine.take_outgoing() if each.changes]
    assert [each.changes for each in messages] == [1000] * 25
    assert max(len(each.text) for each in messages) < 65_536


def test_more_than_a_session_may_have_is_refused_as_a_whole() -> None:
    """Nothing has changed after the error."""
    machine = streaming(DXLink("secret", limits=Limits(subscriptions=3, per_type={"Candle": 1})))
    machine.want("Quote", ["A", "B"])
    machine.take_outgoing()
    with pytest.raises(SubscriptionLimitError, match="4 subscriptions: a session may have 3"):
        machine.add("Quote", ["C", "D"])
    with pytest.raises(SubscriptionLimitError, match="2 symbols of Candle"):
        machine.want("Candle", ["A{=d}", "B{=d}"])
    assert sent(machine) == []
    machine.add("Quote", ["C"])
    assert names(sent(machine)[0]) == ["C"]


def test_what_cannot_be_asked_for_is_refused_before_anything_is_sent() -> None:
    """Unknown types, even channels."""
    with pytest.raises(KeyError, match="Quotes"):
        streaming().want("Quotes", ["SPY"])
    with pytest.raises(KeyError, match="Quotes"):
        DXLink("", fields={"Quotes": ("eventSymbol",)})
    with pytest.raises(ValueError, match="odd"):
        DXLink("", channels=[Channel(2)])


def test_compact_data_becomes_columns_and_nan_stays_missing() -> None:
    """Several symbols and several types in one frame."""
    trade = ["Trade", ["SPY", 600.15, 5, 1000, 7]]
    quotes, trades = streaming().feed(json.dumps({"type": "FEED_DATA", "channel": 1, "data": [*QUOTE, *trade]}))
    assert quotes.symbols == [".SPY261218P600", "SPY"]
    assert list(quotes.values["bidPrice"]) == [1.25, 600.1]
    assert np.isnan(quotes.values["askSize"][0])
    assert trades.values["dayVolume"][0] == 1000


def test_symbols_have_numbers_that_never_change() -> None:
    """A reader looks rows up by array; what was never wanted is -1."""
    machine = streaming()
    machine.want("Quote", ["SPY", "QQQ"])
    machine.want("Quote", ["IWM"])
    (quotes,) = machine.feed(data("Quote", ["IWM", 1, 2, 3, 4, 5, 6, "X", 1, 2, 3, 4, 5, 6, "SPY", 1, 2, 3, 4, 5, 6]))
    assert quotes.ids.tolist() == [2, -1, 0]
    assert machine.symbols.names == ["SPY", "QQQ", "IWM"]


@pytest.mark.parametrize("event_type", EVENT_FIELDS)
def test_every_event_type_is_read_field_by_field(event_type: str) -> None:
    """Each value arrives in its own field, as number, whole number or text."""
    machine = streaming(DXLink("", fields={event_type: EVENT_FIELDS[event_type]}, channels=[Channel(1)]))
    probe = {name: index + 0.5 for index, name in enumerate(EVENT_FIELDS[event_type])}
    (empty,) = machine.feed(json.dumps({"type": "FEED_DATA", "channel": 1, "data": [
        {"eventType": event_type, "eventSymbol": "A", "index": 0}
    ]}))  # fmt: skip
    row: list[Any] = [
        "A" if name == "eventSymbol" else name if name in empty.texts else 7 << 40 if name in empty.integers else value
        for name, value in probe.items()
    ]
    for found in (machine.feed(data(event_type, row))[0], machine.feed(data(event_type, row * 3))[0]):
        for event in found.events():
            assert event == dict(zip(probe, row, strict=True))
    assert all(np.isnan(column[0]) for column in empty.values.values())
    assert all(column == [""] for column in empty.texts.values())


def test_the_servers_own_field_order_is_followed() -> None:
    """FEED_CONFIG may announce another order, fewer fields, and fields that are not known here."""
    machine = streaming()
    machine.feed(
        '{"type":"FEED_CONFIG","channel":1,"eventFields":{"Trade":["eventType","price","invented","eventSymbol"]}}'
    )
    (trades,) = machine.feed(data("Trade", ["Trade", 1.5, {"any": 1}, "SPY"]))
    assert (trades.symbols, list(trades.values["price"])) == (["SPY"], [1.5])
    assert list(trades.values) == ["price", "size", "dayVolume", "time"]
    assert np.isnan(trades.values["dayVolume"]).all()
    assert "invented" not in trades.values
    machine.feed('{"type":"FEED_CONFIG","channel":1}')
    assert len(machine.feed(data("Trade", ["Trade", 1.5, None, "SPY"] * 2))[0]) == 2


def test_a_field_that_the_server_leaves_out_is_missing_and_not_an_error() -> None:
    """A reader that counts on it sees no value, whatever the kind and however many events."""
    machine = streaming(DXLink("", channels=[Channel(1)]))
    machine.feed('{"type":"FEED_CONFIG","channel":1,"eventFields":{"TimeAndSale":["eventSymbol","price"]}}')
    for size in (1, 3):
        (sales,) = machine.feed(data("TimeAndSale", ["SPY", 1.5] * size))
        assert sales.values["price"].tolist() == [1.5] * size
        assert np.isnan(sales.values["bidPrice"]).all()
        assert len(sales.values["bidPrice"]) == size
        assert sales.texts["aggressorSide"] == [""] * size
        assert sales.integers["eventFlags"].tolist() == [0] * size
        assert sales.numbers().shape == (1, size)
        assert len(list(sales.events())) == size


def test_the_field_order_belongs_to_its_channel() -> None:
    """One channel's FEED_CONFIG leaves the other's data as they are."""
    machine = streaming(DXLink("", channels=[*CHANNELS, Channel(5, Contract.STREAM, frozenset({"TimeAndSale"}))]))
    machine.feed('{"type":"FEED_CONFIG","channel":5,"eventFields":{"Quote":["bidPrice","eventSymbol"]}}')
    assert machine.feed(data("Quote", QUOTE[1]))[0].symbols == [".SPY261218P600", "SPY"]  # type: ignore[arg-type]
    assert machine.feed(data("Quote", [1, "SPY"], 5))[0].symbols == ["SPY"]


def test_full_data_is_read_too() -> None:
    """Objects instead of arrays, several types in one frame, fields left out."""
    quotes, trades = streaming().feed(
        '{"type":"FEED_DATA","channel":1,"data":[{"eventType":"Quote","eventSymbol":"SPY","bidPrice":1},'
        '{"eventType":"Trade","eventSymbol":"SPY","price":"Infinity"},'
        '{"eventType":"Quote","eventSymbol":"QQQ","bidPrice":"NaN","askPrice":-2.5e-3}]}'
    )
    assert quotes.symbols == ["SPY", "QQQ"]
    assert quotes.values["askPrice"][1] == -0.0025
    assert np.isnan(quotes.values["bidPrice"][1])
    assert trades.values["price"][0] == np.inf


def test_the_older_form_names_the_fields_with_the_type() -> None:
    """`[["Quote",[fields]],[values]]`."""
    (quotes,) = streaming().feed(
        json.dumps({"type": "FEED_DATA", "channel": 1, "data": [["Quote", list(FIELDS["Quote"])], QUOTE[1]]})
    )
    assert len(quotes) == 2


def test_unknown_types_are_counted_and_do_no_harm() -> None:
    """Messages and events of types that a later server may send."""
    machine = streaming()
    assert machine.feed('{"type":"DOM_SNAPSHOT","channel":1,"time":0}') == []
    found = machine.feed(json.dumps({"type": "FEED_DATA", "channel": 1, "data": ["Novel", ["A", 1], *QUOTE]}))
    assert [len(each) for each in found] == [2]
    assert machine.feed('{"type":"FEED_DATA","channel":1,"data":[{"eventType":"Novel","eventSymbol":"A"}]}') == []
    assert machine.unknown == {"DOM_SNAPSHOT": 1, "Novel": 2}
    for number in range(1000):
        machine.feed(json.dumps({"type": f"N{number}"}))
    assert len(machine.unknown) <= 102
    assert sum(machine.unknown.values()) == 1003


@pytest.mark.parametrize(
    ("text", "names_what"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "a message is an object"),
        ("{}", "names its type"),
        ('{"type":"FEED_DATA","channel":1,"data":["Quote"]}', "pairs"),
        ('{"type":"FEED_DATA","channel":1,"data":[1,2]}', "pairs"),
        ('{"type":"FEED_DATA","channel":1}', "no list"),
        ('{"type":"FEED_DATA","channel":9,"data":[]}', "channel 9"),
        ('{"type":"FEED_DATA","channel":[1],"data":[]}', "channel"),
        ('{"type":"FEED_DATA","channel":1,"data":["Quote",["SPY",1]]}', "2 values does not fit its 7 fields"),
        ('{"type":"FEED_DATA","channel":1,"data":["Trade",["SPY","x",1,1,1]]}', "Trade.price holds 'x'"),
        ('{"type":"FEED_DATA","channel":1,"data":["Trade",["SPY",1,1,1,[]]]}', "Trade.time holds"),
        ('{"type":"FEED_DATA","channel":1,"data":["Trade",["A",1,1,1,1,"B",1,1,{},1]]}', "Trade.dayVolume holds"),
        ('{"type":"FEED_DATA","channel":1,"data":["Trade",["SPY",1_0,1,1,1]]}', "not JSON"),
        ('{"type":"FEED_DATA","channel":1,"data":["Trade",["SPY","1_0",1,1,1]]}', "1_0"),
        ('{"type":"FEED_DATA","channel":1,"data":["Trade",[7,1,1,1,1]]}', "symbol that is not text"),
        ('{"type":"FEED_DATA","channel":1,"data":["Trade",["A",1,1,1,1,null,1,1,1,1]]}', "symbol that is not text"),
        ('{"type":"FEED_DATA","channel":1,"data":[{"eventSymbol":"SPY"}]}', "eventType"),
        ('{"type":"FEED_CONFIG","channel":1,"eventFields":[]}', "table of lists"),
        ('{"type":"FEED_CONFIG","channel":1,"eventFields":{"Quote":["bidPrice"]}}', "eventSymbol once"),
        ('{"type":"FEED_CONFIG","channel":1,"eventFields":{"Quote":[1]}}', "not text"),
        ('{"type":"CHANNEL_OPENED","channel":4}', "channel 4"),
        ('{"type":"AUTH_STATE","state":"MAYBE"}', "MAYBE"),
    ],
)
def test_a_message_that_cannot_be_read_is_an_error_that_names_what_was_wrong(text: str, names_what: str) -> None:
    """Nothing of it is used, and the connection lives: the next frame is read as ever."""
    machine = streaming()
    with pytest.raises(FrameError) as caught:
        machine.feed(text)
    assert names_what in str(caught.value)
    assert not caught.value.fatal
    assert len(machine.feed(data("Quote", QUOTE[1]))[0]) == 2  # type: ignore[arg-type]


def test_a_refused_token_ends_the_connection() -> None:
    """A second UNAUTHORIZED is the answer to our token."""
    with pytest.raises(TokenRefusedError):
        streaming().feed('{"type":"AUTH_STATE","state":"UNAUTHORIZED"}')


@pytest.mark.parametrize(
    ("kind", "fatal"), [("TIMEOUT", True), ("UNAUTHORIZED", True), ("BAD_ACTION", False), ("INVALID_MESSAGE", False)]
)
def test_the_servers_errors_say_whether_the_connection_is_lost(kind: str, fatal: bool) -> None:
    """Those about one message of ours are told and survived."""
    with pytest.raises(ServerError, match=f"{kind} on channel 1: late") as caught:
        streaming().feed(json.dumps({"type": "ERROR", "channel": 1, "error": kind, "message": "late"}))
    assert (caught.value.kind, caught.value.fatal) == (kind, fatal)


def test_columns_describe_themselves() -> None:
    """For a log line."""
    (quotes,) = streaming().feed(data("Quote", QUOTE[1]))  # type: ignore[arg-type]
    assert isinstance(quotes, Columns)
    assert repr(quotes).endswith("(Quote, 2 events)")
    assert quotes.numbers().shape == (6, 2)

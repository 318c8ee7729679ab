"""Requests against a real local server: what each answer proves, one login at a time, nothing sent twice."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from urllib.parse import parse_qs

import pytest

from tastyclient import (
    AuthenticationError,
    BrokerError,
    ClientSettings,
    MalformedReplyError,
    NewComplexOrder,
    NewLeg,
    NewOrder,
    NotFoundError,
    NotSentError,
    OrderEdit,
    Outcome,
    RejectedError,
    TastyClient,
    ThrottledError,
    UnknownOutcomeError,
    Watchlist,
)

Answer = tuple[int, str] | None
"""Status and body; None closes the connection without an answer."""


class Broker:
    """A raw HTTP server that answers as told and remembers what it was asked."""

    def __init__(self, answer: Callable[[str, str], Answer]) -> None:
        self.answer = answer
        self.requests: list[tuple[str, str, str]] = []
        self.logins = 0
        self.login_status = 200
        self.silent = False

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                method, path, _ = line.decode().split(" ", 2)
                length = 0
                while (header := await reader.readline()).strip():
                    if header.lower().startswith(b"content-length:"):
                        length = int(header.split(b":")[1])
                body = (await reader.readexactly(length)).decode() if length else ""
                answer = self._login() if path == "/oauth/token" else self._ask(method, path, body)
                if self.silent and path != "/oauth/token":
                    await asyncio.sleep(30)
                if answer is None:
                    break
                head = f"HTTP/1.1 {answer[0]} X\r\nContent-Length: {len(answer[1].encode())}\r\n\r\n"
                writer.write((head + answer[1]).encode())
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _login(self) -> Answer:
        self.logins += 1
        if self.login_status != 200:
            return self.login_status, '{"error_code":"invalid_grant"}'
        return 200, json.dumps({"access_token": f"access-{self.logins}", "expires_in": 900})

    def _ask(self, method: str, path: str, body: str) -> Answer:
        self.requests.append((method, path, body))
        return self.answer(method, path)


@asynccontextmanager
async def serving(answer: Callable[[str, str], Answer]) -> AsyncIterator[tuple[Broker, TastyClient]]:
    broker = Broker(answer)
    server = await asyncio.start_server(broker.handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with TastyClient(settings(f"http://127.0.0.1:{port}")) as client:
        yield broker, client
    server.close()


def settings(url: str) -> ClientSettings:
    return ClientSettings.model_validate(
        {
            "base_url": url,
            "client_secret": "s",
            "refresh_token": "r",
            "requests_per_second": 1000,
            "burst": 100,
            "read_timeout_seconds": 0.5,
        }
    )


def order(price: str = "1.25", **more: object) -> NewOrder:
    legs = (
        NewLeg(symbol="SPY   261218P00600000", action="Sell to Open", quantity=1),
        NewLeg(symbol="SPY   261218P00595000", action="Buy to Open", quantity=1),
    )
    return NewOrder.model_validate({"legs": legs, "price": price, "external_identifier": "ours", **more})


ERROR = json.dumps(
    {
        "error": {
            "code": "preflight_check_failure",
            "message": "no",
            "errors": [{"code": "margin_check_failed", "message": "short"}],
        }
    }
)


@pytest.mark.parametrize(
    ("answer", "kind", "outcome"),
    [
        ((400, ERROR), RejectedError, Outcome.REJECTED),
        ((401, ERROR), AuthenticationError, Outcome.REJECTED),
        ((403, ERROR), AuthenticationError, Outcome.REJECTED),
        ((404, ERROR), NotFoundError, Outcome.REJECTED),
        ((422, ERROR), RejectedError, Outcome.REJECTED),
        ((429, ""), ThrottledError, Outcome.REJECTED),
        ((422, "<html>proxy</html>"), UnknownOutcomeError, Outcome.UNKNOWN),
        ((302, ""), UnknownOutcomeError, Outcome.UNKNOWN),
        ((408, ERROR), UnknownOutcomeError, Outcome.UNKNOWN),
        ((409, ERROR), UnknownOutcomeError, Outcome.UNKNOWN),
        ((500, ERROR), UnknownOutcomeError, Outcome.UNKNOWN),
        ((502, "<html>"), UnknownOutcomeError, Outcome.UNKNOWN),
        ((201, "{"), MalformedReplyError, Outcome.UNKNOWN),
        ((201, '{"data":{"order":{"id":1,"status":"Floating"}}}'), MalformedReplyError, Outcome.UNKNOWN),
        (None, UnknownOutcomeError, Outcome.UNKNOWN),
    ],
)
async def test_what_an_answer_to_an_order_proves(answer: Answer, kind: type[BrokerError], outcome: Outcome) -> None:
    """Only a refusal in the broker's own words is a refusal; the order is sent exactly once whatever comes back."""
    async with serving(lambda *_: answer) as (broker, client):
        with pytest.raises(kind) as caught:
            await client.submit("A", order())
        assert type(caught.value) is kind
        assert caught.value.outcome is outcome
        assert len(broker.requests) == 1


async def test_a_silent_broker_leaves_the_outcome_unknown() -> None:
    """A read timeout after sending proves nothing."""
    async with serving(lambda *_: (201, "{}")) as (broker, client):
        broker.silent = True
        with pytest.raises(UnknownOutcomeError):
            await client.submit("A", order())
        assert len(broker.requests) == 1


async def test_a_connection_that_never_was_is_not_sent() -> None:
    """Nothing listens: no byte left."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with TastyClient(settings(f"http://127.0.0.1:{port}")) as client:
        with pytest.raises(NotSentError):
            await client.submit("A", order())


async def test_the_reasons_of_a_refusal_are_kept() -> None:
    """Code, message and every nested reason."""
    async with serving(lambda *_: (422, ERROR)) as (_, client):
        with pytest.raises(RejectedError, match="margin_check_failed: short") as caught:
            await client.submit("A", order())
        assert caught.value.code == "preflight_check_failure"


async def test_many_callers_share_one_login() -> None:
    """The refresh token is used once."""
    async with serving(lambda *_: (200, '{"data":{"items":[]}}')) as (broker, client):
        await asyncio.gather(*(client.positions("A") for _ in range(20)))
        assert broker.logins == 1


async def test_a_read_with_a_refused_token_logs_in_again_once() -> None:
    """A token may die early; a read is worth one more login."""
    answers = iter([(401, ERROR), (200, '{"data":{"items":[]}}')])
    async with serving(lambda *_: next(answers)) as (broker, client):
        assert await client.positions("A") == []
        assert broker.logins == 2


async def test_three_refused_logins_open_the_circuit() -> None:
    """A wrong secret is not tried for ever: the broker would block the address."""
    async with serving(lambda *_: (200, "{}")) as (broker, client):
        broker.login_status = 401
        for _ in range(6):
            with pytest.raises(AuthenticationError):
                await client.positions("A")
        assert broker.logins == 3
        client.transport.tokens.reset()
        broker.login_status = 200


async def test_passing_faults_of_a_read_are_tried_again() -> None:
    """Reading twice does no harm."""
    answers = iter([(502, "<html>"), None, (200, '{"data":{"items":[]}}')])
    async with serving(lambda *_: next(answers)) as (broker, client):
        assert await client.positions("A") == []
        assert len(broker.requests) == 3


async def test_every_page_is_read() -> None:
    """A lookup that stops at the first page would miss an order."""

    def page(_: str, path: str) -> Answer:
        number = int(path.split("page-offset=")[1].split("&")[0])
        rows = [{"id": number, "status": "Live", "price": "1.5", "price-effect": "Debit"}]
        return 200, json.dumps({"data": {"items": rows}, "pagination": {"page-offset": number, "total-pages": 3}})

    async with serving(page) as (_, client):
        found = await client.live_orders("A")
    assert [each.id for each in found] == [0, 1, 2]
    assert found[0].price == Decimal("-1.5")


def items(*rows: dict[str, object], page: int = 0, pages: int = 1) -> str:
    """A page of a list."""
    return json.dumps({"data": {"items": rows}, "pagination": {"page-offset": page, "total-pages": pages}})


async def test_a_limit_ends_the_reading_of_pages() -> None:
    """No page is asked for that is not needed."""
    trade = {"id": 1, "transaction-type": "Trade", "executed-at": "2026-11-24T15:00:00Z",
             "transaction-date": "2026-11-24", "value": "1", "net-value": "1"}  # fmt: skip
    async with serving(lambda *_: (200, items(trade, trade, pages=9))) as (broker, client):
        assert len(await client.transactions("A", limit=4)) == 4
        assert len(broker.requests) == 2
        assert await client.transactions("A", limit=0) == []


async def test_a_list_without_end_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that always claims another page is refused after so many."""
    monkeypatch.setattr("tastyclient.http.PAGES_MAX", 20)
    async with serving(lambda *_: (200, items(pages=10**9))) as (broker, client):
        with pytest.raises(MalformedReplyError, match="more than 20 pages"):
            await client.live_orders("A")
        assert len(broker.requests) == 20


@pytest.mark.parametrize("body", ['{"data":{}}', '{"data":[]}', '{"data":{"items":null}}', '{"data":{"items":[7]}}'])
async def test_a_list_of_another_shape_is_malformed(body: str) -> None:
    """It is an error with an outcome, never a crash or an empty list."""
    async with serving(lambda *_: (200, body)) as (_, client):
        for reading in (client.positions("A"), client.live_orders("A"), client.equities(["A"]), client.accounts(),
                        client.market_metrics(["A"])):  # fmt: skip
            with pytest.raises(MalformedReplyError):
                await reading


async def test_queries_are_written_as_the_broker_reads_them() -> None:
    """Bracketed lists, dates, UTC times, true and false; what is not given is left out; symbols are encoded."""
    moment = datetime(2026, 11, 24, 10, 30, tzinfo=timezone(timedelta(hours=-5)))
    async with serving(lambda *_: (200, items())) as (broker, client):
        await client.transactions("A", start_date=date(2026, 1, 2), start_at=moment, types=["Trade", "Money Movement"])
        await client.positions("5WT/1", underlying_symbols=["SPY", "BRK/B"], include_closed=True)
        with pytest.raises(MalformedReplyError):
            await client.equity("BRK/B")
    asked = [parse_qs(path.split("?")[1]) if "?" in path else path for _, path, _ in broker.requests]
    assert asked[0] == {
        "start-date": ["2026-01-02"], "start-at": ["2026-11-24T15:30:00.000Z"], "sort": ["Desc"],
        "types[]": ["Trade", "Money Movement"], "per-page": ["250"], "page-offset": ["0"],
    }  # fmt: skip
    assert asked[1] == {"underlying-symbol[]": ["SPY", "BRK/B"], "include-closed-positions": ["true"]}
    assert broker.requests[1][1].startswith("/accounts/5WT%2F1/positions?")
    assert asked[2] == "/instruments/equities/BRK%2FB"


async def test_many_symbols_go_in_several_requests() -> None:
    """A hundred at a time: a longer address is refused."""
    symbols = [f"S{number}" for number in range(250)]
    async with serving(lambda *_: (200, items())) as (broker, client):
        await client.equities(symbols)
        await client.market_data_by_type(equities=symbols[:150], equity_options=symbols[150:])
    counts = [len([key for key in path.split("&") if "S" in key]) for _, path, _ in broker.requests]
    assert counts == [100, 100, 50, 100, 100, 50]


async def test_a_replacement_and_an_edit_have_no_legs() -> None:
    """They cannot change; sent once like everything with an effect."""
    async with serving(lambda *_: (502, "<html>")) as (broker, client):
        for sending in (client.replace("A", 1, order()), client.edit("A", 1, OrderEdit(price=Decimal(1)))):
            with pytest.raises(UnknownOutcomeError):
                await sending
    assert [method for method, _, _ in broker.requests] == ["PUT", "PATCH"]
    assert all("legs" not in json.loads(body) for _, _, body in broker.requests)


async def test_nothing_with_an_effect_is_sent_twice() -> None:
    """Not after a fault, not after a refused token, whatever it is."""
    for answer in ((502, "<html>"), (401, ERROR), None):
        async with serving(lambda *_, answer=answer: answer) as (broker, client):
            acts = (
                client.cancel("A", 1), client.cancel_complex("A", 1), client.delete_watchlist("x"),
                client.delete_quote_alert("x"), client.create_watchlist(Watchlist(name="x")),
                client.submit_complex("A", NewComplexOrder.oto(order(), order())), client.reconfirm("A", 1),
            )  # fmt: skip
            for act in acts:
                with pytest.raises(BrokerError):
                    await act
            assert len(broker.requests) == len(acts)


@pytest.mark.parametrize(
    ("price", "magnitude", "effect"), [("1.25", "1.25", "Credit"), ("-0.40", "0.40", "Debit"), ("0", "0", "Credit")]
)
def test_price_is_sent_as_magnitude_and_effect(price: str, magnitude: str, effect: str) -> None:
    """Credit positive inside, two fields on the wire; zero is a price."""
    body = order(price).body()
    assert (body["price"], body["price-effect"]) == (magnitude, effect)
    assert body["external-identifier"] == "ours"
    assert "advanced-instructions" not in body


def test_a_close_carries_strict_position_effect() -> None:
    """Without its position it must be refused, not turned into an opening order."""
    assert order(closing=True).body()["advanced-instructions"] == {"strict-position-effect-validation": True}

"""Orders on paper against quotes from the bus: what marketdata sends becomes a book; a frozen feed fills nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import nats
import numpy as np
import pytest
from nats.aio.client import Client

from marketdata.domain import Board, chain_revision
from schemas import subjects
from schemas.base import Message
from schemas.columns import COLUMNS, ColumnBatch, ColumnKind, encode
from schemas.market import FeedStatus, MarketMetrics, MarketSession, OptionChain, SessionPhase
from strategies.chainfile import ChainFileError
from tastysim.bus_market import BusMarket
from tastysim.orders import Order
from tastysim.service import build
from tastysim.settings import SimSettings
from testkit.eventually import eventually

CALL, PUT, LATER = "XYZ   991217C00100000", "XYZ   991217P00100000", "XYZ   991217P00095000"
NOW = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)


class Hands:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def chain(*symbols: str) -> OptionChain:
    return OptionChain(
        ts_event=NOW, underlying_symbol="XYZ", revision=chain_revision(symbols), sector="Energy", occ_symbols=symbols
    )


def quotes(held: OptionChain, at: datetime, rows: dict[int, tuple[float, float]]) -> ColumnBatch:
    """A batch of quotes as marketdata makes it: row 0 is the underlying."""
    columns = {name: np.full(len(rows), 50.0) for name, _ in COLUMNS[ColumnKind.QUOTE]}
    columns["row"] = np.array(list(rows), dtype=np.uint32)
    columns["bid"], columns["ask"] = np.array(list(rows.values())).T
    columns["ts_event"] = np.full(len(rows), int(at.timestamp() * 1e9), dtype=np.int64)
    return ColumnBatch(ColumnKind.QUOTE, held.revision, int(at.timestamp() * 1e9), columns)


def alive(at: datetime, *, connected: bool = True) -> FeedStatus:
    return FeedStatus(ts_event=at, connected=connected, last_event_at=at)


def listening() -> tuple[BusMarket, Hands]:
    clock = Hands()
    market = BusMarket("bus:nats://user:secret@somewhere:4222", clock)
    market.take_session(MarketSession(ts_event=NOW, phase=SessionPhase.OPEN, market_date=NOW.date()))
    return market, clock


def test_a_book_grows_from_chains_and_batches_and_keeps_what_it_knows() -> None:
    """Nothing at first; then contracts without values; then values; a new list of rows keeps those that stay."""
    market, clock = listening()
    assert (market.listing, market.rows) == (0, {})
    first = chain(CALL, PUT)
    market.take_batch("XYZ", quotes(first, NOW, {1: (9.0, 9.1)}))  # of a chain that nobody has heard of
    market.take_chain(first)
    market.step(0.25)
    assert (market.listing, market.rows["XYZ"]) == (1, slice(0, 2))
    assert np.isnan(market.bid).all()
    assert np.isnan(market.spot).all()
    assert np.isnan(market.iv).all()
    market.take_batch("XYZ", quotes(first, NOW, {0: (99.9, 100.1), 2: (2.0, 2.2)}))
    market.step(0.25)
    assert market.spot[0] == 100.0
    assert market.spot_quote(0) == (99.9, 100.1)
    assert market.bid[market.row_of[PUT]] == 2.0
    assert np.isnan(market.bid[market.row_of[CALL]])
    assert market.quoted_at[market.row_of[PUT]] == market.steps > market.quoted_at[market.row_of[CALL]]
    second = chain(LATER, PUT)
    market.take_chain(second)
    market.take_batch("XYZ", quotes(first, NOW, {2: (5.0, 5.2)}))  # rows of a list that no longer holds
    market.take_batch("XYZ", quotes(second, NOW, {1: (1.0, 1.1)}))
    clock.now += timedelta(seconds=1)
    market.step(0.25)
    assert (market.listing, market.now) == (2, NOW + timedelta(seconds=1))
    assert [market.bid[market.row_of[each]] for each in (LATER, PUT)] == [1.0, 2.0]
    assert CALL not in market.row_of


def test_a_quote_holds_while_the_feed_is_alive_and_grows_old_when_it_is_not() -> None:
    """An unchanged quote is as young as the feed's last event; a silent or cut feed lets all of them age."""
    market, clock = listening()
    held = chain(CALL, PUT)
    market.take_chain(held)
    market.take_batch("XYZ", quotes(held, NOW, {0: (99.9, 100.1), 1: (2.0, 2.2)}))
    market.step(0.25)
    assert market.quote_age(CALL) == 0
    assert market.quote_age("XYZ") == 0
    assert np.isnan(market.quote_age(PUT))
    assert np.isnan(market.quote_age("ABC"))
    clock.now += timedelta(seconds=30)
    market.take_feed(alive(clock.now))
    market.step(0.25)
    assert market.quote_age(CALL) == 30  # the feed lives, but nobody has said anything of this underlying since
    market.take_batch("XYZ", quotes(held, clock.now, {0: (99.8, 100.0)}))
    market.step(0.25)
    assert market.quote_age(CALL) == 0
    clock.now += timedelta(seconds=20)
    market.take_feed(alive(clock.now, connected=False))
    market.take_batch("XYZ", quotes(held, NOW + timedelta(seconds=30), {0: (99.8, 100.0)}))  # sent again in full
    market.step(0.25)
    assert market.quote_age(CALL) == 20


def test_metrics_session_and_close_are_the_brokers() -> None:
    """Figures that are not known stay unknown; the close of a day is known once the next session is open."""
    market, clock = listening()
    held = chain(CALL)
    market.take_chain(held)
    market.step(0.25)
    assert (market.listed[0].sector, market.listed[0].beta) == ("Energy", 0)
    market.take_metrics(MarketMetrics(ts_event=NOW, underlying_symbol="XYZ", iv_index=0.31, beta=1.2))
    columns = {"row": np.zeros(1, np.uint32), "open_interest": np.full(1, np.nan)}
    columns |= {"previous_close": np.array([98.765]), "ts_event": np.zeros(1, np.int64)}
    market.take_batch("XYZ", ColumnBatch(ColumnKind.SUMMARY, held.revision, 0, columns))
    market.step(0.25)
    assert (market.listed[0].beta, market.volatility[0], market.previous_close[0]) == (1.2, 0.31, 98.765)
    assert market.settlement("XYZ", NOW.date() - timedelta(days=1)) == Decimal("98.77")
    assert market.settlement("XYZ", NOW.date()) is None
    closing = NOW + timedelta(hours=5)
    market.take_session(MarketSession(ts_event=NOW, phase=SessionPhase.OPEN, closes_at=closing, market_date=NOW.date()))
    market.step(0.25)
    assert market.is_open
    clock.now = closing
    market.step(0.25)
    assert not market.is_open


@pytest.mark.parametrize("text", ["bus:http://host", "bus:nats://", "bus:somewhere"])
def test_an_address_that_is_none_is_explained(text: str) -> None:
    """One line says how it is written, and never repeats what was given."""
    with pytest.raises(ChainFileError, match=r"written bus:nats://host:port"):
        BusMarket(text)


def test_a_login_is_not_part_of_the_name() -> None:
    """What is written to a log has no password in it."""
    assert listening()[0].name == "nats://somewhere:4222"


async def state(client: Client, subject: str, message: Message) -> None:
    """Publish as marketdata publishes state."""
    await client.jetstream().publish(subject, message.model_dump_json().encode())


@pytest.fixture
async def publisher(provisioned_nats_url: str) -> AsyncIterator[Client]:
    client = await nats.connect(provisioned_nats_url)
    yield client
    await client.close()


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    caplog.set_level(logging.INFO)
    return caplog


async def test_orders_trade_on_paper_against_the_bus_and_stop_when_it_freezes(
    publisher: Client, provisioned_nats_url: str, tmp_path: Path, quiet: pytest.LogCaptureFixture
) -> None:
    """Over a real bus: state that was there before, batches as they come, a fill at the quotes, none on old ones."""
    held = chain(CALL, PUT)
    board = Board([held])
    await state(
        publisher, subjects.MD_SESSION,
        MarketSession(ts_event=datetime.now(UTC), phase=SessionPhase.OPEN, market_date=NOW.date()),
    )  # fmt: skip
    settings = SimSettings(
        market=f"bus:{provisioned_nats_url}", data_dir=tmp_path, step_ms=20, quote_max_age_seconds=1.0
    )
    app = build(settings)
    market, broker = app.state.market, app.state.broker

    async def publish(bid: float, ask: float) -> None:
        """What marketdata sends when the feed says so: conflated by its own board, encoded by its own code."""
        now = datetime.now(UTC)
        sent = {"bidPrice": bid, "askPrice": ask, "bidSize": 10.0, "askSize": 10.0}
        values = {name: np.full(2, value) for name, value in sent.items()}
        values |= {name: np.full(2, now.timestamp() * 1000) for name in ("bidTime", "askTime")}
        values["bidPrice"][0], values["askPrice"][0] = 99.9, 100.1
        board.update("Quote", ["XYZ", ".XYZ991217C100"], values, int(now.timestamp() * 1e9))
        batch = board.take("XYZ", ColumnKind.QUOTE, int(now.timestamp() * 1e9))
        assert batch is not None
        await publisher.publish(subjects.md_columns(ColumnKind.QUOTE, "XYZ"), encode(batch))
        await state(publisher, subjects.MD_FEED, alive(now))

    async def filled(order: Order, ask: float) -> bool:
        """Whether an order has filled, while the feed goes on."""
        await publish(2.0, ask)
        return order.status == "Filled"

    def bought(price: str) -> dict[str, object]:
        legs = [{"symbol": CALL, "action": "Buy to Open", "quantity": 1, "instrument-type": "Equity Option"}]
        return {"order-type": "Limit", "time-in-force": "Day", "price": price, "price-effect": "Debit", "legs": legs}

    async with app.router.lifespan_context(app):
        await eventually(lambda: market.is_open and market.steps > 5)  # open, and nothing is listed yet
        await state(publisher, subjects.md_chain("XYZ"), held)
        await eventually(lambda: "XYZ" in market.rows)
        await publish(2.0, 2.2)
        await eventually(lambda: np.isfinite(market.bid[market.row_of[CALL]]))
        first = broker.submit(bought("2.30"), market.now)
        await eventually(lambda: filled(first, 2.2))
        assert Decimal(first.fills[0]["fill-price"]) == Decimal("2.2")
        await eventually(lambda: market.quote_age(CALL) > 1.0)
        frozen = broker.submit(bought("2.30"), market.now)
        unquoted = broker.submit({**bought("2.30"), "legs": [{**bought("2.30")["legs"][0], "symbol": PUT}]}, market.now)
        steps = market.steps
        await eventually(lambda: market.steps > steps + 10)
        assert (frozen.status, unquoted.status) == ("Live", "Live")
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://sim") as http:
            path = f"/sim/accounts/{settings.account}/orders/{frozen.id}/fill"
            assert (await http.get(path)).json()["why"] == "a quote is older than 1 s"
            refused = await http.put("/sim/clock", json={"speed": 60})
            assert refused.status_code == 400
        await eventually(lambda: filled(frozen, 2.1))
        assert Decimal(frozen.fills[0]["fill-price"]) == Decimal("2.1")
        assert app.state.clock.failures == 0
    await asyncio.sleep(0)
    assert provisioned_nats_url.rpartition("@")[0] not in quiet.text or "@" not in provisioned_nats_url


async def test_a_restart_with_positions_waits_for_their_prices(
    publisher: Client, provisioned_nats_url: str, tmp_path: Path
) -> None:
    """Until every position has a price the interface answers 503, and no account is valued or traded."""
    settings = SimSettings(market=f"bus:{provisioned_nats_url}", data_dir=tmp_path, step_ms=20)
    before = build(settings)
    before.state.broker.positions[CALL] = (1, Decimal("2.00"))
    before.state.broker.set_flags({})
    app = build(settings)
    held = chain(CALL, PUT)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://sim", headers={"User-Agent": "test/1"}) as http,
    ):
        await state(publisher, subjects.md_chain("XYZ"), held)
        await eventually(lambda: "XYZ" in app.state.market.rows)
        answer = await http.get("/customers/me/accounts")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "market_data_unavailable")
        assert (await http.get("/sim/health")).status_code == 200
        batch = quotes(held, datetime.now(UTC), {0: (99.9, 100.1), 1: (2.0, 2.2)})
        await publisher.publish(subjects.md_columns(ColumnKind.QUOTE, "XYZ"), encode(batch))
        await eventually(lambda: app.state.market.waits_for([CALL]) is None)
        assert (await http.get("/customers/me/accounts")).status_code == 401
        assert app.state.clock.failures == 0

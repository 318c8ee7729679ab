"""The simulator: a believable market, a broker that keeps its word over kill -9, and clients that believe it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import httpx
import numpy as np
import pytest

from chassis.embedded import free_port
from tastyclient import ClientSettings, Columns, MarketStream, NewLeg, NewOrder, OrderStatus, RejectedError, TastyClient
from testkit import eventually

ACCOUNT = "5WT00001"


@dataclass(slots=True)
class Sim:
    url: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    def start(self) -> None:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("TT_")}
        own = {"TT_TASTYSIM_PORT": str(self.port), "TT_TASTYSIM_DATA_DIR": str(self.folder)}
        self.process = subprocess.Popen([sys.executable, "-m", "tastysim"], env=clean | own)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/sim/health", trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                time.sleep(0.05)
        raise AssertionError("the simulator did not start")


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[Sim]:
    port = free_port()
    found = Sim(f"http://127.0.0.1:{port}", port, tmp_path / "sim", subprocess.Popen(["true"]))
    found.start()
    yield found
    found.process.terminate()
    found.process.wait(10)


def client_of(url: str) -> TastyClient:
    return TastyClient(
        ClientSettings.model_validate(
            {
                "base_url": url,
                "client_secret": "demo-client-secret",
                "refresh_token": "demo-refresh-token",
                "requests_per_second": 500,
                "burst": 100,
            }
        )
    )


async def spread(broker: TastyClient) -> tuple[NewLeg, NewLeg]:
    """A put credit spread below the money, about a month out."""
    chain = (await broker.nested_chain("SPY"))[0]
    puts = [strike.put for strike in chain.expirations[3].strikes]
    short, long = puts[12], puts[9]
    return (
        NewLeg(symbol=short, action="Sell to Open", quantity=1),
        NewLeg(symbol=long, action="Buy to Open", quantity=1),
    )


async def test_an_order_rests_fills_and_becomes_a_position(client: TastyClient, account: str) -> None:
    """A greedy limit rests and is cancelled; a natural one fills; positions, cash and margin follow."""
    legs = await spread(client)
    resting = await client.submit(account, NewOrder(legs=legs, price=Decimal("5.90"), external_identifier="rest"))
    assert resting.status is OrderStatus.LIVE
    replaced = await client.replace(
        account, resting.id, NewOrder(legs=legs, price=Decimal("5.80"), external_identifier="rest-2")
    )
    assert replaced.replaces_order_id == resting.id
    assert (await client.cancel(account, replaced.id)).status is OrderStatus.CANCELLED
    with pytest.raises(RejectedError, match="cannot_update_order"):
        await client.cancel(account, replaced.id)
    placed = await client.submit(account, NewOrder(legs=legs, price=Decimal("0.05"), external_identifier="fill"))

    async def filled() -> bool:
        return (await client.order(account, placed.id)).status is OrderStatus.FILLED

    await eventually(filled)
    order = await client.order(account, placed.id)
    net = sum((1 if leg.action.startswith("Sell") else -1) * leg.fills[0].fill_price for leg in order.legs)
    held = {each.symbol: each.signed_quantity for each in await client.positions(account)}
    balance = await client.balance(account)
    assert held == {legs[0].symbol: -1, legs[1].symbol: 1}
    assert net >= Decimal("0.05")
    sold = next(leg.fills[0].fill_price for leg in order.legs if leg.action.startswith("Sell"))
    sec = (Decimal("0.0000206") * sold * 100).quantize(Decimal("0.001"), ROUND_HALF_UP)
    assert balance.cash_balance == 100_000 + net * 100 - Decimal("1.12") * 2 - Decimal("0.003") - sec
    assert balance.maintenance_requirement == 6 * 100


async def test_nothing_acknowledged_is_lost_by_kill_9(sim: Sim) -> None:
    """Orders, fills, positions and the history are there after a restart, and ids go on."""
    async with client_of(sim.url) as broker:
        legs = await spread(broker)
        placed = await broker.submit(ACCOUNT, NewOrder(legs=legs, price=Decimal("0.05"), external_identifier="a"))

        async def filled() -> bool:
            return bool(await broker.positions(ACCOUNT))

        await eventually(filled)
        resting = await broker.submit(ACCOUNT, NewOrder(legs=legs, price=Decimal("5.90"), external_identifier="b"))
    sim.process.send_signal(signal.SIGKILL)
    sim.process.wait()
    sim.start()
    async with client_of(sim.url) as broker:
        found = {each.external_identifier: each.status for each in await broker.live_orders(ACCOUNT)}
        again = await broker.submit(ACCOUNT, NewOrder(legs=legs, price=Decimal("5.90"), external_identifier="c"))
        assert len(await broker.positions(ACCOUNT)) == 2
    assert found == {"a": OrderStatus.FILLED, "b": OrderStatus.LIVE}
    assert again.id > resting.id > placed.id
    async with httpx.AsyncClient(trust_env=False) as plain:
        history = (await plain.get(f"{sim.url}/sim/history")).json()
    assert [each["what"] for each in history] == ["deposit", "submitted", "filled", "submitted", "submitted"]


async def test_our_own_stream_gets_columns_of_a_chain(client: TastyClient) -> None:
    """Quotes and greeks of underlying and options, and they move."""
    chain = (await client.nested_chain("QQQ"))[0]
    symbols = [strike.call_streamer_symbol for strike in chain.expirations[0].strikes]
    received: dict[str, list[Columns]] = {"Quote": [], "Greeks": [], "Summary": [], "Trade": []}

    async def token() -> tuple[str, str]:
        found = await client.quote_token()
        return found.token, found.dxlink_url

    stream = MarketStream(token, lambda columns, _: received[columns.event_type].append(columns), lambda *_: None)
    for kind in received:
        stream.want(kind, ["QQQ", *symbols])
    running = asyncio.create_task(stream.run())
    await eventually(lambda: all(received.values()) and len(received["Quote"]) > 3, timeout=20)
    running.cancel()
    first = received["Quote"][0]
    assert set(first.symbols) == {"QQQ", *symbols}
    assert (first.values["askPrice"] > first.values["bidPrice"]).all()
    assert (np.abs(received["Greeks"][0].values["delta"]) <= 1).all()


async def test_the_third_party_sdk_works_unchanged(address: str, account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The PyPI package `tastytrade` logs in, reads accounts and a chain, streams quotes, places, cancels."""
    sdk = pytest.importorskip("tastytrade")
    import tastytrade.session
    from tastytrade import Account, DXLinkStreamer, Session
    from tastytrade.dxfeed import Quote
    from tastytrade.instruments import NestedOptionChain
    from tastytrade.order import InstrumentType, Leg, OrderAction, OrderTimeInForce, OrderType
    from tastytrade.order import NewOrder as SdkOrder

    assert sdk.VERSION.startswith("13.")
    monkeypatch.setattr(tastytrade.session, "API_URL", address)
    async with Session("demo-client-secret", "demo-refresh-token") as session:
        own = await Account.get(session, account)
        balances = await own.get_balances(session)
        assert balances.net_liquidating_value == 100_000
        chain = (await NestedOptionChain.get(session, "SPY"))[0]
        strikes = chain.expirations[3].strikes
        async with DXLinkStreamer(session) as streamer:
            await streamer.subscribe(Quote, [strikes[12].put_streamer_symbol, "SPY"])
            quote = await asyncio.wait_for(streamer.get_event(Quote), 10)
            assert quote.ask_price > quote.bid_price
        option = InstrumentType.EQUITY_OPTION
        legs = [
            Leg(instrument_type=option, symbol=strikes[12].put, action=OrderAction.SELL_TO_OPEN, quantity=1),
            Leg(instrument_type=option, symbol=strikes[9].put, action=OrderAction.BUY_TO_OPEN, quantity=1),
        ]
        order = SdkOrder(
            time_in_force=OrderTimeInForce.DAY, order_type=OrderType.LIMIT, legs=legs, price=Decimal("5.95")
        )
        checked = await own.place_order(session, order, dry_run=True)
        assert checked.buying_power_effect.change_in_buying_power < 0
        placed = await own.place_order(session, order, dry_run=False)
        await own.delete_order(session, placed.order.id)
        live = await own.get_live_orders(session)
        assert [each.status.value for each in live] == ["Cancelled"]

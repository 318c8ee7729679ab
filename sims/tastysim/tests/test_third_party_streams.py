"""The streamers of the PyPI package `tastytrade`, unmodified: every event type, candles, the account, a cut line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tastyclient import TastyClient
from testkit import Relay, eventually, relayed

sdk: Any = pytest.importorskip("tastytrade")

import tastytrade.dxfeed as dx  # noqa: E402
from tastytrade import Account, AlertStreamer, DXLinkStreamer, Session  # noqa: E402
from tastytrade.instruments import NestedOptionChain, Option  # noqa: E402
from tastytrade.order import MarketOrder, OrderAction, OrderStatus, PlacedOrder  # noqa: E402


@pytest.fixture
async def relay(fast_address: str) -> AsyncIterator[Relay]:
    """A line to the simulator that can be cut."""
    async with relayed(fast_address) as found:
        yield found


@pytest.fixture
async def session(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """The SDK, logged in through the line."""
    import tastytrade.session
    import tastytrade.streamer

    monkeypatch.setattr(tastytrade.session, "API_URL", f"http://{relay.address}")
    monkeypatch.setattr(tastytrade.streamer, "STREAMER_URL", f"ws://{relay.address}/streamer")
    async with Session("demo-client-secret", "demo-refresh-token") as found:
        yield found


async def near_the_money(session: Any) -> Any:
    """A strike of SPY, about a month out."""
    strikes = (await NestedOptionChain.get(session, "SPY"))[0].expirations[3].strikes
    return strikes[len(strikes) // 2]


async def event(streamer: Any, kind: Any, symbol: str) -> Any:
    """The next event of a symbol."""
    async with asyncio.timeout(20):
        while True:
            found = await streamer.get_event(kind)
            if found.event_symbol == symbol:
                return found


async def test_every_event_type_passes_the_sdks_own_models(session: Any) -> None:
    """The SDK drops what its models refuse: here every type comes through, of contracts and of underlyings."""
    option = (await near_the_money(session)).call_streamer_symbol
    both, spot, contract = ("SPY", option), ("SPY",), (option,)
    kinds = {
        dx.Quote: both, dx.Trade: both, dx.Summary: both, dx.Profile: both, dx.Greeks: contract,
        dx.TheoPrice: contract, dx.Underlying: spot,
    }  # fmt: skip
    async with DXLinkStreamer(session) as streamer:
        for kind, symbols in kinds.items():
            await streamer.subscribe(kind, list(symbols))
        await streamer.subscribe(dx.TimeAndSale, ["SPY", "QQQ", "IWM", "AAPL", "TSLA", "NVDA", "AMZN", "META"])
        for kind, symbols in kinds.items():
            for symbol in symbols:
                assert (await event(streamer, kind, symbol)).event_symbol == symbol
        quote, greeks = await event(streamer, dx.Quote, option), await event(streamer, dx.Greeks, option)
        assert 0 < quote.bid_price < quote.ask_price
        assert 0 < greeks.delta < 1
        async with asyncio.timeout(20):
            assert (await streamer.get_event(dx.TimeAndSale)).price > 0
        await streamer.unsubscribe(dx.Quote, ["SPY"])
        await streamer.unsubscribe_all(dx.Greeks)
        await eventually(lambda: "Greeks" not in streamer._subscription_state)
        await streamer.subscribe(dx.Greeks, [option])
        assert (await event(streamer, dx.Greeks, option)).volatility > 0


async def test_candles_come_newest_first_with_the_flags_of_a_snapshot(session: Any) -> None:
    """As the SDK asks for them: regular hours, from a start time; then the bar that runs."""
    start = datetime.now(UTC) - timedelta(days=10)
    async with DXLinkStreamer(session) as streamer:
        await streamer.subscribe_candle(["SPY"], "1d", start_time=start)
        found = []
        async with asyncio.timeout(20):
            async for candle in streamer.listen(dx.Candle):
                found.append(candle)
                if candle.snapshot_end:
                    break
            live = await streamer.get_event(dx.Candle)
        await streamer.unsubscribe_candle("SPY", "1d")
    assert found[0].snapshot_begin
    assert [each.time for each in found] == sorted((each.time for each in found), reverse=True)
    assert len(found) >= 5
    assert all(each.low <= each.close <= each.high for each in found)
    assert (live.time, live.event_flags) == (found[0].time, 0)


async def test_a_streamer_can_be_made_anew_after_its_line_was_cut(session: Any, relay: Relay) -> None:
    """The SDK's streamers end with their connection; a new one of the same session has everything again."""

    async def first_quote() -> Any:
        async with DXLinkStreamer(session) as streamer:
            await streamer.subscribe(dx.Quote, ["SPY"])
            return await event(streamer, dx.Quote, "SPY")

    async def until_cut() -> None:
        async with DXLinkStreamer(session) as streamer:
            await streamer.subscribe(dx.Quote, ["SPY"])
            await event(streamer, dx.Quote, "SPY")
            relay.cut()
            async for _ in streamer.listen(dx.Quote):
                pass

    with pytest.raises(BaseExceptionGroup):
        await asyncio.wait_for(until_cut(), 20)
    assert (await first_quote()).bid_price > 0


async def test_the_account_is_told_what_happens_before_and_after_a_cut(
    session: Any, relay: Relay, client_with: Callable[..., TastyClient], fast_address: str
) -> None:
    """Orders, positions and balances in the SDK's own models; and alerts and lists can be asked for."""
    async with client_with(base_url=fast_address) as client:
        body = {"account-type": "Individual", "margin-or-cash": "Margin", "funding-amount": 100_000}
        opened = await client.transport.send("POST", "/sandbox/customers/me/accounts", body)
    own = await Account.get(session, str(opened["account-number"]))
    put = await Option.get(session, (await near_the_money(session)).put)

    async def filled() -> None:
        async with AlertStreamer(session) as streamer:
            await streamer.subscribe_accounts([own])
            await streamer.subscribe_public_watchlists()
            await streamer.subscribe_quote_alerts()
            order = MarketOrder(legs=[put.build_leg(1, OrderAction.BUY_TO_OPEN)])
            await own.place_order(session, order, dry_run=False)
            async with asyncio.timeout(20):
                async for each in streamer.listen(PlacedOrder):
                    if each.status is OrderStatus.FILLED:
                        return

    async def until_cut() -> None:
        async with AlertStreamer(session) as streamer:
            await streamer.subscribe_accounts([own])
            relay.cut()
            async for _ in streamer.listen(PlacedOrder):
                pass

    await filled()
    with pytest.raises(BaseExceptionGroup):
        await asyncio.wait_for(until_cut(), 20)
    await filled()

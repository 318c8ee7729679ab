"""What the SDK's documentation does with both streamers: a live chain, candles, and the story of an account."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from testkit import eventually

sdk: Any = pytest.importorskip("tastytrade")

from tastytrade import Account, AlertStreamer, DXLinkStreamer  # noqa: E402
from tastytrade.account import AccountBalance, CurrentPosition, TradingStatus  # noqa: E402
from tastytrade.dxfeed import (  # noqa: E402
    Candle,
    Greeks,
    Quote,
    Trade,
)
from tastytrade.instruments import Equity, Future, get_option_chain  # noqa: E402
from tastytrade.order import (  # noqa: E402
    LimitOrder,
    MarketOrder,
    OCOOrder,
    OrderAction,
    OrderStatus,
    PlacedComplexOrder,
    PlacedOrder,
    StopOrder,
)
from tastytrade.streamer import QuoteAlert  # noqa: E402
from tastytrade.utils import TastytradeError  # noqa: E402

PATIENCE = 20.0


async def first(streamer: Any, kind: Any, symbol: str | None = None) -> Any:
    """The next event of a kind, of a symbol."""
    async with asyncio.timeout(PATIENCE):
        async for event in streamer.listen(kind):
            if symbol is None or event.event_symbol == symbol:
                return event
    raise AssertionError("the stream ended")


async def test_a_chain_of_live_prices(sdk_session: Any) -> None:
    """The documentation's example: quotes and Greeks of every option of an expiration."""
    chain = await get_option_chain(sdk_session, "SPY")
    symbols = {each.streamer_symbol for each in chain[sorted(chain)[1]]}
    quotes: dict[str, Any] = {}
    greeks: dict[str, Any] = {}
    async with DXLinkStreamer(sdk_session) as streamer, asyncio.timeout(PATIENCE):
        await streamer.subscribe(Quote, ["SPY", *symbols])
        await streamer.subscribe(Greeks, symbols)
        while set(quotes) < symbols:
            quotes |= {(event := await streamer.get_event(Quote)).event_symbol: event}
        while set(greeks) < symbols:
            greeks |= {(event := await streamer.get_event(Greeks)).event_symbol: event}
    assert all(each.bid_price <= each.ask_price for each in quotes.values())


async def test_what_follows_the_market_is_streamed_too(sdk_session: Any) -> None:
    """An index, a future, a coin and a name without options, under the feed's own symbols."""
    (future,) = (await Future.get(sdk_session, product_codes=["ES"]))[:1]
    wanted = {"SPX", "VIX", "F", future.streamer_symbol, "BTC/USD:CXTALP"}
    async with DXLinkStreamer(sdk_session) as streamer, asyncio.timeout(PATIENCE):
        await streamer.subscribe(Quote, wanted)
        await streamer.subscribe(Trade, ["SPX"])
        seen: dict[str, Any] = {}
        while set(seen) != wanted:
            event = await streamer.get_event(Quote)
            seen[event.event_symbol] = event
        assert (await first(streamer, Trade)).event_symbol == "SPX"
    assert Decimal("0.95") < seen[future.streamer_symbol].mid_price / seen["SPX"].mid_price < Decimal("1.05")


async def test_candles_and_the_end_of_subscriptions(sdk_session: Any) -> None:
    """A month of days, the newest first; a symbol that does not exist is silent; a channel can be opened again."""
    async with DXLinkStreamer(sdk_session) as streamer, asyncio.timeout(PATIENCE):
        await streamer.subscribe(Trade, ["QQQQ"])
        await streamer.subscribe_candle(["SPY", "AAPL"], "1d", datetime.now(UTC) - timedelta(days=30))
        one, another = await streamer.get_event(Candle), await streamer.get_event(Candle)
        assert one.event_symbol == another.event_symbol
        assert one.time > another.time
        assert one.low <= one.close <= one.high
        assert streamer.get_event_nowait(Trade) is None
        await streamer.subscribe(Quote, ["SPY", "AAPL"])
        await streamer.get_event(Quote)
        await streamer.unsubscribe_candle("SPY", "1d")
        await streamer.unsubscribe(Quote, ["SPY"])
        await streamer.unsubscribe_all(Quote)
        await eventually(lambda: "Quote" not in streamer._subscription_state)
        await streamer.subscribe(Quote, ["QQQ"])
        assert (await first(streamer, Quote, "QQQ")).event_symbol == "QQQ"


async def test_account_alerts_tell_the_whole_story(sdk_session: Any, account: str, address: str) -> None:
    """Orders, positions, balances, complex orders, status and quote alerts, all of them parsed by strict models."""
    own = await Account.get(sdk_session, account)
    share = (await Equity.get(sdk_session, "F")).build_leg(10, OrderAction.BUY_TO_OPEN)
    async with AlertStreamer(sdk_session) as streamer:
        await streamer.subscribe_accounts([own])
        await streamer.subscribe_public_watchlists()
        await streamer.subscribe_quote_alerts()
        placed = await own.place_order(sdk_session, MarketOrder(legs=[share]), dry_run=False)
        filled = await alert(streamer, PlacedOrder, lambda each: each.status is OrderStatus.FILLED)
        assert (filled.id, filled.legs[0].fills[0].quantity) == (placed.order.id, 10)
        position = await alert(streamer, CurrentPosition, lambda each: each.symbol == "F")
        assert (position.quantity, position.quantity_direction) == (10, "Long")
        assert (
            await alert(streamer, AccountBalance, lambda each: each.long_equity_value > 0)
        ).account_number == account
        close = [(await Equity.get(sdk_session, "F")).build_leg(10, OrderAction.SELL_TO_CLOSE)]
        pair = OCOOrder(
            take_profit=LimitOrder(legs=close, price=Decimal(1000)),
            stop_loss=StopOrder(legs=close, stop_trigger=Decimal(1)),
        )
        two = (await own.place_complex_order(sdk_session, pair, dry_run=False)).complex_order
        await alert(streamer, PlacedComplexOrder, lambda each: each.id == two.id)
        await own.delete_complex_order(sdk_session, two.id)
        ended = await alert(streamer, PlacedComplexOrder, lambda each: each.terminal_at is not None)
        assert {each.status for each in ended.orders} == {OrderStatus.CANCELLED}
        async with httpx.AsyncClient(base_url=address, trust_env=False) as plain:
            await plain.put(f"/sim/accounts/{account}/trading-status", json={"is-closing-only": True})
        assert (await alert(streamer, TradingStatus, lambda each: each.is_closing_only)).account_number == account
        body = {"symbol": "SPY", "field": "Last", "operator": ">", "threshold": "1", "instrument-type": "Equity"}
        await sdk_session._post("/quote-alerts", json=body)
        told = await alert(streamer, QuoteAlert, lambda each: each.symbol == "SPY")
        assert told.triggered_at >= told.created_at
        await sdk_session._delete(f"/quote-alerts/{told.alert_external_id}")


async def alert(streamer: Any, kind: Any, wanted: Any) -> Any:
    """The next alert of a kind that is wanted."""
    async with asyncio.timeout(PATIENCE):
        async for each in streamer.listen(kind):
            if wanted(each):
                return each
    raise AssertionError("the stream ended")


async def test_alerts_need_their_account_first(sdk_session: Any) -> None:
    """Any other subscription before it is refused, and the SDK says what to do."""
    with pytest.raises(ExceptionGroup) as caught:
        async with AlertStreamer(sdk_session) as streamer:
            await streamer.subscribe_quote_alerts()
    assert caught.group_contains(TastytradeError, match="before other subscriptions")

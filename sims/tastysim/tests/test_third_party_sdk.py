"""The PyPI package `tastytrade`, unmodified, walks everything it offers against the running simulator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tastyclient import TastyClient
from testkit import eventually

sdk: Any = pytest.importorskip("tastytrade")

from tastytrade import Account, Session  # noqa: E402
from tastytrade.instruments import (  # noqa: E402
    Cryptocurrency,
    Equity,
    Future,
    NestedOptionChain,
    Option,
    Warrant,
    get_future_option_chain,
    get_option_chain,
    get_quantity_decimal_precisions,
)
from tastytrade.market_data import get_market_data, get_market_data_by_type  # noqa: E402
from tastytrade.market_sessions import (  # noqa: E402
    ExchangeType,
    MarketStatus,
    get_market_holidays,
    get_market_sessions,
)
from tastytrade.metrics import get_dividends, get_earnings, get_market_metrics, get_risk_free_rate  # noqa: E402
from tastytrade.order import (  # noqa: E402
    InstrumentType,
    LimitOrder,
    MarketOrder,
    OCOOrder,
    OrderAction,
    OrderStatus,
    OTOCOOrder,
    StopOrder,
)
from tastytrade.search import symbol_search  # noqa: E402
from tastytrade.utils import TastytradeError  # noqa: E402
from tastytrade.watchlists import PairsWatchlist, PrivateWatchlist, PublicWatchlist  # noqa: E402


@pytest.fixture
async def session(address: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """The SDK, logged in."""
    import tastytrade.session

    assert sdk.VERSION.startswith("13.")
    monkeypatch.setattr(tastytrade.session, "API_URL", address)
    async with Session("demo-client-secret", "demo-refresh-token") as found:
        yield found


@pytest.fixture
async def own(session: Any, account: str) -> Any:
    """A new account, as the SDK sees it."""
    return await Account.get(session, account)


async def strike(session: Any, offset: int = 0) -> Any:
    """A strike of SPY about a month out, near the money."""
    strikes = (await NestedOptionChain.get(session, "SPY"))[0].expirations[3].strikes
    return strikes[len(strikes) // 2 + offset]


async def test_reference_data(session: Any) -> None:
    """Instruments, chains, metrics, market data, sessions, search."""
    assert (await session.get_customer()).first_name == "Simulated"
    assert await session.validate()
    spy = await Equity.get(session, "SPY")
    assert spy.is_etf
    assert len(await Equity.get_active_equities(session, page_offset=None)) > 10
    assert {each.symbol for each in await Equity.get(session, ["SPY", "AAPL"])} == {"SPY", "AAPL"}
    chain = await get_option_chain(session, "SPY")
    one = next(iter(chain.values()))[0]
    assert await Option.get(session, one.symbol) == one
    assert await get_future_option_chain(session, "ES") == {}
    assert [await each.get(session) for each in (Cryptocurrency, Warrant)] == [[], []]
    assert await Future.get(session, product_codes=["ES"]) == []
    assert len(await get_quantity_decimal_precisions(session)) == 2
    (metrics,) = await get_market_metrics(session, ["SPY"])
    assert metrics.implied_volatility_index
    assert await get_dividends(session, "SPY") == await get_earnings(session, "SPY", date(2026, 1, 1)) == []
    assert await get_risk_free_rate(session) == Decimal("0.04")
    found = await get_market_data_by_type(session, equities=["SPY"], options=[one.symbol])
    assert {each.symbol for each in found} == {"SPY", one.symbol}
    assert (await get_market_data(session, "SPY", InstrumentType.EQUITY)).bid_size == 400
    (hours,) = await get_market_sessions(session, [ExchangeType.NYSE])
    assert hours.status is MarketStatus.OPEN
    assert (await get_market_holidays(session)).holidays
    assert "AAPL" in {each.symbol for each in await symbol_search(session, "AA")}


async def test_accounts_and_their_history(session: Any, own: Any) -> None:
    """Balances, positions, transactions, fees, value, margin, after a trade."""
    numbers = {each.account_number for each in await Account.get(session)}
    assert own.account_number in numbers
    assert not (await own.get_trading_status(session)).is_frozen
    put = await Option.get(session, (await strike(session)).put)
    order = MarketOrder(legs=[put.build_leg(1, OrderAction.BUY_TO_OPEN)])
    await own.place_order(session, order, dry_run=False)

    async def held() -> bool:
        return bool(await own.get_positions(session, include_marks=True))

    await eventually(held)
    (position,) = await own.get_positions(session)
    trade, deposit = await own.get_history(session, page_offset=None)
    assert trade.net_value == -position.average_open_price * 100 - Decimal("1.12")
    assert deposit.value == 100_000
    assert await own.get_transaction(session, trade.id) == trade
    assert (await own.get_total_fees(session)).total_fees == Decimal("-1.12")
    balances = await own.get_balances(session)
    assert balances.cash_balance == 100_000 + trade.net_value
    assert await own.get_balance_snapshots(session) == []
    history = await own.get_net_liquidating_value_history(session, time_back="1d")
    assert history[-1].total_low <= history[-1].total_close
    start = datetime.now(UTC) - timedelta(hours=1)
    assert await own.get_net_liquidating_value_history(session, start_time=start)
    assert (await own.get_margin_requirements(session)).groups[0].code == "SPY"
    (filled,) = await own.get_order_history(session, page_offset=None)
    assert filled.average_fill_price() == position.average_open_price


async def test_orders(session: Any, own: Any) -> None:
    """Dry run, place, replace, look up, cancel; a refusal in the broker's words."""
    put = await Option.get(session, (await strike(session)).put)
    legs = [put.build_leg(1, OrderAction.BUY_TO_OPEN)]
    order = LimitOrder(legs=legs, price=Decimal("-0.05"))
    checked = await own.place_order(session, order)
    assert checked.fee_calculation.total_fees == Decimal("-1.12")
    assert (await own.get_order_buying_power_effect(session, order)).change_in_buying_power == Decimal("-6.12")
    placed = (await own.place_order(session, order, dry_run=False)).order
    moved = await own.replace_order(session, placed.id, LimitOrder(legs=legs, price=Decimal("-0.06")))
    assert (moved.replaces_order_id, moved.price) == (placed.id, Decimal("-0.06"))
    await own.delete_order(session, moved.id)
    assert (await own.get_order(session, moved.id)).status is OrderStatus.CANCELLED
    assert {each.id for each in await own.get_live_orders(session)} == {placed.id, moved.id}
    with pytest.raises(TastytradeError, match="cant_buy_for_credit"):
        await own.place_order(session, LimitOrder(legs=legs, price=Decimal("0.05")), dry_run=False)


async def test_complex_orders(session: Any, own: Any) -> None:
    """An entry with two exits, then a pair of which the stop is reached at once."""
    put = await Option.get(session, (await strike(session)).put)
    entry = MarketOrder(legs=[put.build_leg(1, OrderAction.BUY_TO_OPEN)])
    close = [put.build_leg(1, OrderAction.SELL_TO_CLOSE)]
    profit, loss = LimitOrder(legs=close, price=Decimal(500)), StopOrder(legs=close, stop_trigger=Decimal("0.01"))
    bracket = OTOCOOrder(trigger_order=entry, take_profit=profit, stop_loss=loss)
    checked = await own.place_complex_order(session, bracket)
    assert checked.complex_order.trigger_order.updated_at.year == 1970
    placed = (await own.place_complex_order(session, bracket, dry_run=False)).complex_order
    assert placed.take_profit.status is OrderStatus.CONTINGENT

    async def started() -> bool:
        found = await own.get_complex_order(session, placed.id)
        return {each.status for each in found.orders} == {OrderStatus.LIVE}

    await eventually(started)
    await own.delete_complex_order(session, placed.id)
    pair = OCOOrder(take_profit=profit, stop_loss=StopOrder(legs=close, stop_trigger=Decimal(400)))
    second = (await own.place_complex_order(session, pair, dry_run=False)).complex_order

    async def over() -> bool:
        return (await own.get_complex_order(session, second.id)).terminal_at is not None

    await eventually(over)
    history = await own.get_complex_order_history(session, page_offset=None)
    assert [each.id for each in history] == [second.id, placed.id]
    assert {each.status for each in history[0].orders} == {OrderStatus.FILLED, OrderStatus.CANCELLED}
    assert len(await own.get_live_complex_orders(session)) == 2


async def test_watchlists(session: Any, client: TastyClient) -> None:
    """Own lists live; the simulator publishes none."""
    mine = PrivateWatchlist(name="From the SDK")
    mine.add_symbol("SPY", InstrumentType.EQUITY)
    await mine.upload(session)
    mine.add_symbol("QQQ", InstrumentType.EQUITY)
    await mine.update(session)
    assert (await client.watchlist(mine.name)).symbols == ["SPY", "QQQ"]
    assert mine.name in {each.name for each in await PrivateWatchlist.get(session)}
    await PrivateWatchlist.remove(session, mine.name)
    assert await asyncio.gather(PublicWatchlist.get(session), PairsWatchlist.get(session)) == [[], []]

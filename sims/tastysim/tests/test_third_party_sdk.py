"""The PyPI package `tastytrade`, unmodified, walks everything it offers against the running simulator."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from testkit import eventually

sdk: Any = pytest.importorskip("tastytrade")

from tastytrade import Account  # noqa: E402
from tastytrade.instruments import (  # noqa: E402
    Cryptocurrency,
    Equity,
    NestedOptionChain,
    Option,
)
from tastytrade.order import (  # noqa: E402
    LimitOrder,
    MarketOrder,
    NotionalOrder,
    OCOOrder,
    OrderAction,
    OrderStatus,
    OrderTimeInForce,
    OTOCOOrder,
    StopOrder,
)
from tastytrade.utils import TastytradeError  # noqa: E402


@pytest.fixture
async def own(sdk_session: Any, account: str) -> Any:
    """A new account, as the SDK sees it."""
    return await Account.get(sdk_session, account)


async def strike(sdk_session: Any, offset: int = 0) -> Any:
    """A strike of SPY about a month out, near the money."""
    strikes = (await NestedOptionChain.get(sdk_session, "SPY"))[0].expirations[3].strikes
    return strikes[len(strikes) // 2 + offset]


async def test_accounts_and_their_history(sdk_session: Any, own: Any) -> None:
    """Balances, positions, transactions, fees, value, margin, after a trade."""
    numbers = {each.account_number for each in await Account.get(sdk_session)}
    assert own.account_number in numbers
    assert not (await own.get_trading_status(sdk_session)).is_frozen
    put = await Option.get(sdk_session, (await strike(sdk_session)).put)
    order = MarketOrder(legs=[put.build_leg(1, OrderAction.BUY_TO_OPEN)])
    await own.place_order(sdk_session, order, dry_run=False)

    async def held() -> bool:
        return bool(await own.get_positions(sdk_session, include_marks=True))

    await eventually(held)
    (position,) = await own.get_positions(sdk_session)
    trade, deposit = await own.get_history(sdk_session, page_offset=None)
    assert trade.net_value == -position.average_open_price * 100 - Decimal("1.12")
    assert deposit.value == 100_000
    assert await own.get_transaction(sdk_session, trade.id) == trade
    assert (await own.get_total_fees(sdk_session)).total_fees == Decimal("-1.12")
    balances = await own.get_balances(sdk_session)
    assert balances.cash_balance == 100_000 + trade.net_value
    assert await own.get_balance_snapshots(sdk_session) == []
    history = await own.get_net_liquidating_value_history(sdk_session, time_back="1d")
    assert history[-1].total_low <= history[-1].total_close
    start = datetime.now(UTC) - timedelta(hours=1)
    assert await own.get_net_liquidating_value_history(sdk_session, start_time=start)
    assert (await own.get_margin_requirements(sdk_session)).groups[0].code == "SPY"
    (filled,) = await own.get_order_history(sdk_session, page_offset=None)
    assert filled.average_fill_price() == position.average_open_price


async def test_orders(sdk_session: Any, own: Any) -> None:
    """Dry run, place, replace, look up, cancel; a refusal in the broker's words."""
    put = await Option.get(sdk_session, (await strike(sdk_session)).put)
    legs = [put.build_leg(1, OrderAction.BUY_TO_OPEN)]
    order = LimitOrder(legs=legs, price=Decimal("-0.05"))
    checked = await own.place_order(sdk_session, order)
    assert checked.fee_calculation.total_fees == Decimal("-1.12")
    assert (await own.get_order_buying_power_effect(sdk_session, order)).change_in_buying_power == Decimal("-6.12")
    placed = (await own.place_order(sdk_session, order, dry_run=False)).order
    moved = await own.replace_order(sdk_session, placed.id, LimitOrder(legs=legs, price=Decimal("-0.06")))
    assert (moved.replaces_order_id, moved.price) == (placed.id, Decimal("-0.06"))
    await own.delete_order(sdk_session, moved.id)
    assert (await own.get_order(sdk_session, moved.id)).status is OrderStatus.CANCELLED
    assert {each.id for each in await own.get_live_orders(sdk_session)} == {placed.id, moved.id}
    with pytest.raises(TastytradeError, match="cant_buy_for_credit"):
        await own.place_order(sdk_session, LimitOrder(legs=legs, price=Decimal("0.05")), dry_run=False)


async def test_complex_orders(sdk_session: Any, own: Any) -> None:
    """An entry with two exits, then a pair of which the stop is reached at once."""
    put = await Option.get(sdk_session, (await strike(sdk_session)).put)
    entry = MarketOrder(legs=[put.build_leg(1, OrderAction.BUY_TO_OPEN)])
    close = [put.build_leg(1, OrderAction.SELL_TO_CLOSE)]
    profit, loss = LimitOrder(legs=close, price=Decimal(500)), StopOrder(legs=close, stop_trigger=Decimal("0.01"))
    bracket = OTOCOOrder(trigger_order=entry, take_profit=profit, stop_loss=loss)
    checked = await own.place_complex_order(sdk_session, bracket)
    assert checked.complex_order.trigger_order.updated_at.year == 1970
    placed = (await own.place_complex_order(sdk_session, bracket, dry_run=False)).complex_order
    assert placed.take_profit.status is OrderStatus.CONTINGENT

    async def started() -> bool:
        found = await own.get_complex_order(sdk_session, placed.id)
        return {each.status for each in found.orders} == {OrderStatus.LIVE}

    await eventually(started)
    await own.delete_complex_order(sdk_session, placed.id)
    pair = OCOOrder(take_profit=profit, stop_loss=StopOrder(legs=close, stop_trigger=Decimal(400)))
    second = (await own.place_complex_order(sdk_session, pair, dry_run=False)).complex_order

    async def over() -> bool:
        return (await own.get_complex_order(sdk_session, second.id)).terminal_at is not None

    await eventually(over)
    history = await own.get_complex_order_history(sdk_session, page_offset=None)
    assert [each.id for each in history] == [second.id, placed.id]
    assert {each.status for each in history[0].orders} == {OrderStatus.FILLED, OrderStatus.CANCELLED}
    assert len(await own.get_live_complex_orders(sdk_session)) == 2


async def test_notional_orders(sdk_session: Any, own: Any) -> None:
    """Ten dollars' worth of a share, dry and for real; coins are refused."""
    share = (await Equity.get(sdk_session, "AAPL")).build_leg(None, OrderAction.BUY_TO_OPEN)
    order = NotionalOrder(legs=[share], value=Decimal(-10), time_in_force=OrderTimeInForce.GTC)
    assert (await own.place_order(sdk_session, order)).order.value == -10
    placed = (await own.place_order(sdk_session, order, dry_run=False)).order

    async def filled() -> bool:
        return (await own.get_order(sdk_session, placed.id)).status is OrderStatus.FILLED

    await eventually(filled)
    (position,) = await own.get_positions(sdk_session)
    assert 0 < position.quantity < 1
    assert (await own.get_order(sdk_session, placed.id)).average_fill_price() == position.average_open_price
    coin = (await Cryptocurrency.get(sdk_session, "ETH/USD")).build_leg(None, OrderAction.BUY_TO_OPEN)
    bought = NotionalOrder(legs=[coin], value=Decimal(-100), time_in_force=OrderTimeInForce.IOC)
    with pytest.raises(TastytradeError, match="instrument_validation_failed"):
        await own.place_order(sdk_session, bought)

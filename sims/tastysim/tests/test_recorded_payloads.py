"""Captured payloads of the real broker, read by the third-party SDK and by our own client: neither leaves one out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from tastyclient import (
    ClientSettings,
    NewComplexOrder,
    NewLeg,
    NewOrder,
    NotFoundError,
    OrderStatus,
    RejectedError,
    TastyClient,
)
from testkit.recorded import ACCOUNT, RecordedBroker, recorded_broker, recordings

FUTURE_OPTION = "./ESZ6 ESZ6  261218P6300"
OPTION = "AAPL  260612C00110000"


@pytest.fixture
async def broker() -> AsyncIterator[RecordedBroker]:
    """Answers from recordings."""
    async with recorded_broker() as found:
        yield found


def test_every_recording_has_an_identity_of_its_own() -> None:
    """One answer per request, and neutral identifiers."""
    found = recordings()
    assert len({(each.method, each.path) for each in found}) == len(found) > 60
    accounts = {part for each in found for part in each.path.split("/") if part.startswith("5W")}
    assert accounts == {ACCOUNT}


def order(price: str = "-2", symbol: str = "AAPL") -> NewOrder:
    """One share."""
    leg = NewLeg(symbol=symbol, action="Buy to Open", quantity=1, instrument_type="Equity")
    return NewOrder(legs=(leg,), price=Decimal(price))


async def test_our_client_reads_all_of_them(broker: RecordedBroker) -> None:
    """Every recording through the method that asks for it; amounts with their signs."""
    settings = ClientSettings.model_validate(
        {"base_url": broker.url, "client_secret": "x", "refresh_token": "y", "requests_per_second": 500, "burst": 200}
    )
    async with TastyClient(settings) as client:
        await client.validate_session()
        assert (await client.customer()).first_name == "A"
        assert [each.account_number for each in await client.accounts()] == [ACCOUNT]
        assert (await client.account(ACCOUNT)).margin_or_cash == "Margin"
        assert (await client.trading_status(ACCOUNT)).is_futures_enabled
        assert (await client.quote_token()).level == "api"
        assert (await client.balance(ACCOUNT)) == (await client.balances(ACCOUNT))[0]
        assert (await client.balance_snapshots(ACCOUNT))[0].time_of_day == "EOD"
        assert (await client.positions(ACCOUNT))[0].signed_quantity == 742
        (trade,) = await client.transactions(ACCOUNT)
        assert trade == await client.transaction(ACCOUNT, 123456)
        assert trade.net_value == Decimal("-76.12")
        assert await client.total_fees(ACCOUNT) == Decimal("-1.12")
        assert (await client.net_liq_history(ACCOUNT, "1d"))[0].total_close == 1
        report = await client.margin_requirements(ACCOUNT)
        assert (len(report.groups), report.margin_requirement) == (1, Decimal("-4337.83"))
        assert (await client.effective_margin(ACCOUNT, "AAPL")).naked_option_floor == 251
        assert await client.risk_free_rate() == Decimal("0.0434")
        await _instruments_of_our_client(client)
        await _market_of_our_client(client)
        await _orders_of_our_client(client)
    assert broker.unasked == set()


async def _instruments_of_our_client(client: TastyClient) -> None:
    spy = await client.equity("SPY")
    assert [spy] == await client.equities(["SPY"]) == await client.active_equities()
    option = await client.equity_option(OPTION)
    assert [option] == await client.option_chain("AAPL")
    assert (await client.nested_chain("SPY"))[0].deliverables[0].amount == 100
    assert (await client.compact_chain("SPY"))[0].symbols == ("SPY   260804C00500000",)
    future = await client.future("/ESU6")
    assert [future] == await client.futures(product_codes=["ES"])
    assert future.future_product is not None
    assert future.future_product == await client.future_product("CME", "ES") == (await client.future_products())[0]
    assert [await client.future_option_product("LO", "CME")] == await client.future_option_products()
    assert [await client.future_option(FUTURE_OPTION)] == await client.futures_option_chain("ES")
    assert (await client.nested_futures_chain("ES")).option_chains[0].expirations[0].strikes[0].strike_price == 6300
    assert [await client.cryptocurrency("BTC/USD")] == await client.cryptocurrencies()
    assert [await client.warrant("NKLAW")] == await client.warrants()
    assert (await client.currency_pairs())[0].dx_symbol == "EUR/USD"
    assert (await client.quantity_decimal_precisions())[0].value == 8
    assert (await client.search_symbols("AAP"))[0].symbol == "AAPL"


async def _market_of_our_client(client: TastyClient) -> None:
    assert [await client.market_data("Equity", "AAPL")] == await client.market_data_by_type(equities=["AAPL"])
    (metrics,) = await client.metrics(["NVDA"])
    assert metrics.earnings is not None
    assert (metrics.market_cap, metrics.earnings.actual_eps) == (4_514_709_583_000, Decimal("0.81"))
    assert (await client.dividends("SPY"))[0].amount == Decimal("1.76")
    assert (await client.earnings("AAPL", date(2026, 1, 1)))[0].eps == Decimal("1.52")
    assert [await client.market_session()] == await client.current_sessions()
    assert await client.holidays() == await client.futures_holidays("CME")
    assert [each.symbols for each in await client.watchlists()] == [["AAPL"], []]
    assert (await client.watchlist("TestWatchlist")).symbols == ["AAPL"]
    assert (await client.public_watchlist("Crypto")).symbols == (await client.public_watchlists())[0].symbols
    assert [await client.pairs_watchlist("Stocks")] == await client.pairs_watchlists()


async def _orders_of_our_client(client: TastyClient) -> None:
    routed, filled = await client.orders(ACCOUNT)
    assert [routed] == await client.live_orders(ACCOUNT)
    assert routed == await client.order(ACCOUNT, 270561)
    assert (filled.status, filled.legs[0].fills[0].fill_price) == (OrderStatus.FILLED, 100)
    preview = await client.preview(ACCOUNT, order())
    assert preview.fee_calculation is not None
    assert (preview.fee_calculation.total_fees, preview.warnings[0].code) == (
        Decimal("-2.302"), "tif_next_valid_sesssion"
    )  # fmt: skip
    with pytest.raises(RejectedError, match="gtc_market_orders_not_supported"):
        await client.submit(ACCOUNT, order())
    assert (await client.replace(ACCOUNT, 270561, order())).replaces_order_id == 270561
    assert (await client.cancel(ACCOUNT, 270561)).status is OrderStatus.CANCEL_REQUESTED
    profit, loss = order(), NewOrder(legs=order().legs, order_type="Stop", stop_trigger=Decimal(1))
    placed = await client.submit_complex(ACCOUNT, NewComplexOrder.otoco(order(), profit, loss))
    assert [placed] == await client.complex_orders(ACCOUNT) == await client.live_complex_orders(ACCOUNT)
    assert placed == await client.complex_order(ACCOUNT, 1001)
    assert (await client.cancel_complex(ACCOUNT, 1001)).terminal_at is not None
    with pytest.raises(NotFoundError, match="record_not_found"):
        await client.order(ACCOUNT, 1)


NOT_OF_THE_SDK = {
    f"/accounts/{ACCOUNT}/balances", f"/accounts/{ACCOUNT}/margin-requirements/AAPL/effective",
    "/option-chains/SPY/compact", "/market-time/equities/sessions/current",
}  # fmt: skip
"""Endpoints that the SDK has no method for."""


async def test_the_third_party_sdk_reads_all_of_them(broker: RecordedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same recordings, so that what both read is the broker's shape and not our idea of it."""
    sdk: Any = pytest.importorskip("tastytrade")
    from tastytrade import instruments, market_data, market_sessions, metrics, order, search, session, watchlists

    monkeypatch.setattr(session, "API_URL", broker.url)
    async with session.Session("x", "y") as login:
        assert await login.validate()
        await login.get_customer()
        await login._get("/api-quote-tokens")
        (account,) = await sdk.Account.get(login)
        assert account == await sdk.Account.get(login, ACCOUNT)
        for method in ("get_trading_status", "get_balances", "get_balance_snapshots", "get_history", "get_total_fees",
                       "get_margin_requirements", "get_order_history", "get_live_orders", "get_complex_order_history",
                       "get_live_complex_orders"):  # fmt: skip
            assert await getattr(account, method)(login)
        assert (await account.get_positions(login))[0].quantity == 742
        assert (await account.get_transaction(login, 123456)).net_value == Decimal("-76.12")
        assert await account.get_net_liquidating_value_history(login, time_back="1d")
        assert await metrics.get_risk_free_rate(login) == Decimal("0.0434")
        reads: list[Callable[[], Awaitable[Any]]] = [
            lambda: instruments.Equity.get(login, "SPY"), lambda: instruments.Equity.get(login, ["SPY"]),
            lambda: instruments.Equity.get_active_equities(login), lambda: instruments.Option.get(login, OPTION),
            lambda: instruments.get_option_chain(login, "AAPL"),
            lambda: instruments.NestedOptionChain.get(login, "SPY"),
            lambda: instruments.Future.get(login, "ESU6"), lambda: instruments.Future.get(login, ["/ESU6"]),
            lambda: instruments.FutureProduct.get(login), lambda: instruments.FutureProduct.get(login, "ES"),
            lambda: instruments.FutureOptionProduct.get(login),
            lambda: instruments.FutureOptionProduct.get(login, "LO"),
            lambda: instruments.FutureOption.get(login, FUTURE_OPTION),
            lambda: instruments.get_future_option_chain(login, "ES"),
            lambda: instruments.NestedFutureOptionChain.get(login, "ES"),
            lambda: instruments.Cryptocurrency.get(login), lambda: instruments.Cryptocurrency.get(login, "BTC/USD"),
            lambda: instruments.Warrant.get(login), lambda: instruments.Warrant.get(login, "NKLAW"),
            lambda: instruments.Forex.get(login), lambda: instruments.get_quantity_decimal_precisions(login),
            lambda: search.symbol_search(login, "AAP"),
            lambda: market_data.get_market_data_by_type(login, equities=["AAPL"]),
            lambda: market_data.get_market_data(login, "AAPL", order.InstrumentType.EQUITY),
            lambda: metrics.get_market_metrics(login, ["NVDA"]), lambda: metrics.get_dividends(login, "SPY"),
            lambda: metrics.get_earnings(login, "AAPL", date(2026, 1, 1)),
            lambda: market_sessions.get_market_sessions(login, [market_sessions.ExchangeType.NYSE]),
            lambda: market_sessions.get_market_holidays(login),
            lambda: market_sessions.get_futures_holidays(login, market_sessions.ExchangeType.CME),
            lambda: watchlists.PrivateWatchlist.get(login),
            lambda: watchlists.PrivateWatchlist.get(login, "TestWatchlist"),
            lambda: watchlists.PublicWatchlist.get(login), lambda: watchlists.PublicWatchlist.get(login, "Crypto"),
            lambda: watchlists.PairsWatchlist.get(login), lambda: watchlists.PairsWatchlist.get(login, "Stocks"),
            lambda: account.get_order(login, 270561), lambda: account.get_complex_order(login, 1001),
        ]  # fmt: skip
        for read in reads:
            assert await read()
        leg = order.Leg(instrument_type="Equity", symbol="AAPL", quantity=1, action="Buy to Open")
        limit = order.LimitOrder(legs=[leg], price=Decimal(-2))
        assert (await account.place_order(login, limit)).fee_calculation.total_fees == Decimal("-2.302")
        with pytest.raises(sdk.utils.TastytradeError, match="gtc_market_orders_not_supported"):
            await account.place_order(login, limit, dry_run=False)
        market = order.MarketOrder(legs=[leg])
        assert (await account.replace_order(login, 270561, market)).replaces_order_id == 270561
        await account.delete_order(login, 270561)
        stop = order.StopOrder(legs=[leg], stop_trigger=Decimal(1))
        bracket = order.OTOCOOrder(trigger_order=limit, take_profit=limit, stop_loss=stop)
        placed = (await account.place_complex_order(login, bracket, dry_run=False)).complex_order
        assert placed.trigger_order.id == 270570
        await account.delete_complex_order(login, 1001)
        with pytest.raises(sdk.utils.TastytradeError, match="record_not_found"):
            await account.get_order(login, 1)
    assert {path for _, path in broker.unasked} == NOT_OF_THE_SDK

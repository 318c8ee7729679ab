"""The SDK's documentation, section by section: sdk_session, instruments, market data, metrics, hours, lists."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

sdk: Any = pytest.importorskip("tastytrade")

from tastytrade import Session  # noqa: E402
from tastytrade.instruments import (  # noqa: E402
    Cryptocurrency,
    Equity,
    Forex,
    Future,
    FutureOption,
    FutureOptionProduct,
    FutureProduct,
    NestedFutureOptionChain,
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
    get_futures_holidays,
    get_market_holidays,
    get_market_sessions,
)
from tastytrade.metrics import get_dividends, get_earnings, get_market_metrics, get_risk_free_rate  # noqa: E402
from tastytrade.order import InstrumentType  # noqa: E402
from tastytrade.search import symbol_search  # noqa: E402
from tastytrade.utils import TastytradeError  # noqa: E402
from tastytrade.watchlists import PairsWatchlist, PrivateWatchlist, PublicWatchlist  # noqa: E402

TODAY = datetime.now(UTC).date()


async def test_a_session_lives_and_is_kept(sdk_session: Any) -> None:
    """Customer, validation, refresh on demand, and a serialized session that goes on where the first one was."""
    assert (await sdk_session.get_customer()).permitted_account_types[0].margin_types
    assert await sdk_session.validate()
    before = sdk_session.session_token
    await sdk_session.refresh()
    assert sdk_session.session_token == before
    await sdk_session.refresh(force=True)
    assert sdk_session.session_token != before
    kept = Session("demo-client-secret", "demo-refresh-token", timeout=10.0)
    await kept.refresh()
    again = Session.deserialize(kept.serialize())
    assert (again.session_token, again.client_kwargs) == (kept.session_token, {"timeout": 10.0})
    async with again:
        assert (await again.get_customer()).id == "me"
    with pytest.raises(TastytradeError):
        async with Session("demo-client-secret", "nobody's token") as wrong:
            await wrong.get_customer()


async def test_equities_indices_and_names_without_options(sdk_session: Any) -> None:
    """One, several in their order, all, by flag; ticks of the shares and of their options."""
    spy = await Equity.get(sdk_session, "SPY")
    assert (spy.is_etf, spy.is_index, spy.streamer_symbol) == (True, False, "SPY")
    assert [each.value for each in spy.option_tick_sizes] == [Decimal("0.01")]
    assert [(each.value, each.threshold) for each in spy.tick_sizes] == [
        (Decimal("0.0001"), Decimal(1)), (Decimal("0.01"), None)
    ]  # fmt: skip
    assert [each.symbol for each in await Equity.get(sdk_session, ["SPY", "AAPL", "NOPE"])] == ["SPY", "AAPL"]
    assert (await Equity.get(sdk_session, "BRK/B")).symbol == "BRK/B"
    indices = await Equity.get(sdk_session, [], is_index=True)
    assert {"SPX", "VIX"} <= {each.symbol for each in indices}
    assert all(each.instrument_type is InstrumentType.INDEX for each in indices)
    assert len(await Equity.get_active_equities(sdk_session, per_page=5, page_offset=None)) > 20
    assert len(await Equity.get_active_equities(sdk_session, per_page=5)) == 5
    assert await Equity.get_active_equities(sdk_session, lendability="Preborrow") == []
    with pytest.raises(TastytradeError, match="record_not_found"):
        await Equity.get(sdk_session, "NOPE")
    assert "AAPL" in {each.symbol for each in await symbol_search(sdk_session, "AAP")}
    assert await symbol_search(sdk_session, "BRK/") != []
    assert await symbol_search(sdk_session, "ASDFGJKL") == []


async def test_option_chains_in_every_shape(sdk_session: Any) -> None:
    """Flat and nested tell of the same contracts; each of them can be asked for."""
    chain = await get_option_chain(sdk_session, "SPY")
    (nested,) = await NestedOptionChain.get(sdk_session, "SPY")
    assert [each.expiration_date for each in nested.expirations] == sorted(chain)
    strikes = {strike.call for each in nested.expirations for strike in each.strikes}
    assert strikes == {each.symbol for day in chain.values() for each in day if each.option_type == "C"}
    one = chain[min(chain)][0]
    assert await Option.get(sdk_session, one.symbol) == one
    assert Option.occ_to_streamer_symbol(one.symbol) == one.streamer_symbol
    assert (one.settlement_type, one.exercise_style, one.shares_per_contract) == ("PM", "American", 100)
    assert one.stops_trading_at <= one.expires_at
    assert nested.deliverables[0].amount == 100
    assert await get_option_chain(sdk_session, "F") == {}
    with pytest.raises(TastytradeError, match="option chain"):
        await NestedOptionChain.get(sdk_session, "F")


async def test_futures_and_their_products(sdk_session: Any) -> None:
    """Months and last days follow the calendar; one contract is active and the next one follows."""
    futures = await Future.get(sdk_session, product_codes=["ES", "CL"], page_offset=None)
    assert {each.product_code for each in futures} == {"ES", "CL"}
    es = [each for each in futures if each.product_code == "ES"]
    assert [sum(each.active_month for each in es), sum(each.next_active_month for each in es)] == [1, 1]
    assert all(each.symbol[3] in "HMUZ" and each.expiration_date.weekday() in (3, 4) for each in es)
    first = await Future.get(sdk_session, es[0].symbol)
    assert first == es[0] == (await Future.get(sdk_session, [es[0].symbol]))[0]
    assert first.streamer_symbol == f"{first.symbol[:-1]}{first.expiration_date:%y}:XCME"
    assert (first.tick_size, first.notional_multiplier) == (Decimal("0.25"), 50)
    assert first.future_product.code == "ES"
    assert first.roll_target_symbol == es[1].symbol
    product = await FutureProduct.get(sdk_session, "ZN")
    assert (product.market_sector, product.cash_settled) == ("Interest Rate", False)
    assert (await FutureProduct.get(sdk_session, "VX", exchange="CFE")).streamer_exchange_code == "XCBF"
    assert {"ES", "ZN", "GC", "CL"} <= {each.code for each in await FutureProduct.get(sdk_session)}
    with pytest.raises(TastytradeError, match="record_not_found"):
        await FutureProduct.get(sdk_session, "VX")
    with pytest.raises(TastytradeError, match="record_not_found"):
        await Future.get(sdk_session, "ESX1")


async def test_options_on_futures(sdk_session: Any) -> None:
    """Flat and nested chains agree; symbols carry the future, the contract, the date and the strike."""
    chain = await get_future_option_chain(sdk_session, "ES")
    found = await NestedFutureOptionChain.get(sdk_session, "/ES")
    expirations = [each for part in found.option_chains for each in part.expirations]
    assert {each.expiration_date for each in expirations} == set(chain)
    one = next(iter(chain.values()))[0]
    assert await FutureOption.get(sdk_session, one.symbol) == one
    future = one.underlying_symbol[1:]
    assert one.symbol.startswith(f"./{future:<5}")
    assert one.symbol.endswith(f"{one.expiration_date:%y%m%d}{one.option_type.value}{one.strike_price.normalize():f}")
    assert one.underlying_symbol in {each.symbol for each in found.futures}
    assert one.notional_value / one.display_factor == 50
    assert (await FutureOptionProduct.get(sdk_session, "LO")).market_sector == "Energy"
    assert {"ES", "LO", "OG"} <= {each.root_symbol for each in await FutureOptionProduct.get(sdk_session)}
    assert await get_future_option_chain(sdk_session, "NOPE") == {}
    with pytest.raises(TastytradeError, match="option chain"):
        await NestedFutureOptionChain.get(sdk_session, "NOPE")


async def test_coins_warrants_pairs_and_precisions(sdk_session: Any) -> None:
    """Listed, not traded."""
    bitcoin = await Cryptocurrency.get(sdk_session, "BTC/USD")
    assert (bitcoin.streamer_symbol, bitcoin.is_closing_only) == ("BTC/USD:CXTALP", True)
    assert bitcoin.symbol in {each.symbol for each in await Cryptocurrency.get(sdk_session)}
    assert [each.symbol for each in await Cryptocurrency.get(sdk_session, ["ETH/USD"])] == ["ETH/USD"]
    warrant = await Warrant.get(sdk_session, "NKLAW")
    assert [each.active for each in (warrant, *await Warrant.get(sdk_session, ["NKLAW"]))] == [False, False]
    assert await Warrant.get(sdk_session) != []
    assert {each.symbol for each in await Forex.get(sdk_session)} >= {"EUR/USD"}
    precisions = {
        (each.instrument_type, each.symbol): each.value for each in await get_quantity_decimal_precisions(sdk_session)
    }
    assert precisions[InstrumentType.CRYPTOCURRENCY, "BTC/USD"] == 8


async def test_market_data_of_every_kind(sdk_session: Any) -> None:
    """Index, fund and future never disagree; what is not known is absent."""
    future, option = (await Future.get(sdk_session, product_codes=["ES"]))[0], None
    chain = await get_future_option_chain(sdk_session, "ES")
    calls = [each for day in chain.values() for each in day if each.option_type == "C"]
    option = calls[len(calls) // 2]
    listed = next(iter((await get_option_chain(sdk_session, "SPY")).values()))[0]
    found = await get_market_data_by_type(
        sdk_session, indices=["SPX", "VIX"], cryptocurrencies=["ETH/USD", "BTC/USD"], equities=["SPLG", "SPY", "NOPE"],
        futures=[future.symbol], future_options=[option.symbol], options=[listed.symbol],
    )  # fmt: skip
    by_symbol = {each.symbol: each for each in found}
    assert set(by_symbol) == {
        "SPX", "VIX", "ETH/USD", "BTC/USD", "SPLG", "SPY", future.symbol, option.symbol, listed.symbol
    }  # fmt: skip
    assert all(each.bid <= each.mark <= each.ask for each in found)
    spot = by_symbol["SPY"].last
    assert abs(by_symbol["SPX"].last / spot - 10) < Decimal("0.01")
    assert Decimal("0.97") < by_symbol[future.symbol].last / (spot * 10) < Decimal("1.05")
    assert by_symbol["VIX"].last > 5
    assert (await get_market_data(sdk_session, "VIX", InstrumentType.INDEX)).instrument_type is InstrumentType.INDEX
    assert (await get_market_data(sdk_session, "BTC/USD", InstrumentType.CRYPTOCURRENCY)).bid > 0
    assert (await get_market_data(sdk_session, listed.symbol, InstrumentType.EQUITY_OPTION)).ask_size > 0
    with pytest.raises(TastytradeError, match="record_not_found"):
        await get_market_data(sdk_session, "SPY", InstrumentType.CRYPTOCURRENCY)


async def test_metrics_and_what_companies_did(sdk_session: Any) -> None:
    """Volatilities of every expiration, dividends with their dates, reports with what was earned."""
    fund, apple = await get_market_metrics(sdk_session, ["SPY", "AAPL"])
    assert (fund.symbol, apple.symbol) == ("SPY", "AAPL")
    assert fund.option_expiration_implied_volatilities
    assert all(each.implied_volatility > 0 for each in fund.option_expiration_implied_volatilities)
    assert apple.market_cap > 0
    assert apple.beta > 0
    assert await get_market_metrics(sdk_session, ["NOPE"]) == []
    paid = await get_dividends(sdk_session, "SPY")
    assert all(each.amount > 0 and each.occurred_date <= TODAY for each in paid)
    reported = await get_earnings(sdk_session, "AAPL", TODAY - timedelta(days=300))
    assert all(each.eps > 0 for each in reported)
    assert await get_risk_free_rate(sdk_session) == Decimal("0.04")
    with pytest.raises(TastytradeError, match="record_not_found"):
        await get_dividends(sdk_session, "NOPE")


async def test_hours_and_holidays(sdk_session: Any) -> None:
    """The simulated market is open; the sessions before and after are the exchanges'."""
    exchanges = [ExchangeType.NYSE, ExchangeType.CME, ExchangeType.CFE]
    found = await get_market_sessions(sdk_session, exchanges)
    assert [each.instrument_collection for each in found] == ["Equity", "CME", "CFE"]
    assert {each.status for each in found} == {MarketStatus.OPEN}
    for each in found:
        assert each.previous_session.session_date < each.next_session.session_date
        assert each.next_session.open_at < each.next_session.close_at
    calendar, futures = (
        await get_market_holidays(sdk_session),
        await get_futures_holidays(sdk_session, ExchangeType.CME),
    )
    assert set(futures.holidays) < set(calendar.holidays)
    assert not set(calendar.holidays) & set(calendar.half_days)
    thanksgiving = [each for each in calendar.holidays if each.month == 11]
    assert set(thanksgiving) <= set(futures.half_days)


async def test_lists_of_the_broker_and_of_the_user(sdk_session: Any) -> None:
    """Published ones are read; own ones are created, changed and removed."""
    published = {each.name: each for each in await PublicWatchlist.get(sdk_session)}
    assert "BTC/USD" in {each["symbol"] for each in published["Crypto"].watchlist_entries}
    assert (await PublicWatchlist.get(sdk_session, "Tom's Watchlist")).watchlist_entries
    assert all(each.watchlist_entries is None for each in await PublicWatchlist.get(sdk_session, counts_only=True))
    stocks = await PairsWatchlist.get(sdk_session, "Stocks")
    assert stocks in await PairsWatchlist.get(sdk_session)
    assert stocks.pairs_equations[0].left_symbol == "KO"
    with pytest.raises(TastytradeError, match="record_not_found"):
        await PublicWatchlist.get(sdk_session, "Nobody's")
    mine = PrivateWatchlist(name="Third party")
    mine.add_symbol("MSFT", InstrumentType.EQUITY)
    mine.add_symbol("AAPL", InstrumentType.EQUITY)
    await mine.upload(sdk_session)
    mine.remove_symbol("MSFT", InstrumentType.EQUITY)
    await mine.update(sdk_session)
    kept = await PrivateWatchlist.get(sdk_session, mine.name)
    assert [each["symbol"] for each in kept.watchlist_entries] == ["AAPL"]
    await PrivateWatchlist.remove(sdk_session, mine.name)
    with pytest.raises(TastytradeError, match="record_not_found"):
        await PrivateWatchlist.get(sdk_session, mine.name)

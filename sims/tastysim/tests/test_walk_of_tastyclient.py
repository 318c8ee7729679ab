"""Our own client walks the reference side of the interface as the third-party SDK does: every method, typed answers."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tastyclient import (
    ComplexOrderType,
    InstrumentType,
    NewComplexOrder,
    NewLeg,
    NewOrder,
    NotFoundError,
    OrderCondition,
    OrderRules,
    OrderStatus,
    PriceComponent,
    RejectedError,
    TastyClient,
)
from testkit import eventually

TODAY = datetime.now(UTC).date()
Call = Callable[[TastyClient], Awaitable[Any]]


def share(symbol: str, action: str = "Buy to Open") -> NewOrder:
    """A limit order of one share, far from the market."""
    leg = NewLeg(symbol=symbol, action=action, quantity=1, instrument_type="Equity")
    return NewOrder(legs=(leg,), price=Decimal(-1 if action.startswith("Buy") else 9999))


READS: dict[str, tuple[Call, Callable[[Any], bool]]] = {
    "equity": (
        lambda c: c.equity("SPY"),
        lambda found: found.is_etf and found.option_tick_sizes[0].value == Decimal("0.01"),
    ),
    "equity of an index": (
        lambda c: c.equity("SPX"),
        lambda found: found.is_index and found.instrument_type == "Index",
    ),
    "equity with a slash": (lambda c: c.equity("BRK/B"), lambda found: found.streamer_symbol == "BRK/B"),
    "equities": (lambda c: c.equities(["AAPL", "NOPE"]), lambda found: [each.symbol for each in found] == ["AAPL"]),
    "indices": (lambda c: c.equities(is_index=True), lambda found: {"SPX", "VIX"} <= {each.symbol for each in found}),
    "active equities": (lambda c: c.active_equities(limit=3), lambda found: len(found) == 3),
    "lendability": (lambda c: c.active_equities(lendability="Preborrow"), lambda found: found == []),
    "futures": (lambda c: c.futures(product_codes=["ES"]), lambda found: sum(each.active_month for each in found) == 1),
    "future products": (lambda c: c.future_products(), lambda found: {"ES", "VX"} <= {each.code for each in found}),
    "future product": (
        lambda c: c.future_product("CME", "GC"),
        lambda found: found.option_products[0].root_symbol == "OG",
    ),
    "future option products": (
        lambda c: c.future_option_products(),
        lambda found: {"ES", "EW", "LO"} <= {each.root_symbol for each in found},
    ),
    "future option product": (
        lambda c: c.future_option_product("LO", "CME"),
        lambda found: found.market_sector == "Energy",
    ),
    "future option product by root": (lambda c: c.future_option_product("LO"), lambda found: found.exchange == "CME"),
    "futures option chain": (
        lambda c: c.futures_option_chain("CL"),
        lambda found: {each.product_code for each in found} == {"CL"},
    ),
    "nested futures chain": (
        lambda c: c.nested_futures_chain("ES"),
        lambda found: len(found.futures) == 5 and all(each.expirations for each in found.option_chains),
    ),
    "coins": (lambda c: c.cryptocurrencies(), lambda found: "BTC/USD" in {each.symbol for each in found}),
    "coin": (
        lambda c: c.cryptocurrency("BTC/USD"),
        lambda found: found.destination_venue_symbols[0].max_quantity_precision == 8,
    ),
    "warrants": (lambda c: c.warrants(["NKLAW"]), lambda found: [each.active for each in found] == [False]),
    "warrant": (lambda c: c.warrant("NKLAW"), lambda found: found.instrument_type is InstrumentType.WARRANT),
    "pairs": (lambda c: c.currency_pairs(), lambda found: found[0].dx_symbol == found[0].symbol),
    "precisions": (
        lambda c: c.quantity_decimal_precisions(),
        lambda found: {each.value for each in found} == {0, 5, 8},
    ),
    "symbol search": (lambda c: c.search_symbols("aa"), lambda found: "AAPL" in {each.symbol for each in found}),
    "instrument search": (lambda c: c.search_instruments("gold", limit=2), lambda found: len(found) == 2),
    "metrics": (lambda c: c.metrics(["SPY", "NOPE"]), lambda found: [each.symbol for each in found] == ["SPY"]),
    "dividends": (lambda c: c.dividends("SPY"), lambda found: all(each.amount > 0 for each in found)),
    "earnings": (
        lambda c: c.earnings("AAPL", TODAY - timedelta(days=300), TODAY),
        lambda found: all(each.eps > 0 for each in found),
    ),
    "risk-free rate": (lambda c: c.risk_free_rate(), lambda found: found == Decimal("0.04")),
    "sessions now": (
        lambda c: c.current_sessions(),
        lambda found: (
            [(each.instrument_collection, each.state) for each in found]
            == [("Equity", "Open"), ("CME", "Open"), ("CFE", "Open")]
        ),
    ),
    "futures sessions": (lambda c: c.futures_sessions(), lambda found: len(found) == 2),
    "futures session": (lambda c: c.futures_session("CFE"), lambda found: found.instrument_collection == "CFE"),
    "next futures session": (lambda c: c.next_futures_session("CME", TODAY), lambda found: found.session_date > TODAY),
    "previous futures session": (
        lambda c: c.previous_futures_session("CME", TODAY),
        lambda found: found.session_date < TODAY,
    ),
    "futures holidays": (lambda c: c.futures_holidays("CME"), lambda found: len(found.holidays) < len(found.half_days)),
    "sessions of futures": (
        lambda c: c.sessions(TODAY + timedelta(days=9), TODAY, "CME"),
        lambda found: 5 <= len(found) <= 8,
    ),
    "session now": (lambda c: c.market_session(), lambda found: found.state == "Open"),
    "public lists": (lambda c: c.public_watchlists(), lambda found: all(each.symbols for each in found)),
    "public list": (lambda c: c.public_watchlist("Crypto"), lambda found: "BTC/USD" in found.symbols),
    "counts of public lists": (
        lambda c: c.public_watchlists(counts_only=True),
        lambda found: not any(each.symbols for each in found),
    ),
    "pairs lists": (lambda c: c.pairs_watchlists(), lambda found: {each.name for each in found} == {"Stocks", "Funds"}),
    "pairs list": (lambda c: c.pairs_watchlist("Stocks"), lambda found: found.pairs_equations[0].left_symbol == "KO"),
    "metrics as sent": (lambda c: c.market_metrics(["AAPL"]), lambda found: found[0]["beta"] == "1.15"),
    "span rows": (lambda c: c.span_rows(TODAY, "CME"), lambda found: found == []),
}


@pytest.mark.parametrize("name", READS)
async def test_reads(client: TastyClient, name: str) -> None:
    """The answer is typed, and it is the simulator's."""
    call, holds = READS[name]
    assert holds(await call(client))


MISSING: dict[str, Call] = {
    "equity": lambda c: c.equity("NOPE"),
    "option": lambda c: c.equity_option("NOPE  261218C00100000"),
    "future": lambda c: c.future("/ESX1"),
    "product of another exchange": lambda c: c.future_product("CME", "VX"),
    "option product": lambda c: c.future_option_product("NOPE"),
    "option on a future": lambda c: c.future_option("./ESZ6 ESZ6  261218P1"),
    "chain": lambda c: c.nested_chain("NOPE"),
    "chain of a name without options": lambda c: c.nested_chain("F"),
    "futures chain": lambda c: c.nested_futures_chain("NOPE"),
    "coin": lambda c: c.cryptocurrency("NOPE/USD"),
    "warrant": lambda c: c.warrant("NOPE"),
    "market data": lambda c: c.market_data("Equity", "NOPE"),
    "market data of another kind": lambda c: c.market_data("Cryptocurrency", "SPY"),
    "dividends": lambda c: c.dividends("NOPE"),
    "public list": lambda c: c.public_watchlist("Nobody's"),
    "pairs list": lambda c: c.pairs_watchlist("Nobody's"),
    "balance": lambda c: c.balance("5WT99999"),
    "currency": lambda c: c.balance("5WT00001", "EUR"),
    "order": lambda c: c.order("5WT00001", 1),
    "order in an unknown account": lambda c: c.dry_run("5WT99999", share("KO")),
    "order to confirm again": lambda c: c.reconfirm("5WT00001", 1),
    "complex order": lambda c: c.complex_order("5WT00001", 1),
    "transaction": lambda c: c.transaction("5WT00001", 1),
    "margin": lambda c: c.effective_margin("5WT00001", "NOPE"),
    "alert": lambda c: c.delete_quote_alert("nothing"),
}


@pytest.mark.parametrize("name", MISSING)
async def test_what_is_not_there_is_not_found(client: TastyClient, name: str) -> None:
    """404 with the broker's code, never an empty success."""
    with pytest.raises(NotFoundError, match="record_not_found"):
        await MISSING[name](client)


async def test_chains_tell_of_the_same_contracts(client: TastyClient) -> None:
    """Flat, nested and compact; each contract can be asked for, also many at once."""
    flat, (nested,), compact = (
        await client.option_chain("SPY"), await client.nested_chain("SPY"), await client.compact_chain("SPY")
    )  # fmt: skip
    symbols = {each.symbol for each in flat}
    strikes = [strike for each in nested.expirations for strike in each.strikes]
    assert symbols == {strike.call for strike in strikes} | {strike.put for strike in strikes}
    assert symbols == {symbol for each in compact for symbol in each.symbols}
    assert all(".SPY" in each.streamer_symbols[0] for each in compact)
    assert await client.equity_option(flat[0].symbol) == flat[0]
    wanted = sorted(symbols)[:250]
    assert {each.symbol for each in await client.equity_options(wanted)} == set(wanted)
    assert await client.option_chain("NOPE") == await client.option_chain("F") == await client.compact_chain("F") == []


async def test_futures_and_their_options_agree(client: TastyClient) -> None:
    """One contract by symbol is the one of the list; prices are where put–call parity puts them."""
    (first, *_) = await client.futures(product_codes=["ES"])
    assert await client.future(first.symbol) == first == (await client.futures([first.symbol]))[0]
    chain = await client.futures_option_chain("ES")
    assert (
        await client.future_option(chain[0].symbol) == chain[0] == (await client.future_options([chain[0].symbol]))[0]
    )
    call, put = chain[20], chain[21]
    assert (call.option_type, put.option_type, call.strike_price) == ("C", "P", put.strike_price)
    found = await client.market_data_by_type(
        futures=[call.underlying_symbol], future_options=[call.symbol, put.symbol], indices=["SPX", "VIX"],
        cryptocurrencies=["BTC/USD"], equities=["SPY", "F", "NOPE"],
    )  # fmt: skip
    marks = {each.symbol: each.mark or Decimal(0) for each in found}
    assert "NOPE" not in marks
    assert len(marks) == 8
    parity = marks[call.symbol] - marks[put.symbol] - (marks[call.underlying_symbol] - call.strike_price)
    assert abs(parity) < marks[call.symbol] / 10
    assert (await client.market_data("Future Option", call.symbol)).bid is not None


async def test_market_data_are_those_of_the_book(client: TastyClient) -> None:
    """Quotes by type in hundreds; metrics with a volatility for every expiration."""
    symbols = [each.symbol for each in (await client.option_chain("SPY"))[:150]]
    found = await client.market_data_by_type(equities=["SPY", "NOPE"], equity_options=symbols)
    assert {each.symbol for each in found} == {"SPY", *symbols}
    assert all(each.bid < each.ask for each in found if each.bid is not None and each.ask is not None)
    assert (await client.market_data("Equity", "SPY")).last is not None
    (metrics,) = await client.metrics(["SPY"])
    assert metrics.implied_volatility_index is not None
    assert abs(metrics.implied_volatility_index * 100 - (metrics.implied_volatility_30_day or 0)) < 1
    expirations = {each.expiration_date for each in (await client.nested_chain("SPY"))[0].expirations}
    assert {each.expiration_date for each in metrics.option_expiration_implied_volatilities} == expirations


async def test_sessions_follow_the_exchange_calendar(client: TastyClient) -> None:
    """The simulated market is open; next, previous and holidays are real."""
    following, before = await client.next_session(), await client.previous_session()
    assert before.session_date is not None
    assert following.session_date is not None
    assert before.session_date < following.session_date
    calendar = await client.holidays()
    days = [each.session_date for each in await client.sessions(TODAY + timedelta(days=30), TODAY)]
    assert not set(days) & set(calendar.holidays)


@pytest.mark.parametrize("kind", ["Future", "Future Option", "Cryptocurrency", "Warrant", "Index"])
async def test_what_follows_the_market_is_not_traded(client: TastyClient, account: str, kind: str) -> None:
    """Orders in it are refused in the broker's words, also when they pretend to be of shares."""
    (future, *_) = await client.futures(product_codes=["ES"])
    symbols = {
        "Future": future.symbol, "Future Option": (await client.futures_option_chain("ES"))[0].symbol,
        "Cryptocurrency": "BTC/USD", "Warrant": "NKLAW", "Index": "SPX",
    }  # fmt: skip
    for claimed in (kind, "Equity"):
        leg = {"symbol": symbols[kind], "instrument-type": claimed, "quantity": 1, "action": "Buy to Open"}
        body = {"time-in-force": "Day", "order-type": "Limit", "price": "1", "price-effect": "Debit", "legs": [leg]}
        with pytest.raises(RejectedError, match="instrument_validation_failed"):
            await client.transport.send("POST", f"/accounts/{account}/orders/dry-run", body)


async def test_money_buys_a_fraction_of_a_share(client: TastyClient, account: str) -> None:
    """The value decides how much; position, transaction and cash agree to the cent; the fraction can be sold again."""
    leg = NewLeg(symbol="AAPL", action="Buy to Open", instrument_type="Equity")
    order = NewOrder(legs=(leg,), order_type="Notional Market", value=Decimal(-1000), time_in_force="GTC")
    preview = await client.preview(account, order)
    assert preview.order.value == -1000
    assert preview.buying_power_effect is not None
    assert preview.buying_power_effect.change_in_buying_power < 0
    placed = await client.submit(account, order)

    async def filled(order_id: int) -> bool:
        return (await client.order(account, order_id)).status is OrderStatus.FILLED

    await eventually(lambda: filled(placed.id))
    (position,) = await client.positions(account)
    assert 0 < position.signed_amount % 1 < 1
    (trade, _) = await client.transactions(account)
    assert trade.quantity == position.quantity
    assert abs(trade.value + 1000) < 20
    assert (await client.balance(account)).cash_balance == 100_000 + trade.net_value
    back = NewLeg(symbol="AAPL", action="Sell to Close", quantity=position.signed_amount, instrument_type="Equity")
    sold = await client.submit(account, NewOrder(legs=(back,), order_type="Market"))
    await eventually(lambda: filled(sold.id))
    assert await client.positions(account) == []
    for value, says in (("-1", "notional_value_too_small"), ("1000", "cant_buy_for_credit")):
        wrong = NewOrder(legs=(leg,), order_type="Notional Market", value=Decimal(value))
        with pytest.raises(RejectedError, match=says):
            await client.preview(account, wrong)


async def test_a_condition_may_be_on_a_spread(client: TastyClient, account: str) -> None:
    """The price of long and short parts together routes an order; one that it has not reached keeps it waiting."""
    parts = (
        PriceComponent(symbol="SPY", instrument_type="Equity", quantity=1, quantity_direction="Long"),
        PriceComponent(symbol="IWM", instrument_type="Equity", quantity=2, quantity_direction="Short"),
    )
    for threshold, status in ((1, OrderStatus.LIVE), (100_000, OrderStatus.CONTINGENT)):
        condition = OrderCondition(
            action="route", symbol="SPY", instrument_type="Equity", indicator="nat", comparator="gte",
            threshold=Decimal(threshold), price_components=parts,
        )  # fmt: skip
        order = share("KO").model_copy(update={"rules": OrderRules(conditions=(condition,))})
        placed = await client.submit(account, order)
        assert placed.status is status
        found = await client.order(account, placed.id)
        assert found.order_rule is not None
        (kept,) = found.order_rule.order_conditions
        assert (kept.triggered_at is not None) is (status is OrderStatus.LIVE)
        assert [each.quantity_direction for each in kept.price_components] == ["Long", "Short"]


async def test_a_pair_waits_for_its_ratio(client: TastyClient, account: str) -> None:
    """Its threshold may be changed until it is reached; then both orders work."""
    parts = (share("KO"), share("PEP", "Sell to Open"))
    pair = NewComplexOrder(
        type=ComplexOrderType.PAIRS, orders=parts, ratio_price_threshold=Decimal(100), ratio_price_comparator="gte"
    )
    placed = await client.submit_complex(account, pair)
    preview = await client.preview_ratio(account, placed.id, threshold=Decimal("0.1"))
    assert preview.complex_order.ratio_price_threshold == Decimal("0.1")
    edited = await client.edit_ratio(account, placed.id, threshold=Decimal(90))
    assert (edited.ratio_price_threshold, edited.ratio_price_comparator) == (90, "gte")
    assert {each.status for each in edited.orders} == {OrderStatus.CONTINGENT}
    with pytest.raises(RejectedError, match="ratio-price-threshold"):
        await client.edit_ratio(account, placed.id, threshold=Decimal(0))
    await client.edit_ratio(account, placed.id, comparator="lte")

    async def works() -> bool:
        found = await client.complex_order(account, placed.id)
        return {each.status for each in found.orders} == {OrderStatus.LIVE}

    await eventually(works)
    with pytest.raises(RejectedError, match="cannot_update_order"):
        await client.edit_ratio(account, placed.id, threshold=Decimal(90))
    await client.cancel_complex(account, placed.id)


def test_every_method_is_walked() -> None:
    """A new method of the client without a place in one of the walks is found here."""
    here = Path(__file__).parent
    walked = "".join((here / f"{name}.py").read_text() for name in (Path(__file__).stem, "test_interface"))
    own = {name for name, _ in inspect.getmembers(TastyClient, inspect.iscoroutinefunction) if not name.startswith("_")}
    assert {name for name in own if f".{name}(" not in walked} == set()

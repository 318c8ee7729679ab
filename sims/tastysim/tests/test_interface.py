"""The whole REST interface, walked with tastyclient against a running simulator."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest
from pydantic import SecretStr

from tastyclient import (
    AuthenticationError,
    BrokerError,
    ClientSettings,
    Direction,
    InstrumentType,
    NewAlert,
    NewComplexOrder,
    NewLeg,
    NewOrder,
    NotFoundError,
    OrderCondition,
    OrderEdit,
    OrderRules,
    OrderStatus,
    RejectedError,
    Scope,
    TastyClient,
    Watchlist,
    WatchlistEntry,
    authorization_url,
    exchange_code,
)
from testkit import eventually

TODAY = datetime.now(UTC).date()


async def contract(client: TastyClient, offset: int = 0) -> str:
    """A put of SPY about a month out, near the money."""
    strikes = (await client.nested_chain("SPY"))[0].expirations[3].strikes
    return strikes[len(strikes) // 2 + offset].put


def limit(symbol: str, action: str, price: str, quantity: int = 1, **more: object) -> NewOrder:
    """A limit order of one leg."""
    leg = NewLeg(symbol=symbol, action=action, quantity=quantity)
    return NewOrder.model_validate({"legs": (leg,), "price": Decimal(price), **more})


async def reaches(client: TastyClient, account: str, order_id: int, status: OrderStatus) -> None:
    """Wait for a status."""

    async def there() -> bool:
        return (await client.order(account, order_id)).status is status

    await eventually(there)


async def bought(client: TastyClient, account: str, quantity: int = 1) -> str:
    """A put that the account holds."""
    symbol = await contract(client)
    order = NewOrder(legs=(NewLeg(symbol=symbol, action="Buy to Open", quantity=quantity),), order_type="Market")
    await reaches(client, account, (await client.submit(account, order)).id, OrderStatus.FILLED)
    return symbol


async def test_who_logs_in_and_what_the_account_may_do(client: TastyClient, account: str) -> None:
    """Customer, accounts, status, limits, the token itself."""
    await client.validate_session()
    assert (await client.customer()).first_name == "Simulated"
    assert {each.authority_level for each in await client.accounts()} == {"owner"}
    assert (await client.account(account)).margin_or_cash == "Margin"
    status = await client.trading_status(account)
    assert (status.is_frozen, status.is_closing_only, status.account_number) == (False, False, account)
    assert (await client.position_limit(account)).equity_option_order_size == 10**6
    assert (await client.quote_token()).token.startswith("dx-sim-")
    with pytest.raises(NotFoundError, match="record_not_found"):
        await client.balance("5WT99999")


async def test_a_trade_leaves_the_same_trace_everywhere(client: TastyClient, account: str) -> None:
    """Order, position, cash, transaction, fees, margin and value tell one story, signs included."""
    symbol = await bought(client, account, 2)
    (position,) = await client.positions(account, include_marks=True)
    assert (position.symbol, position.quantity, position.quantity_direction) == (symbol, 2, Direction.LONG)
    assert position.mark == (position.mark_price or 0) * 200
    assert await client.positions(account, underlying_symbols=["QQQ"]) == []
    trade, deposit = await client.transactions(account)
    assert (deposit.transaction_type, deposit.value) == ("Money Movement", Decimal(100_000))
    assert trade.instrument_type is InstrumentType.EQUITY_OPTION
    assert trade.value == -position.average_open_price * 200
    assert trade.net_value == trade.value + sum((trade.commission or 0, trade.clearing_fees or 0,
                                                trade.regulatory_fees or 0), Decimal(0))  # fmt: skip
    assert await client.total_fees(account) == trade.net_value - trade.value == Decimal("-2.24")
    balance = await client.balance(account)
    assert balance.cash_balance == 100_000 + trade.net_value
    assert (await client.balances(account))[0].cash_balance == balance.cash_balance
    assert await client.transaction(account, trade.id) == trade
    assert [each.id for each in await client.transactions(account, sort="Asc", per_page=1)] == [deposit.id, trade.id]
    assert await client.transactions(account, types=["Trade"], symbol=symbol, limit=5) == [trade]
    assert await client.transactions(account, start_date=TODAY + timedelta(days=2)) == []
    history = await client.net_liq_history(account, "1d")
    assert history[-1].low <= history[-1].close <= history[-1].high
    (now,) = await client.balance_snapshots(account, "Intraday")
    assert (now.cash_balance, now.time_of_day) == (balance.cash_balance, "Intraday")
    assert {each.time_of_day for each in await client.balance_snapshots("5WT00001", "BOD")} == {"BOD"}
    assert await client.balance_snapshots(account) == []
    report = await client.margin_requirements(account)
    assert report.margin_requirement < 0, "long options are paid in full"
    assert report.groups[0].code == "SPY"
    assert report.groups[0].groups[0].position_entries[0].fixing_price is None
    preview = await client.margin_dry_run(account, "SPY", limit(await contract(client, 5), "Sell to Open", "1"))
    assert preview.last_results is not None
    assert (preview.last_results.buying_power_impact or 0) < 0
    assert (await client.effective_margin(account, "SPY")).naked_option_standard == Decimal("0.2")
    close = NewOrder(
        legs=(NewLeg(symbol=symbol, action="Sell to Close", quantity=2),), order_type="Market", closing=True
    )
    await reaches(client, account, (await client.submit(account, close)).id, OrderStatus.FILLED)
    (closed,) = await client.positions(account, include_closed=True)
    assert (closed.quantity_direction, closed.signed_quantity) == (Direction.ZERO, 0)
    assert closed.realized_today == (await client.transactions(account, limit=1))[0].value + trade.value
    assert await client.positions(account) == []


async def test_orders_are_previewed_edited_replaced_searched_and_cancelled(client: TastyClient, account: str) -> None:
    """A new order takes the place of the old one, linked both ways; the legs stay."""
    symbol = await contract(client)
    order = limit(symbol, "Buy to Open", "-0.05", 3, time_in_force="GTC")
    preview = await client.preview(account, order)
    assert preview.fee_calculation is not None
    assert preview.buying_power_effect is not None
    assert preview.fee_calculation.total_fees == Decimal("-3.36")
    assert preview.buying_power_effect.impact == Decimal("-18.36")
    assert await client.live_orders(account) == []
    first = await client.submit(account, order)
    assert (first.price, first.size, first.external_identifier) == (Decimal("-0.05"), 3, order.external_identifier)
    second = await client.replace(account, first.id, limit(symbol, "Buy to Open", "-0.06", 3, time_in_force="GTC"))
    again = await client.preview_replacement(account, second.id, limit(symbol, "Buy to Open", "-0.07", 3))
    assert again.order.price == Decimal("-0.07")
    third = await client.edit(account, second.id, OrderEdit(price=Decimal("-0.08")))
    assert (third.price, third.time_in_force, third.legs[0].quantity) == (Decimal("-0.08"), "GTC", 3)
    old = await client.order(account, first.id)
    assert (old.status, old.replacing_order_id, old.edited) == (OrderStatus.CANCELLED, second.id, True)
    assert third.replaces_order_id == second.id
    assert (await client.cancel(account, third.id)).status is OrderStatus.CANCELLED
    with pytest.raises(RejectedError, match="cannot_update_order"):
        await client.cancel(account, third.id)
    ids = [third.id, second.id, first.id]
    assert [each.id for each in await client.orders(account, start_date=TODAY - timedelta(days=2), per_page=1)] == ids
    assert [each.id for each in await client.orders(account, sort="Asc", limit=1)] == [first.id]
    assert await client.orders(account, statuses=[OrderStatus.FILLED]) == []
    assert [each.id for each in await client.customer_orders([account])] == ids
    assert [each.id for each in await client.customer_live_orders([account])] == ids


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"order-type": "Market"}, "order_must_omit_price"),
        ({"order-type": "Market", "price": None, "time-in-force": "GTC"}, "gtc_market_orders_not_supported"),
        ({"price-effect": "Credit"}, "cant_buy_for_credit"),
        ({"price": None}, "price"),
        ({"legs": []}, "1 to 4 legs"),
        ({"order-type": "Stop", "price": None}, "stop-trigger"),
        ({"time-in-force": "GTD"}, "gtc-date"),
        ({"time-in-force": "Soon"}, "time-in-force"),
        ({"price": "NaN"}, "price"),
        ({"legs": [{"symbol": "SPY", "instrument-type": "Equity", "action": "Buy to Open", "quantity": 10**6}]},
         "margin_check_failed"),
        ({"legs": [{"symbol": "BTC/USD", "instrument-type": "Cryptocurrency", "action": "Buy", "quantity": 1}]},
         "instrument_validation_failed"),
        ({"legs": [{"symbol": "SPY", "instrument-type": "Equity", "action": "Buy to Open", "quantity": 0.5}]},
         "quantity"),
    ],
)  # fmt: skip
async def test_a_refusal_names_its_reason(
    client: TastyClient, account: str, change: dict[str, object], says: str
) -> None:
    """Every refusal proves that nothing happened, and says why."""
    body = limit(await contract(client), "Buy to Open", "-1").body() | change
    with pytest.raises(RejectedError, match=says):
        await client.transport.send("POST", f"/accounts/{account}/orders", body)
    assert await client.live_orders(account) == []


async def test_restricted_accounts_are_held_to_their_restriction(
    client: TastyClient, account: str, address: str
) -> None:
    """Closing only refuses what opens; frozen refuses everything."""
    symbol = await bought(client, account)
    async with httpx.AsyncClient(base_url=address, trust_env=False) as plain:
        await plain.put(f"/sim/accounts/{account}/trading-status", json={"is-closing-only": True})
        assert (await client.trading_status(account)).is_closing_only
        with pytest.raises(RejectedError, match="closing_only"):
            await client.submit(account, limit(symbol, "Buy to Open", "-0.05"))
        resting = await client.submit(account, limit(symbol, "Sell to Close", "500", closing=True))
        await plain.put(f"/sim/accounts/{account}/trading-status", json={"is-frozen": True})
        with pytest.raises(RejectedError, match="frozen"):
            await client.submit(account, limit(symbol, "Sell to Close", "500", closing=True))
    await client.cancel(account, resting.id)


async def test_an_off_tick_price_is_accepted_and_then_rejected(client: TastyClient, account: str) -> None:
    """The checks do not catch it; the venue does."""
    placed = await client.submit(account, limit(await contract(client), "Buy to Open", "-0.055"))
    await reaches(client, account, placed.id, OrderStatus.REJECTED)
    assert (await client.order(account, placed.id)).reject_reason


async def test_an_order_waits_for_its_rule(client: TastyClient, account: str) -> None:
    """Contingent until its price is reached, cancelled when its time comes, with both moments told."""
    waits = OrderCondition(
        action="route", symbol="SPY", instrument_type="Equity", comparator="gte", threshold=Decimal(9**9)
    )
    soon = datetime.now(UTC) + timedelta(seconds=1)
    rules = OrderRules(cancel_at=soon, conditions=(waits,))
    placed = await client.submit(account, limit(await contract(client), "Buy to Open", "-0.05", rules=rules))
    assert placed.status is OrderStatus.CONTINGENT
    await reaches(client, account, placed.id, OrderStatus.CANCELLED)
    rule = (await client.order(account, placed.id)).order_rule
    assert rule is not None
    assert rule.cancelled_at is not None
    assert rule.cancelled_at >= soon - timedelta(milliseconds=1)
    assert (rule.order_conditions[0].threshold, rule.order_conditions[0].triggered_at) == (9**9, None)


async def test_a_close_without_position_opens_unless_strict(client: TastyClient, account: str) -> None:
    """The broker warns and turns it round; the strict flag makes it a refusal."""
    symbol = await contract(client)
    loose = limit(symbol, "Buy to Close", "-0.05")
    preview = await client.preview(account, loose)
    assert [each.code for each in preview.warnings] == ["closing_with_no_position"]
    assert preview.order.legs[0].action == "Buy to Open"
    with pytest.raises(RejectedError, match="closing_with_no_position"):
        await client.preview(account, limit(symbol, "Buy to Close", "-0.05", closing=True))


async def test_shares_are_traded_too(client: TastyClient, account: str) -> None:
    """Half of their value is the margin; a covered call needs none of its own."""
    shares = NewLeg(symbol="BAC", action="Buy to Open", quantity=100, instrument_type="Equity")
    placed = await client.submit(account, NewOrder(legs=(shares,), order_type="Market"))
    await reaches(client, account, placed.id, OrderStatus.FILLED)
    alone = (await client.margin_requirements(account)).margin_requirement
    (position,) = await client.positions(account)
    assert (position.instrument_type, position.multiplier, position.signed_quantity) == ("Equity", 1, 100)
    call = (await client.nested_chain("BAC"))[0].expirations[3].strikes[16].call
    sold = NewOrder(legs=(NewLeg(symbol=call, action="Sell to Open", quantity=1),), order_type="Market")
    await reaches(client, account, (await client.submit(account, sold)).id, OrderStatus.FILLED)
    assert abs((await client.margin_requirements(account)).margin_requirement - alone) < abs(alone) / 50


async def test_one_order_cancels_the_other(client: TastyClient, account: str) -> None:
    """A stop whose trigger is reached fills at the market; the limit is cancelled; the complex order is over."""
    symbol = await bought(client, account)
    profit = limit(symbol, "Sell to Close", "500", time_in_force="GTC")
    leg = NewLeg(symbol=symbol, action="Sell to Close", quantity=1)
    loss = NewOrder(legs=(leg,), order_type="Stop", stop_trigger=Decimal(400), time_in_force="GTC")
    preview = await client.preview_complex(account, NewComplexOrder.oco(profit, loss))
    assert [each.preflight_id for each in preview.complex_order.orders] == ["0", "1"]
    placed = await client.submit_complex(account, NewComplexOrder.oco(profit, loss))
    assert {(each.status, each.contingent_status) for each in placed.orders} == {
        (OrderStatus.CONTINGENT, "Pending Order")
    }

    async def over() -> bool:
        return (await client.complex_order(account, placed.id)).terminal_at is not None

    await eventually(over)
    found = await client.complex_order(account, placed.id)
    assert [each.status for each in found.orders] == [OrderStatus.CANCELLED, OrderStatus.FILLED]
    assert await client.positions(account) == []
    with pytest.raises(RejectedError, match="cannot_update_order"):
        await client.cancel_complex(account, placed.id)


async def test_a_trigger_starts_its_exits(client: TastyClient, account: str) -> None:
    """The exits wait for the entry; a part can be edited; cancelling the whole cancels what is left."""
    symbol = await contract(client)
    leg = NewLeg(symbol=symbol, action="Sell to Close", quantity=1)
    exits = (
        limit(symbol, "Sell to Close", "500", time_in_force="GTC"),
        NewOrder(legs=(leg,), order_type="Stop", stop_trigger=Decimal("0.01"), time_in_force="GTC"),
    )
    waiting = await client.submit_complex(account, NewComplexOrder.otoco(limit(symbol, "Buy to Open", "-0.05"), *exits))
    assert waiting.trigger_order is not None
    await reaches(client, account, waiting.trigger_order.id, OrderStatus.LIVE)
    assert (await client.order(account, waiting.orders[0].id)).status is OrderStatus.CONTINGENT
    edited = await client.edit(account, waiting.orders[0].id, OrderEdit(price=Decimal(501)))
    assert (edited.status, edited.complex_order_tag) == (OrderStatus.CONTINGENT, "OTOCO::oco-1-order")
    cancelled = await client.cancel_complex(account, waiting.id)
    assert {each.status for each in cancelled.parts} == {OrderStatus.CANCELLED}
    assert cancelled.terminal_at is not None
    entry = NewOrder(legs=(NewLeg(symbol=symbol, action="Buy to Open", quantity=1),), order_type="Market")
    placed = await client.submit_complex(account, NewComplexOrder.otoco(entry, *exits))
    for part in placed.orders:
        await reaches(client, account, part.id, OrderStatus.LIVE)
    assert [each.id for each in await client.complex_orders(account)] == [placed.id, waiting.id]
    assert {each.id for each in await client.live_complex_orders(account)} == {placed.id, waiting.id}
    await client.cancel_complex(account, placed.id)
    chained = await client.submit_complex(account, NewComplexOrder.oto(limit(symbol, "Buy to Open", "-0.05"), exits[0]))
    assert chained.trigger_order is not None
    await reaches(client, account, chained.trigger_order.id, OrderStatus.LIVE)
    await client.cancel(account, chained.trigger_order.id)
    assert (await client.order(account, chained.orders[0].id)).status is OrderStatus.CANCELLED


async def test_orders_fill_in_parts_no_larger_than_what_is_shown(client: TastyClient, account: str) -> None:
    """A large order fills in several parts; each is a transaction; the sum is the order."""
    body = {"amount": 10_000_000}
    await client.transport.send("POST", f"/sandbox/accounts/{account}/deposits", body)
    await bought(client, account, 2_000)
    (order,) = await client.live_orders(account)
    fills = order.legs[0].fills
    assert len(fills) > 1
    assert sum(each.quantity for each in fills) == 2_000
    assert len({each.fill_id for each in fills}) == len(fills)
    assert len(await client.transactions(account, types=["Trade"])) == len(fills)


async def test_an_order_goes_through_its_states_when_the_venue_takes_time(
    client: TastyClient, account: str, address: str
) -> None:
    """Routed, live, cancel requested, cancelled; a fill that comes first wins."""
    async with httpx.AsyncClient(base_url=address, trust_env=False) as plain:
        await plain.put("/sim/latency", json={"steps": 10})
        symbol = await contract(client)
        placed = await client.submit(account, limit(symbol, "Buy to Open", "-0.05"))
        assert (placed.status, placed.cancellable) == (OrderStatus.ROUTED, False)
        await reaches(client, account, placed.id, OrderStatus.LIVE)
        assert (await client.cancel(account, placed.id)).status is OrderStatus.CANCEL_REQUESTED
        with pytest.raises(RejectedError, match="cannot_update_order"):
            await client.cancel(account, placed.id)
        await reaches(client, account, placed.id, OrderStatus.CANCELLED)
        racing = await client.submit(account, limit(symbol, "Buy to Open", "-400"))
        await client.cancel(account, racing.id)
        await reaches(client, account, racing.id, OrderStatus.FILLED)
        await plain.put("/sim/latency", json={"steps": 0})


async def test_watchlists_and_alerts_are_kept(client: TastyClient) -> None:
    """Created, replaced, deleted; an alert triggers when the book passes it."""
    mine = Watchlist(name="My/First List", watchlist_entries=(WatchlistEntry(symbol="SPY"),))
    await client.create_watchlist(mine)
    with pytest.raises(RejectedError):
        await client.create_watchlist(mine)
    renamed = Watchlist(name="Second", watchlist_entries=(*mine.watchlist_entries, WatchlistEntry(symbol="QQQ")))
    await client.replace_watchlist(mine.name, renamed)
    assert (await client.watchlist("Second")).symbols == ["SPY", "QQQ"]
    assert [each.name for each in await client.watchlists()] == ["Second"]
    await client.delete_watchlist("Second")
    with pytest.raises(NotFoundError):
        await client.watchlist("Second")
    alert = await client.create_quote_alert(NewAlert(symbol="SPY", operator=">", threshold=Decimal(1)))

    async def triggered() -> bool:
        return any(each.triggered_at for each in await client.quote_alerts())

    await eventually(triggered)
    await client.delete_quote_alert(alert.alert_external_id)
    assert await client.quote_alerts() == []


async def test_a_read_only_login_cannot_trade(client_with: Callable[..., TastyClient], account: str) -> None:
    """The scope decides, and a refusal is a refusal."""
    async with client_with(scopes=[Scope.READ]) as reader:
        await reader.balance(account)
        with pytest.raises(AuthenticationError, match="not_permitted"):
            await reader.submit(account, limit(await contract(reader), "Buy to Open", "-0.05"))


async def test_a_consent_becomes_a_grant_once(address: str) -> None:
    """Authorization code to refresh token; a used code is worth nothing."""
    url = authorization_url(f"{address}/consent", "app", "https://app.example/back", [Scope.READ], "s1")
    assert "redirect_uri=https%3A%2F%2Fapp.example%2Fback" in url
    given = {"redirect-uri": "https://app.example/back", "scope": "read openid"}
    async with httpx.AsyncClient(base_url=address, trust_env=False) as plain:
        code = (await plain.post("/sim/consents", json=given)).json()["data"]["code"]

    async def exchange() -> SecretStr | None:
        grant = await exchange_code(
            address, code=code, client_id="app", client_secret=SecretStr("demo-client-secret"),
            redirect_uri="https://app.example/back",
        )  # fmt: skip
        assert grant.id_token is not None
        return grant.refresh_token

    refresh = await exchange()
    assert refresh is not None
    settings = ClientSettings(base_url=address, client_secret=SecretStr("demo-client-secret"), refresh_token=refresh)
    async with TastyClient(settings) as client:
        await client.customer()
    with pytest.raises(AuthenticationError, match="invalid_grant"):
        await exchange()


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("GET", "/accounts/5WT00001/nothing", {}, 404, "not_found"),
        ("GET", "/accounts/5WT00001/orders/abc", {}, 400, "validation_error"),
        ("GET", "/accounts/5WT00001/orders?per-page=0", {}, 400, "validation_error"),
        ("GET", "/accounts/5WT00001/orders", {"Accept-Version": "20261012"}, 400, "validation_error"),
        ("GET", "/accounts/5WT00001/balance-snapshots", {}, 400, "validation_error"),
        ("GET", "/customers/me", {"Accept-Version": "20200101"}, 406, 406),
        ("GET", "/customers/me", {"Authorization": "Bearer nobody"}, 401, "token_invalid"),
        ("POST", "/accounts/5WT00001/orders", {}, 400, "invalid_request"),
    ],
)
async def test_errors_have_the_broker_s_shape(
    client: TastyClient, address: str, method: str, path: str, headers: dict[str, str], status: int, code: object
) -> None:
    """One envelope for every refusal, with a numeric code for a version."""
    own = {"Authorization": f"Bearer {await client.access_token()}"} | headers
    async with httpx.AsyncClient(base_url=address, trust_env=False) as plain:
        answer = await plain.request(method, path, headers=own, content="{" if method == "POST" else None)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_a_bad_user_agent_is_refused_in_html(address: str) -> None:
    """Easily misread as a bad token; some paths need no token at all."""
    async with httpx.AsyncClient(base_url=address, trust_env=False) as plain:
        refused = await plain.get("/customers/me", headers={"User-Agent": "nobody"})
        assert (refused.status_code, refused.headers["content-type"].split(";")[0]) == (401, "text/html")
        for public in ("/symbols/search/SPY", "/margin-requirements-public-configuration"):
            assert (await plain.get(public)).status_code == 200
        form = {"grant_type": "refresh_token", "client_secret": "demo-client-secret",
                "refresh_token": "demo-refresh-token"}  # fmt: skip
        assert (await plain.post("/oauth/token", data=form)).json()["expires_in"] == 900


async def test_no_error_is_without_an_outcome(client: TastyClient, account: str) -> None:
    """Also for reads."""
    with pytest.raises(BrokerError) as caught:
        await client.order(account, 1)
    assert caught.value.outcome == "rejected"

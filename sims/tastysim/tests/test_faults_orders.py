"""Orders and requests under faults: what our client then reports, and that the broker's books stay true."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import httpx
import pytest

from tastyclient import (
    AuthenticationError,
    BrokerError,
    MalformedReplyError,
    NewLeg,
    NewOrder,
    NotFoundError,
    NotSentError,
    OrderStatus,
    PlacedOrder,
    RejectedError,
    TastyClient,
    ThrottledError,
    UnknownOutcomeError,
)
from tastyclient.errors import Outcome
from tastysim.faults import (
    BustTrade,
    CancelRace,
    ErrorAfter,
    ErrorBefore,
    ExpireToken,
    FaultBase,
    FillBeforeCancel,
    ForeignOrder,
    GarbledReply,
    HideOrders,
    HoldRequest,
    HoldResponse,
    LagAccount,
    LateLegFills,
    RefuseLogin,
    RejectOrder,
    RequestFault,
    ResetAfter,
    ResetBefore,
    SkewClock,
    Throttle,
    WipeAccount,
)
from tastysim.scenario import packaged, parse
from testkit import eventually

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))


class FaultsOf(Protocol):
    """The fixture `faults` of conftest."""

    http: httpx.Client

    def install(self, *faults: FaultBase) -> list[str]: ...
    def remove(self, name: str) -> dict[str, Any]: ...
    def row(self, name: str) -> dict[str, Any]: ...
    def history(self, account: str) -> list[dict[str, Any]]: ...
    def told(self, account: str, *what: str) -> list[str]: ...
    def strikes(self, account: str) -> list[dict[str, Any]]: ...


@pytest.fixture
async def hasty(client_with: Callable[..., TastyClient]) -> AsyncIterator[TastyClient]:
    """A client that waits 0.8 s for an answer, logged in and with a chain to choose from."""
    async with client_with(read_timeout_seconds=0.8) as found:
        await found.balance("5WT00001")
        yield found


_LEGS: dict[str, tuple[NewLeg, NewLeg]] = {}


async def spread(broker: TastyClient) -> tuple[NewLeg, NewLeg]:
    """A put credit spread below the money, about a month out."""
    if not _LEGS:
        puts = [strike.put for strike in (await broker.nested_chain("SPY"))[0].expirations[3].strikes]
        _LEGS["SPY"] = (
            NewLeg(symbol=puts[12], action="Sell to Open", quantity=1),
            NewLeg(symbol=puts[9], action="Buy to Open", quantity=1),
        )
    return _LEGS["SPY"]


async def resting(broker: TastyClient, name: str) -> NewOrder:
    """An order that nobody takes: nearly the width of the spread is asked for it."""
    return NewOrder(legs=await spread(broker), price=Decimal("5.90"), external_identifier=name)


async def filling(broker: TastyClient, name: str) -> NewOrder:
    """An order that fills with the next step."""
    return NewOrder(legs=await spread(broker), price=Decimal("0.05"), external_identifier=name)


async def filled(broker: TastyClient, account: str, order: PlacedOrder) -> PlacedOrder:
    """The order once it is filled."""

    async def done() -> PlacedOrder | None:
        found = await broker.order(account, order.id)
        return found if found.status is OrderStatus.FILLED else None

    found = await eventually(done)
    assert found is not None
    return found


async def assert_books(broker: TastyClient, account: str, deposited: int = 100_000) -> None:
    """Cash is the sum of all transactions to the cent, positions are the sum of all trades."""
    rows = await broker.transactions(account)
    cash, held = Decimal(0), dict[str, int]()
    for row in rows:
        cash += row.net_value
        if row.symbol is not None and row.action is not None and row.quantity is not None:
            sign = (1 if row.action.startswith("Buy") else -1) * (-1 if row.reverses_id else 1)
            held[row.symbol] = held.get(row.symbol, 0) + sign * int(row.quantity)
    assert (await broker.balance(account)).cash_balance == cash
    assert sum(row.value for row in rows if row.transaction_sub_type == "Deposit") == deposited
    positions = {each.symbol: each.signed_quantity for each in await broker.positions(account)}
    assert positions == {symbol: quantity for symbol, quantity in held.items() if quantity}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (HoldResponse(), UnknownOutcomeError),
        (HoldResponse(seconds=1.2), UnknownOutcomeError),
        (ErrorAfter(), UnknownOutcomeError),
        (ErrorAfter(status=500, content="json"), UnknownOutcomeError),
        (ResetAfter(), UnknownOutcomeError),
        (GarbledReply(), MalformedReplyError),
    ],
    ids=lambda value: value.kind if isinstance(value, FaultBase) else "",
)
async def test_an_order_that_was_taken_and_not_acknowledged_is_unknown_and_found_once(
    faults: FaultsOf, hasty: TastyClient, account: str, fault: FaultBase, error: type[BrokerError]
) -> None:
    """Never rejected, never sent again; the lookup by its identifier finds the one order, and the history names it."""
    [name] = faults.install(fault.model_copy(update={"account": account}))
    with pytest.raises(error) as raised:
        await hasty.submit(account, await resting(hasty, "lost"))
    assert raised.value.outcome is Outcome.UNKNOWN
    faults.remove(name)
    found = [each for each in await hasty.live_orders(account) if each.external_identifier == "lost"]
    assert [each.status for each in found] == [OrderStatus.LIVE]
    assert faults.told(account, "submitted") == ["submitted"]
    [strike] = faults.strikes(account)
    assert (strike["order-id"], strike["external-identifier"], strike["kind"]) == (found[0].id, "lost", fault.kind)
    await assert_books(hasty, account)


@pytest.mark.parametrize("fault", [HoldResponse(), ErrorAfter(), ResetAfter()])
async def test_a_replacement_and_a_cancellation_without_an_answer_are_unknown_and_done_once(
    faults: FaultsOf, hasty: TastyClient, account: str, fault: RequestFault
) -> None:
    """The links between the old order and the new one tell what became of it."""
    placed = await hasty.submit(account, await resting(hasty, "first"))
    for method in ("PUT", "DELETE"):
        faults.install(fault.model_copy(update={"account": account, "method": method, "path": "*", "times": 1}))
    with pytest.raises(UnknownOutcomeError):
        await hasty.replace(account, placed.id, await resting(hasty, "second"))
    old = await hasty.order(account, placed.id)
    assert old.status is OrderStatus.CANCELLED
    assert old.replacing_order_id is not None
    with pytest.raises(UnknownOutcomeError):
        await hasty.cancel(account, old.replacing_order_id)
    new = await hasty.order(account, old.replacing_order_id)
    assert (new.status, new.replaces_order_id) == (OrderStatus.CANCELLED, placed.id)
    done = faults.told(account, "submitted", "replaced", "cancelled")
    assert done == ["submitted", "submitted", "replaced", "cancelled"]
    await assert_books(hasty, account)


@pytest.mark.parametrize("fault", [ErrorBefore(), ErrorBefore(status=500, content="json"), ResetBefore()])
async def test_an_order_that_never_arrived_looks_the_same_to_the_client(
    faults: FaultsOf, hasty: TastyClient, account: str, fault: FaultBase
) -> None:
    """It cannot be known from the answer: unknown. The client sent it once, and the broker has nothing."""
    [name] = faults.install(fault.model_copy(update={"account": account}))
    with pytest.raises(UnknownOutcomeError):
        await hasty.submit(account, await resting(hasty, "gone"))
    assert faults.remove(name)["seen"] == 1
    assert faults.told(account, "submitted") == []
    assert await hasty.live_orders(account) == []


async def test_a_read_survives_what_passes(faults: FaultsOf, hasty: TastyClient, account: str) -> None:
    """A GET is tried again after a server error and after a reset."""
    names = faults.install(
        ErrorBefore(account=account, method="GET", path="/accounts/*", times=1, status=502),
        ResetBefore(account=account, method="GET", path="/accounts/*", times=1),
    )
    assert (await hasty.balance(account)).cash_balance == 100_000
    assert [faults.row(name)["struck"] for name in names] == [1, 1]


async def test_a_held_order_is_taken_after_the_client_has_given_up(
    faults: FaultsOf, hasty: TastyClient, account: str
) -> None:
    """The lookup finds nothing, and then it is there: absence proved nothing."""
    faults.install(HoldRequest(account=account, seconds=2.5))
    with pytest.raises(UnknownOutcomeError):
        await hasty.submit(account, await resting(hasty, "late"))
    assert await hasty.live_orders(account) == []

    async def arrived() -> list[PlacedOrder]:
        return await hasty.live_orders(account)

    found = await eventually(arrived)
    assert [each.external_identifier for each in found] == ["late"]
    assert faults.told(account, "fault", "submitted") == ["fault", "submitted"]


async def test_an_order_is_invisible_for_a_while(faults: FaultsOf, client: TastyClient, account: str) -> None:
    """No read shows it, a cancellation finds it, and then it is there; at once when the fault is taken out."""
    [name] = faults.install(HideOrders(account=account, seconds=3600))
    placed = await client.submit(account, await resting(client, "hidden"))
    assert await client.live_orders(account) == []
    assert await client.orders(account) == []
    with pytest.raises(NotFoundError):
        await client.order(account, placed.id)
    assert (await client.cancel(account, placed.id)).status is OrderStatus.CANCELLED
    assert await client.live_orders(account) == []
    faults.remove(name)
    assert [each.id for each in await client.live_orders(account)] == [placed.id]
    faults.install(HideOrders(account=account, seconds=0.3))
    second = await client.submit(account, await resting(client, "hidden-2"))

    async def visible() -> bool:
        return second.id in [each.id for each in await client.orders(account)]

    await eventually(visible)


async def test_a_token_that_ends_in_a_call_refuses_it_and_is_renewed_once(
    faults: FaultsOf, client_with: Callable[..., TastyClient], account: str
) -> None:
    """A POST is rejected with proof and not sent again; many reads at once recover with a single login."""
    async with client_with() as client:
        order = await resting(client, "expired")
        await client.balance(account)
        logins = faults.install(RefuseLogin(skip=1_000_000))[0]
        faults.install(ExpireToken(account=account, method="POST", times=1))
        with pytest.raises(AuthenticationError) as raised:
            await client.submit(account, order)
        assert (raised.value.outcome, raised.value.status) == (Outcome.REJECTED, 401)
        assert faults.told(account, "submitted") == []
        placed = await client.submit(account, order)
        assert faults.row(logins)["seen"] == 1
        faults.install(ExpireToken(account=account, method="GET", times=1))
        await client.live_orders(account)
        found = await asyncio.gather(*(client.order(account, placed.id) for _ in range(8)))
        assert {each.id for each in found} == {placed.id}
        assert faults.row(logins)["seen"] == 2
        faults.install(ExpireToken(account=account, method="DELETE", path="*", moment="after"))
        assert (await client.cancel(account, placed.id)).status is OrderStatus.CANCELLED
        assert (await client.order(account, placed.id)).status is OrderStatus.CANCELLED
        assert faults.row(logins)["seen"] == 3


@pytest.mark.parametrize("fault", [ErrorBefore(), HoldResponse(), Throttle(), ResetAfter(), GarbledReply()])
async def test_an_order_whose_login_fails_was_not_sent(
    faults: FaultsOf, hasty: TastyClient, client_with: Callable[..., TastyClient], account: str, fault: RequestFault
) -> None:
    """What is not known is the login's outcome: the order itself has proof that it had no effect."""
    order = await resting(hasty, "unsent")
    [name] = faults.install(fault.model_copy(update={"method": "POST", "path": "/oauth/token"}))
    async with client_with(read_timeout_seconds=0.8) as fresh:
        with pytest.raises(NotSentError) as raised:
            await fresh.submit(account, order)
        assert raised.value.outcome is Outcome.NOT_SENT
        faults.remove(name)
        assert faults.told(account, "submitted") == []
        assert (await fresh.submit(account, order)).status is OrderStatus.LIVE


async def test_a_revoked_grant_is_not_tried_for_ever(faults: FaultsOf, client_with: Callable[..., TastyClient]) -> None:
    """Three logins are refused; the fourth is not even asked."""
    [name] = faults.install(RefuseLogin())
    async with client_with() as client:
        for _ in range(4):
            with pytest.raises(AuthenticationError) as raised:
                await client.balance("5WT00001")
            assert raised.value.outcome is Outcome.REJECTED
    assert faults.remove(name)["seen"] == 3


async def test_a_storm_of_429_refuses_with_proof(faults: FaultsOf, client: TastyClient, account: str) -> None:
    """Orders and reads are refused, tried once each; nothing says when to come back."""
    [name] = faults.install(Throttle(account=account))
    with pytest.raises(ThrottledError) as raised:
        await client.submit(account, await resting(client, "storm"))
    assert (raised.value.outcome, raised.value.code) == (Outcome.REJECTED, "too_many_requests")
    with pytest.raises(ThrottledError):
        await client.balance(account)
    answer = faults.http.get(f"/accounts/{account}/balances", headers={"User-Agent": "test/1"})
    assert (answer.status_code, "retry-after" in answer.headers) == (429, False)
    assert faults.remove(name)["seen"] == 3
    assert faults.told(account, "submitted") == []
    assert (await client.balance(account)).cash_balance == 100_000


async def test_each_token_has_a_rate_of_its_own(
    faults: FaultsOf, client_with: Callable[..., TastyClient], account: str
) -> None:
    """A burst passes, then 429 until time has passed; the token of another client is not touched by it."""
    faults.install(Throttle(account=account, requests_per_second=1, burst=5))
    async with client_with() as quick, client_with() as other:
        answers = await asyncio.gather(*(quick.balance(account) for _ in range(12)), return_exceptions=True)
        assert 1 <= len([each for each in answers if isinstance(each, ThrottledError)]) <= 7
        for _ in range(5):
            await other.balance(account)

        async def passes() -> bool:
            try:
                await quick.balance(account)
            except ThrottledError:
                return False
            return True

        await eventually(passes, every=0.1)


async def test_fills_of_the_second_leg_come_after_filled(faults: FaultsOf, client: TastyClient, account: str) -> None:
    """The status says Filled, one leg shows its fill, the positions show both; later the order does too."""
    [name] = faults.install(LateLegFills(account=account, seconds=3600))
    order = await filled(client, account, await client.submit(account, await filling(client, "legs")))
    assert [len(leg.fills) for leg in order.legs] == [1, 0]
    assert len(await client.positions(account)) == 2
    faults.remove(name)
    assert [len(leg.fills) for leg in (await client.order(account, order.id)).legs] == [1, 1]
    await assert_books(client, account)


async def test_positions_and_balances_lag_behind_the_fill(faults: FaultsOf, client: TastyClient, account: str) -> None:
    """The order is filled, and for a while the account reads as before it."""
    [name] = faults.install(LagAccount(account=account, seconds=3600))
    await filled(client, account, await client.submit(account, await filling(client, "lag")))
    assert await client.positions(account) == []
    assert (await client.balance(account)).cash_balance == 100_000
    faults.remove(name)
    assert len(await client.positions(account)) == 2
    faults.install(LagAccount(account=account, seconds=0.3))
    await filled(client, account, await client.submit(account, await filling(client, "lag-2")))

    async def caught_up() -> bool:
        return {abs(each.signed_quantity) for each in await client.positions(account)} == {2}

    await eventually(caught_up)
    await assert_books(client, account)


async def test_an_order_is_rejected_after_it_was_taken(faults: FaultsOf, client: TastyClient, account: str) -> None:
    """It was Live in the answer; the venue refuses it before it fills, with a reason."""
    faults.install(RejectOrder(account=account, reason="Halted"))
    placed = await client.submit(account, await filling(client, "venue"))
    assert placed.status is OrderStatus.LIVE

    async def ended() -> PlacedOrder | None:
        found = await client.order(account, placed.id)
        return found if found.status.is_terminal else None

    order = await eventually(ended)
    assert order is not None
    assert (order.status, order.reject_reason) == (OrderStatus.REJECTED, "Halted")
    assert faults.told(account, "submitted", "filled", "rejected") == ["submitted", "rejected"]
    await assert_books(client, account)


@pytest.mark.parametrize("method", ["DELETE", "PUT"])
async def test_a_cancellation_or_replacement_comes_too_late(
    faults: FaultsOf, client: TastyClient, account: str, method: str
) -> None:
    """The order fills in that moment: refused with proof, and the fill is booked."""
    placed = await client.submit(account, await resting(client, "race"))
    faults.install(FillBeforeCancel(account=account, method=method))
    again = await resting(client, "race-2")
    asked = client.cancel(account, placed.id) if method == "DELETE" else client.replace(account, placed.id, again)
    with pytest.raises(RejectedError, match="cannot_update_order") as raised:
        await asked
    assert raised.value.outcome is Outcome.REJECTED
    assert (await client.order(account, placed.id)).status is OrderStatus.FILLED
    assert faults.told(account, "submitted", "filled", "cancelled", "replaced") == ["submitted", "filled"]
    await assert_books(client, account)


@pytest.mark.parametrize("becomes", ["Filled", "Live", "Cancelled", "stuck"])
async def test_a_cancellation_that_was_taken_may_still_lose(
    faults: FaultsOf, client: TastyClient, account: str, becomes: Any
) -> None:
    """Cancel Requested, then a fill, a refusal, the end, or nothing for ever."""
    placed = await client.submit(account, await resting(client, "race"))
    [name] = faults.install(CancelRace(account=account, becomes=becomes, seconds=0.2))
    assert (await client.cancel(account, placed.id)).status is OrderStatus.CANCEL_REQUESTED
    faults.remove(name)
    if becomes == "stuck":
        with pytest.raises(RejectedError, match="cannot_update_order"):
            await client.cancel(account, placed.id)
        await asyncio.gather(*(client.balance(account) for _ in range(20)))
        assert (await client.order(account, placed.id)).status is OrderStatus.CANCEL_REQUESTED
        return

    async def decided() -> bool:
        return (await client.order(account, placed.id)).status == becomes

    await eventually(decided)
    await assert_books(client, account)
    if becomes == "Live":
        assert (await client.cancel(account, placed.id)).status is OrderStatus.CANCELLED


@pytest.mark.parametrize("becomes", ["Live", "Filled", "Cancelled"])
async def test_somebody_else_trades_in_the_account(
    faults: FaultsOf, client: TastyClient, account: str, becomes: Any
) -> None:
    """An order that nobody here sent: no identifier of ours, another source; it rests, fills or goes."""
    faults.install(ForeignOrder(account=account, quantity=2, becomes=becomes))

    async def there() -> PlacedOrder | None:
        found = await client.live_orders(account)
        return found[0] if found and found[0].status == becomes else None

    order = await eventually(there)
    assert order is not None
    assert (order.external_identifier, order.source) == (None, "another-terminal")
    held = [each.signed_quantity for each in await client.positions(account)]
    assert held == ([2] if becomes == "Filled" else [])
    await assert_books(client, account)


async def test_what_somebody_else_cannot_do_is_refused_and_noted(
    faults: FaultsOf, client: TastyClient, account: str
) -> None:
    """A symbol that does not exist, one that is none, more than the account can pay: nothing happens but the note."""
    faults.install(
        ForeignOrder(account=account, symbol="NOPE"),
        ForeignOrder(account=account, symbol="XXX   269999C00000000", action="Sell to Open"),
        ForeignOrder(account=account, symbol="SPY", price=Decimal(700), quantity=100_000),
        BustTrade(account=account, order_id=1),
    )
    await eventually(lambda: faults.told(account, "fault refused") == ["fault refused"] * 3)
    assert await client.live_orders(account) == []
    assert faults.http.get("/sim/clock").json()["failures"] == 0
    await assert_books(client, account)


async def test_a_trade_is_busted(faults: FaultsOf, client: TastyClient, account: str) -> None:
    """Positions and cash are as before it; reversals name what they take back; the order keeps its fills."""
    order = await filled(client, account, await client.submit(account, await filling(client, "bust")))
    assert len(await client.positions(account)) == 2
    faults.install(BustTrade(account=account, order_id=1), BustTrade(account=account, order_id=order.id))
    await eventually(lambda: faults.told(account, "busted"))
    assert await client.positions(account) == []
    assert (await client.balance(account)).cash_balance == 100_000
    rows = await client.transactions(account)
    trades = {row.id for row in rows if row.order_id == order.id and row.reverses_id is None}
    assert {row.reverses_id for row in rows if row.reverses_id} == trades
    assert all(leg.fills for leg in (await client.order(account, order.id)).legs)
    await assert_books(client, account)


async def test_a_trade_is_corrected_to_another_price(faults: FaultsOf, client: TastyClient, account: str) -> None:
    """The first leg is booked anew: cash moves by the difference, positions do not."""
    order = await filled(client, account, await client.submit(account, await filling(client, "fix")))
    before = (await client.balance(account)).cash_balance
    was = order.legs[0].fills[0].fill_price
    faults.install(BustTrade(account=account, price=was - Decimal("0.10")))
    await eventually(lambda: faults.told(account, "corrected"))
    assert (await client.balance(account)).cash_balance == before - 10  # the short leg brought 10 cents less
    found = {each.symbol: each for each in await client.positions(account)}
    assert found[order.legs[0].symbol].average_open_price == was - Decimal("0.10")
    assert found[order.legs[1].symbol].average_open_price == order.legs[1].fills[0].fill_price
    await assert_books(client, account)


async def test_the_account_is_wiped(faults: FaultsOf, client: TastyClient, account: str) -> None:
    """Orders, positions, transactions are gone, the money is that of the beginning; the history is not, ids go on."""
    first = await filled(client, account, await client.submit(account, await filling(client, "gone")))
    faults.install(WipeAccount(account=account))
    await eventually(lambda: faults.told(account, "wiped"))
    assert await client.live_orders(account) == []
    assert await client.positions(account) == []
    assert [row.transaction_sub_type for row in await client.transactions(account)] == ["Deposit"]
    with pytest.raises(NotFoundError):
        await client.order(account, first.id)
    assert faults.told(account, "submitted", "filled", "wiped") == ["submitted", "filled", "wiped"]
    assert (await client.submit(account, await resting(client, "after"))).id > first.id
    await assert_books(client, account)


async def test_the_brokers_clock_is_wrong(faults: FaultsOf, client: TastyClient, account: str) -> None:
    """`Date` and the times of an order are five minutes behind; once it is right again, the books were never wrong."""
    [name] = faults.install(SkewClock(account=account, seconds=-300))
    now = datetime.now(UTC)
    placed = await client.submit(account, await resting(client, "clock"))
    token = await client.access_token()
    headers = {"Authorization": f"Bearer {token}", "User-Agent": "test/1"}
    answer = faults.http.get(f"/accounts/{account}/orders/live", headers=headers)
    dates = [parsedate_to_datetime(each) for each in answer.headers.get_list("date")]
    assert len(dates) == 1
    assert abs(now - timedelta(seconds=300) - dates[0]) < timedelta(seconds=60)
    faults.remove(name)
    right = await client.order(account, placed.id)
    assert right.received_at is not None
    assert placed.received_at == right.received_at - timedelta(seconds=300)
    assert placed.updated_at is not None
    assert placed.updated_at + timedelta(seconds=299) < (right.updated_at or now)


async def test_what_cannot_be_installed_names_field_value_and_what_is_allowed(faults: FaultsOf) -> None:
    """An unknown kind, an unknown field, a wrong value, a name twice: 400, and nothing is installed."""
    for body, domain, words in (
        ({"kind": "fire"}, "kind", ("'fire'", "drop_frames", "wipe_account")),
        ({"kind": "drop_frames", "colour": 1}, "colour", ("1", "allowed are account", "frames")),
        ({"kind": "hold_request", "seconds": "soon"}, "seconds", ("'soon'", "valid number")),
        ({"kind": "hold_request"}, "seconds", ("required",)),
        ({"kind": "throttle", "method": "get"}, "method", ("'get'", "GET|POST")),
        ([{"kind": "reset_after"}, {"kind": "reset_after", "times": 0}], "times", ("0", "greater than or equal to 1")),
        ([{"kind": "reset_after", "name": "a"}, {"kind": "reset_before", "name": "a"}], "name", ("'a'",)),
        ("reset", "fault", ("'reset'", "object")),
    ):
        answer = faults.http.post("/sim/faults", json=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["errors"][0]["domain"]) == (400, "validation_error", domain)
        assert all(word in error["message"].replace("Field required", "required") for word in words), error["message"]
    assert faults.http.get("/sim/faults").json() == []
    assert faults.http.delete("/sim/faults/nothing").status_code == 404
    assert set(faults.http.get("/sim/faults/kinds").json()) >= {"drop_frames", "hold_request"}


async def test_the_log_keeps_what_struck_when(faults: FaultsOf, client: TastyClient, account: str) -> None:
    """Installed, struck, removed: in the log and in the history, with both clocks; `skip` and `times` are counted."""
    [name] = faults.install(Throttle(account=account, skip=1, times=2))
    for refused in (False, True, True, False):
        if refused:
            with pytest.raises(ThrottledError):
                await client.balance(account)
        else:
            await client.balance(account)
    row = faults.remove(name)
    assert (row["seen"], row["struck"], row["open"]) == (3, 2, False)
    log = [each for each in faults.http.get("/sim/faults/log").json() if each.get("fault") == name]
    assert [each["what"] for each in log] == ["fault installed", "fault", "fault", "fault removed"]
    assert [each["strike"] for each in log if each["what"] == "fault"] == [1, 2]
    assert [each["method"] for each in faults.strikes(account)] == ["GET", "GET"]
    assert all(datetime.fromisoformat(each["wall-time"]) <= datetime.now(UTC) for each in log)


async def test_a_bad_day_leaves_true_books_and_doubles_nothing(
    faults: FaultsOf, hasty: TastyClient, account: str
) -> None:
    """Everything at once, at random: no order is taken twice, none that was refused is taken, none taken is lost."""
    for entry in parse(packaged()["bad-day"], "bad-day").entries:
        if entry.fault is not None and not entry.at:
            chance = min(1.0, 2 * entry.fault.probability)
            faults.install(entry.fault.model_copy(update={"account": account, "probability": chance}))
    acknowledged, refused = set[str](), set[str]()
    for number in range(20 * SCALE):
        name = f"bad-{number}"
        order = await (filling if number % 3 else resting)(hasty, name)
        try:
            placed = await hasty.submit(account, order)
        except BrokerError as error:
            if error.outcome is not Outcome.UNKNOWN:
                refused.add(name)
            continue
        acknowledged.add(name)
        if number % 2:
            with suppress(BrokerError):
                await hasty.cancel(account, placed.id)
    faults.http.delete("/sim/faults").raise_for_status()
    taken = [row["external-identifier"] for row in faults.history(account) if row["what"] == "submitted"]
    assert len(set(taken)) == len(taken)
    assert acknowledged <= set(taken)
    assert not refused & set(taken)
    assert {each.external_identifier for each in await hasty.live_orders(account)} == set(taken)
    assert {each["kind"] for each in faults.strikes(account)} >= {"hold_response", "error_after", "hide_orders"}
    await assert_books(hasty, account)

"""Payloads as the broker was seen to send them: everything parses as written, with signs, and says what it means."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tastyclient import (
    Account,
    Balance,
    ComplexOrderType,
    Customer,
    Direction,
    Equity,
    EquityOption,
    Future,
    FutureOption,
    InstrumentType,
    MalformedReplyError,
    MarginReport,
    MarketData,
    MarketMetrics,
    NestedChain,
    NestedFuturesChain,
    NetLiq,
    NewComplexOrder,
    NewLeg,
    NewOrder,
    OrderAction,
    OrderEdit,
    OrderPreview,
    OrderStatus,
    PlacedComplexOrder,
    PlacedOrder,
    Position,
    TickSize,
    TradingStatus,
    Transaction,
    tick_size,
)
from tastyclient.wire import read, signed

ORDER = """{"id":270561,"account-number":"5WX06827","cancellable":false,"editable":false,"edited":false,
 "ext-client-order-id":"x","global-request-id":"f6c5863356cf1be83fed349d54ee4862","order-type":"Market",
 "received-at":"2025-05-28T13:38:47.851+00:00","size":1,"status":"Routed","time-in-force":"Day",
 "underlying-instrument-type":"Equity","underlying-symbol":"AAPL","updated-at":1748439528049,
 "legs":[{"action":"Buy to Open","instrument-type":"Equity","quantity":1,"remaining-quantity":1,"symbol":"AAPL",
 "fills":[]}]}"""
EFFECT = """{"change-in-margin-requirement":"300.0","change-in-margin-requirement-effect":"Debit",
  "change-in-buying-power":"102.302","change-in-buying-power-effect":"Debit","current-buying-power":"8995981.2613",
  "current-buying-power-effect":"Credit","new-buying-power":"8995878.9593","new-buying-power-effect":"Credit",
  "isolated-order-margin-requirement":"300.0","isolated-order-margin-requirement-effect":"Debit","is-spread":true,
  "impact":"102.302","effect":"Debit"}"""
FEES = """{"regulatory-fees":"0.102","regulatory-fees-effect":"Debit",
  "regulatory-fees-breakdown":[{"name":"orf","value":"0.1","effect":"Debit"},
  {"name":"sec","value":"0.0","effect":"None"}],
  "clearing-fees":"0.2","clearing-fees-effect":"Debit","commission":"2.0","commission-effect":"Debit",
  "proprietary-index-option-fees":"0.0","proprietary-index-option-fees-effect":"None","total-fees":"2.302",
  "total-fees-effect":"Debit","rebates":"0.0","rebates-effect":"None","per-quantity":false}"""


def decoded(text: str) -> Any:
    """JSON of a payload."""
    return json.loads(text)


def test_a_balance_has_its_effects_as_signs() -> None:
    """Also the pair whose effect drops a word of its name."""
    found = read(
        Balance,
        decoded("""{"account-number":"5WZ81257","available-trading-funds":"0.0","bond-margin-requirement":"0.0",
         "cash-balance":"10.5","currency":"USD","pending-cash":"3.25","pending-cash-effect":"Debit",
         "unsettled-cryptocurrency-fiat-amount":"2.0","unsettled-cryptocurrency-fiat-effect":"Debit",
         "buying-power-adjustment":"1.0","buying-power-adjustment-effect":"Credit","snapshot-date":"2025-05-14",
         "net-liquidating-value":"7.0","derivative-buying-power":"5.0","maintenance-requirement":"0.0",
         "updated-at":"2025-05-13T17:09:41.714+00:00"}"""),
    )
    assert (found.pending_cash, found.unsettled_cryptocurrency_fiat_amount) == (Decimal("-3.25"), Decimal(-2))
    assert (found.buying_power_adjustment, found.cash_balance) == (Decimal(1), Decimal("10.5"))


def test_a_position_as_captured() -> None:
    """A long position's cost effect says Credit; its quantity stays what it is."""
    row = decoded("""{"account-number":"5WI28167","average-daily-market-close-price":"49.39",
     "average-open-price":"52.73","average-yearly-market-close-price":"52.73","close-price":"49.39",
     "cost-effect":"Credit","created-at":"2026-01-23T10:30:25.032+00:00","instrument-type":"Equity","is-frozen":false,
     "is-suppressed":false,"multiplier":"1.0","quantity":742,"quantity-direction":"Long","realized-day-gain":"12.0",
     "realized-day-gain-date":"2026-01-23","realized-day-gain-effect":"Debit","realized-today":"0.0",
     "realized-today-date":"2026-01-23","realized-today-effect":"None","restricted-quantity":0,"symbol":"TQQQ",
     "underlying-symbol":"TQQQ","updated-at":"2026-01-23T10:30:26.593+00:00"}""")
    found = read(Position, row)
    assert (found.signed_quantity, found.instrument_type, found.realized_day_gain) == (742, "Equity", Decimal(-12))
    short = read(Position, {**row, "quantity": "0.75", "quantity-direction": "Short", "instrument-type": "Moon Rock"})
    assert (short.signed_amount, short.signed_quantity, short.instrument_type) == (Decimal("-0.75"), 0, "Moon Rock")
    assert read(Position, {**row, "quantity-direction": "Zero", "quantity": "0"}).signed_quantity == 0
    with pytest.raises(MalformedReplyError, match="quantity-direction"):
        read(Position, {**row, "quantity-direction": "Sideways"})


def test_a_trade_as_captured() -> None:
    """Net value is value with the fees, all negative for a purchase."""
    found = read(
        Transaction,
        decoded("""{"id":123456,"account-number":"5WT00001","action":"Buy to Open","clearing-fees":"0.1",
     "clearing-fees-effect":"Debit","commission":"1.0","commission-effect":"Debit",
     "created-at":"2026-05-29T15:00:01.000Z","currency":"USD",
     "description":"Bought 1 SMCI 06/05/26 Call 45.00 @ 0.75","destination-venue":"MARKET_SIMULATOR","exec-id":"1",
     "executed-at":"2026-05-29T15:00:00.000Z","instrument-type":"Equity Option","is-estimated-fee":true,
     "net-value":"76.12","net-value-effect":"Debit","order-id":270561,"price":"0.75",
     "proprietary-index-option-fees":"0.0","proprietary-index-option-fees-effect":"None","quantity":"1.0",
     "regulatory-fees":"0.02","regulatory-fees-effect":"Debit","symbol":"SMCI  260605C00045000",
     "transaction-date":"2026-05-29","transaction-sub-type":"Buy to Open","transaction-type":"Trade",
     "underlying-symbol":"SMCI","value":"75.0","value-effect":"Debit"}"""),
    )
    fees = (found.commission, found.clearing_fees, found.regulatory_fees, found.proprietary_index_option_fees)
    assert found.net_value == found.value + sum((each or 0 for each in fees), Decimal(0)) == Decimal("-76.12")
    assert (found.quantity, found.action, found.price) == (1, OrderAction.BUY_TO_OPEN, Decimal("0.75"))


def test_an_order_and_its_preview_as_captured() -> None:
    """Epoch milliseconds, a preview without id, fees and buying power with signs."""
    order = read(PlacedOrder, decoded(ORDER))
    assert order.updated_at is not None
    assert (order.updated_at.year, order.status, order.legs[0].remaining_quantity) == (2025, OrderStatus.ROUTED, 1)
    dry = {name: value for name, value in decoded(ORDER).items() if name != "id"} | {"updated-at": 0}
    found = read(
        OrderPreview,
        {"order": dry, "warnings": [{"code": "tif_next_valid_sesssion", "message": "x"}],
         "buying-power-effect": decoded(EFFECT), "fee-calculation": decoded(FEES)},
    )  # fmt: skip
    assert found.buying_power_effect is not None
    assert found.fee_calculation is not None
    assert found.buying_power_effect.impact == found.buying_power_effect.change_in_buying_power == Decimal("-102.302")
    assert found.fee_calculation.total_fees == Decimal("-2.302")
    assert found.warnings[0].code == "tif_next_valid_sesssion"


@pytest.mark.parametrize(
    ("field", "value"), [("status", "Floating"), ("order-type", "Wish"), ("time-in-force", "Forever")]
)
def test_an_unknown_state_of_an_order_is_never_guessed(field: str, value: str) -> None:
    """It fails, and names the field."""
    with pytest.raises(MalformedReplyError, match=field):
        read(PlacedOrder, {**decoded(ORDER), field: value})


def test_a_filled_order_of_the_account_stream() -> None:
    """Fills with their own prices; quantities stay whole."""
    row = decoded(ORDER) | {"status": "Filled", "price": "2.5", "price-effect": "Debit", "replaces-order-id": "7"}
    row["legs"] = decoded("""[{"instrument-type":"Equity","symbol":"AAPL","quantity":100,"remaining-quantity":0,
      "action":"Buy to Open","fills":[{"ext-group-fill-id":"0","ext-exec-id":"1122",
      "fill-id":"24_TW::TEST_A47504::20230705.1179-TEST_FILL","quantity":100,"fill-price":"100.0",
      "filled-at":"2023-07-05T19:07:32.496+00:00","destination-venue":"TEST_A"}]}]""")
    found = read(PlacedOrder, row)
    assert (found.price, found.replaces_order_id) == (Decimal("-2.5"), 7)
    fill = found.legs[0].fills[0]
    assert (fill.quantity, type(fill.quantity), fill.fill_price) == (100, int, Decimal(100))
    assert found.status.is_terminal


def test_a_complex_order_with_text_ids_in_its_related_orders() -> None:
    """Parts in order, the trigger first; what nobody asked for is ignored."""
    part = {**decoded(ORDER), "status": "Contingent", "contingent-status": "Pending Order", "complex-order-id": 1001}
    row = {
        "id": 1001, "account-number": "5WT00001", "type": "OTOCO", "orders": [{**part, "id": 2}, {**part, "id": 3}],
        "trigger-order": {**part, "id": 1, "complex-order-tag": "OTOCO::trigger-order"},
        "related-orders": [{"id": "270571", "replaces-order-id": "270560", "replacing-order-id": ""}],
    }  # fmt: skip
    found = read(PlacedComplexOrder, row)
    assert ([each.id for each in found.parts], found.type) == ([1, 2, 3], ComplexOrderType.OTOCO)


def test_a_margin_report_with_nan_and_an_empty_group() -> None:
    """A price that is not a number is not known; an empty group is left out; requirements are negative."""
    found = read(
        MarginReport,
        decoded("""{"account-number":"5WT00001","description":"Total","margin-calculation-type":"Reg T",
     "option-level":"No Restrictions","margin-requirement":"4337.83","margin-requirement-effect":"Debit",
     "maintenance-requirement":"3559.17","maintenance-requirement-effect":"Debit","margin-equity":"500007967.87",
     "margin-equity-effect":"Credit","option-buying-power":"499976836.54","option-buying-power-effect":"Credit",
     "groups":[{},{"description":"AAPL","code":"AAPL","margin-requirement":"4012.83",
       "margin-requirement-effect":"Debit","buying-power":"4012.83","buying-power-effect":"Credit",
       "groups":[{"description":"LONG_UNDERLYING","position-entries":[{"instrument-symbol":"AAPL",
         "instrument-type":"Equity","quantity":"355.0","close-price":"0.0","fixing-price":"NaN"}]}],
       "price-increase-percent":"0.5","price-decrease-percent":"-0.5"}],
     "last-state-timestamp":1690830411014}"""),
    )
    assert (found.margin_requirement, len(found.groups)) == (Decimal("-4337.83"), 1)
    entry = found.groups[0].groups[0].position_entries[0]
    assert (entry.quantity, entry.fixing_price, entry.close_price) == (355, None, 0)


def test_net_liq_in_both_spellings() -> None:
    """The specification's camel case and the wire's dashes."""
    names = ("open", "high", "low", "close")
    dashed = {f"{prefix}{each}": "1.0" for prefix in ("", "pending-cash-", "total-") for each in names}
    camel = {"".join(p.title() if i else p for i, p in enumerate(k.split("-"))): v for k, v in dashed.items()}
    at = {"time": "2026-08-04T14:30:00Z"}
    assert read(NetLiq, dashed | at) == read(NetLiq, camel | at)


def test_reference_data_as_captured() -> None:
    """Customers, accounts, status, instruments, chains, metrics: tolerant of what is missing and new."""
    owner = decoded("""{"id":"me","first-name":"A","last-name":"B","address":{"city":"Chicago","country":"USA"},
      "birth-date":"1990-01-01","has-delayed-quotes":false,"visa-type":null,
      "permitted-account-types":[{"name":"Individual","is_tax_advantaged":false}]}""")
    assert read(Customer, owner).address is not None
    assert read(Account, {"account-number": "5WT00001", "day-trader-status": False, "is-new": 1}).is_closed is False
    status = {"account-number": "1", "is-closed": False, "is-closing-only": True, "is-frozen": False}
    assert read(TradingStatus, status).is_risk_reducing_only is None
    with pytest.raises(MalformedReplyError, match="is-frozen"):
        read(TradingStatus, {**status, "is-frozen": None})
    spy = decoded("""{"id":726,"symbol":"SPY","instrument-type":"Equity","lendability":"Locate On Mars",
      "tick-sizes":[{"threshold":"1.0","value":"0.0001"},{"value":"0.01"}],"option-tick-sizes":[{"value":"0.01"}]}""")
    assert read(Equity, spy).lendability == "Locate On Mars"
    option = decoded("""{"active":true,"days-to-expiration":8,"exercise-style":"American",
      "expiration-date":"2026-06-12","expiration-type":"Weekly","expires-at":"2026-06-12T20:00:00.000+00:00",
      "instrument-type":"Equity Option","option-type":"C","root-symbol":"AAPL","settlement-type":"PM",
      "shares-per-contract":100,"strike-price":"110.0","symbol":"AAPL  260612C00110000","underlying-symbol":"AAPL"}""")
    assert (read(EquityOption, option).expiration_date, read(EquityOption, option).streamer_symbol) == (
        date(2026, 6, 12), None
    )  # fmt: skip
    future = decoded("""{"symbol":"/ESU6","product-code":"ES","notional-multiplier":"50.0",
      "spread-tick-sizes":[{"value":"0.05","symbol":"/ESZ6"}],
      "future-etf-equivalent":{"symbol":"SPY","share-quantity":502},
      "future-product":{"root-symbol":"/ES","code":"ES","option-products":[{"root-symbol":"LO"}]}}""")
    assert read(Future, future).instrument_type == InstrumentType.FUTURE
    on_future = decoded("""{"symbol":"./ESZ6 ESZ6  261218P6300","instrument-type":"Future Option",
      "expiration-date":"2026-12-18","maturity-date":"2026-12-18 UTC","last-trade-time":"0","option-type":"P",
      "strike-price":"6300.0","underlying-symbol":"/ESZ6"}""")
    assert read(FutureOption, on_future).strike_price == 6300


def test_chains_as_captured() -> None:
    """Nested chains of equities and of futures, with a missing streamer symbol of the latter."""
    strike = {"strike-price": "500.0", "call": "SPY   260804C00500000", "call-streamer-symbol": ".SPY260804C500",
              "put": "SPY   260804P00500000", "put-streamer-symbol": ".SPY260804P500"}  # fmt: skip
    expiration = {"expiration-type": "Weekly", "expiration-date": "2026-08-04", "days-to-expiration": 0,
                  "settlement-type": "PM", "strikes": [strike]}  # fmt: skip
    chain = {"underlying-symbol": "SPY", "root-symbol": "SPY", "shares-per-contract": 100,
             "deliverables": [{"id": 1, "amount": "100.0", "percent": "100"}], "expirations": [expiration]}  # fmt: skip
    assert read(NestedChain, chain).deliverables[0].amount == 100
    bare = {name: value for name, value in strike.items() if "streamer" not in name}
    futures = {"futures": [{"symbol": "/ESZ6"}], "option-chains": [{"underlying-symbol": "/ES", "expirations": [
        {**expiration, "underlying-symbol": "/ESZ6", "strikes": [bare]}]}]}  # fmt: skip
    found = read(NestedFuturesChain, futures)
    assert found.option_chains[0].expirations[0].strikes[0].call_streamer_symbol is None


def test_market_data_and_metrics_as_captured() -> None:
    """Negative halt times, numbers as text, a market cap as a number, nulls."""
    data = decoded("""{"symbol":"AAPL","instrument-type":"Equity","updated-at":"2025-04-29T21:33:25.535Z",
      "bid":"210.55","bid-size":"2.0","ask":"210.6","ask-size":"1.0","mark":"210.55","beta":"1.260672228",
      "close-price-type":"Final","halt-start-time":-1,"halt-end-time":-1,"volume":"35348839.0","last":"NaN"}""")
    assert (read(MarketData, data).last, read(MarketData, data).halt_start_time) == (None, -1)
    metrics = decoded("""{"symbol":"NVDA","implied-volatility-index":"0.2618","liquidity-rating":5,
      "market-cap":4514709583000,"implied-volatility-30-day":"26.53","earnings":{"visible":true,"estimated":false,
      "late-flag":0,"expected-report-date":"2026-08-26","actual-eps":null},"updated-at":"2026-05-29T14:00:00.000Z",
      "option-expiration-implied-volatilities":[{"expiration-date":"2026-06-05","implied-volatility":"0.31"}]}""")
    assert read(MarketMetrics, metrics).market_cap == 4_514_709_583_000


@given(amount=st.decimals(-(10**6), 10**6, places=4), effect=st.sampled_from(["Debit", "Credit", "None"]))
def test_a_debit_is_never_positive(amount: Decimal, effect: str) -> None:
    """Whatever sign the magnitude came with; the other effects leave it alone."""
    found = signed({"value": str(amount), "value-effect": effect})["value"]
    assert Decimal(found) == (-abs(amount) if effect == "Debit" else amount)


LEG = NewLeg(symbol="SPY   261218P00600000", action="Buy to Open", quantity=1)


@pytest.mark.parametrize(
    ("given_fields", "says"),
    [
        ({}, "price is missing"),
        ({"price": "-1", "order_type": "Market"}, "price is not part"),
        ({"order_type": "Stop"}, "stop_trigger is missing"),
        ({"price": "-1", "stop_trigger": "2"}, "stop_trigger is not part"),
        ({"order_type": "Notional Market"}, "value is missing"),
        ({"order_type": "Notional Market", "value": "-5"}, "value in place of quantities"),
        ({"price": "-1", "time_in_force": "GTD"}, "gtc_date"),
        ({"price": "-1", "gtc_date": "2026-12-01"}, "gtc_date"),
        ({"price": "-1", "time_in_force": "Whenever"}, "time-in-force|time_in_force"),
        ({"price": "-1", "legs": [{"symbol": "SPY", "action": "Hold", "quantity": 1}]}, "action"),
        ({"price": "-1", "legs": [{"symbol": "SPY", "action": "Buy to Open", "quantity": 0}]}, "quantity"),
        ({"price": "-1", "legs": [{"symbol": "SPY", "action": "Buy to Open"}]}, "quantities"),
    ],
)
def test_an_order_that_cannot_be_is_not_built(given_fields: dict[str, Any], says: str) -> None:
    """The mistake shows where it is made, before anything is sent."""
    with pytest.raises(ValidationError, match=says):
        NewOrder.model_validate({"legs": [LEG], **given_fields})


def test_bodies_of_every_order_type() -> None:
    """Amounts with effects, no exponent, no key that does not belong; an identifier of its own each time."""
    stop = NewOrder(legs=(LEG,), order_type="Stop", stop_trigger=Decimal("1E+1"), time_in_force="GTC")
    assert {"stop-trigger": "10", "order-type": "Stop"}.items() <= stop.body().items()
    assert "price-effect" not in stop.body()
    money = NewLeg(symbol="AAPL", action="Buy to Open", instrument_type="Equity")
    notional = NewOrder(legs=(money,), order_type="Notional Market", value=Decimal(-5)).body()
    assert (notional["value"], notional["value-effect"]) == ("5", "Debit")
    assert "quantity" not in notional["legs"][0]
    part = NewLeg(symbol="AAPL", action="Buy to Open", quantity=Decimal("0.5"), instrument_type="Equity")
    assert NewOrder(legs=(part,), order_type="Market").body()["legs"][0]["quantity"] == "0.5"
    until = NewOrder(legs=(LEG,), price=Decimal(-1), time_in_force="GTD", gtc_date=date(2026, 12, 1)).body()
    assert until["gtc-date"] == "2026-12-01"
    assert stop.external_identifier != notional["external-identifier"]
    assert "legs" not in stop.body(legs=False)
    assert OrderEdit(price=Decimal("-1.10")).body() == {"price": "1.10", "price-effect": "Debit"}
    with pytest.raises(ValidationError, match="at least one"):
        OrderEdit()


def test_bodies_of_complex_orders() -> None:
    """A pair needs a limit and a stop; a trigger belongs to those that have one."""
    profit, loss = NewOrder(legs=(LEG,), price=Decimal(-1)), NewOrder(
        legs=(LEG,), order_type="Stop", stop_trigger=Decimal(2)
    )  # fmt: skip
    body = NewComplexOrder.otoco(profit, profit, loss).body()
    assert (body["type"], len(body["orders"]), body["trigger-order"]["price"]) == ("OTOCO", 2, "1")
    for wrong in (
        {"type": "OCO", "orders": [profit, profit]},
        {"type": "OCO", "orders": [profit, loss], "trigger_order": profit},
        {"type": "OTO", "orders": [profit]},
        {"type": "PAIRS", "orders": [profit, profit]},
    ):
        with pytest.raises(ValidationError):
            NewComplexOrder.model_validate(wrong)


@pytest.mark.parametrize(("price", "step"), [("0.5", "0.01"), ("2.99", "0.01"), ("3", "0.05"), ("-7", "0.05")])
def test_the_step_of_a_price(price: str, step: str) -> None:
    """An entry with a threshold applies below it; the one without is the rest."""
    ticks = [TickSize(value=Decimal("0.01"), threshold=Decimal(3)), TickSize(value=Decimal("0.05"))]
    assert tick_size(ticks, Decimal(price)) == Decimal(step)
    assert tick_size([], Decimal(price)) is None


def test_directions_are_three() -> None:
    """Long, short and flat; the broker has no other."""
    assert {each.value for each in Direction} == {"Long", "Short", "Zero"}

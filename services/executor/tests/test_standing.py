"""What the executor says of an account, and how it answers for the broker's dry run."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from chassis.bus import raw_client
from executor.standing import effect_of, preview_order, restrictions
from schemas import subjects
from schemas.account import AccountStanding, AskEffect, BrokerEffect
from schemas.trade import Leg, OrderAction, Purpose
from tastyclient import OrderPreview, TradingStatus
from testkit import eventually

ACCOUNT = "5WT00001"
FREE: dict[str, Any] = {
    "account_number": ACCOUNT, "is_closed": False, "is_closing_only": False, "is_frozen": False
}  # fmt: skip


def question(short: str, long: str, **changes: Any) -> AskEffect:
    legs = (
        Leg(occ_symbol=short, action=OrderAction.SELL_TO_OPEN, quantity=1),
        Leg(occ_symbol=long, action=OrderAction.BUY_TO_OPEN, quantity=1),
    )
    values: dict[str, Any] = {
        "ts_event": datetime.now(UTC), "account_number": ACCOUNT, "purpose": Purpose.OPEN, "legs": legs, "quantity": 2,
        "price": Decimal("0.40"),
    }  # fmt: skip
    return AskEffect(**values | changes)


@pytest.mark.parametrize(
    ("flag", "word"),
    [
        ("is_closed", "closed"), ("is_closing_only", "closing only"), ("is_frozen", "frozen"),
        ("is_risk_reducing_only", "risk reducing only"), ("is_in_margin_call", "margin call"),
        ("is_in_day_trade_equity_maintenance_call", "day-trade equity call"),
    ],
)  # fmt: skip
def test_each_restriction_of_the_broker_has_a_word(flag: str, word: str) -> None:
    assert restrictions(TradingStatus(**FREE)) == ()
    assert restrictions(TradingStatus(**FREE | {flag: True})) == (word,)


def test_a_dry_run_is_the_order_that_would_be_sent() -> None:
    """Contracts of all units, the price per unit, a close with strict position effect."""
    order = preview_order(question("SPY   270115P00600000", "SPY   270115P00595000", purpose=Purpose.CLOSE))
    assert [leg.quantity for leg in order.legs] == [2, 2]
    assert order.price == Decimal("0.40")
    assert order.closing


def test_what_the_order_takes_is_positive() -> None:
    answer = OrderPreview.model_validate(
        {
            "order": {
                "account-number": ACCOUNT, "status": "Received", "order-type": "Limit", "time-in-force": "Day",
                "size": 1, "underlying-symbol": "SPY", "legs": [],
            },
            "buying-power-effect": {
                "change-in-margin-requirement": "500.0", "change-in-margin-requirement-effect": "Debit",
                "change-in-buying-power": "342.28", "change-in-buying-power-effect": "Debit",
                "current-buying-power": "1000.0", "current-buying-power-effect": "Credit",
                "new-buying-power": "657.72", "new-buying-power-effect": "Credit",
            },
        }
    )  # fmt: skip
    found = effect_of(question("SPY   270115P00600000", "SPY   270115P00595000"), answer, datetime.now(UTC))
    assert found.buying_power == Decimal("342.28")
    assert found.refusal == ""


async def test_the_broker_answers_through_the_executor_and_its_faults_are_counted(rig: Any) -> None:
    """A spread takes about its width less its credit; a refused one says why; five faults in a row are five."""
    executor = rig.executor
    heard: list[AccountStanding] = []

    async def on_standing(message: Any) -> None:
        heard.append(AccountStanding.model_validate_json(message.data))

    await raw_client(executor.broker).subscribe(subjects.account_standing(ACCOUNT), cb=on_standing)
    await eventually(lambda: heard and heard[-1].restrictions == (), timeout=20)
    assert heard[-1].errors_in_a_row == 0

    async def ask(asked: AskEffect) -> BrokerEffect:
        answer = await raw_client(executor.broker).request(
            subjects.ask_effect(ACCOUNT), asked.model_dump_json().encode(), timeout=10
        )
        return BrokerEffect.model_validate_json(answer.data)

    short, long = rig.legs()
    taken = await ask(question(short, long))
    width = abs(int(short[-8:]) - int(long[-8:])) / 1000
    assert taken.buying_power is not None, taken
    assert float(taken.buying_power) == pytest.approx(200 * (width - 0.40), abs=10)
    refused = await ask(question(short, "SPY   270115P00000123"))
    assert refused.buying_power is None
    assert refused.refusal or refused.failure
    standing = executor.standing
    for _ in range(5):
        standing.on_response(httpx.Response(503))
    assert standing.standing_of(rig.lane).errors_in_a_row == 5
    standing.on_response(httpx.Response(429))
    told = standing.standing_of(rig.lane)
    assert (told.errors_in_a_row, told.rate_limited) == (0, True)

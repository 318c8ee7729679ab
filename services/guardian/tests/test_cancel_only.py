"""What the guardian decides, and that its package cannot place an order."""

from __future__ import annotations

import ast
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import guardian
from guardian.domain import Stop, UnreadableOrderError, WorkingOrder, read_order, unwanted
from schemas.account import GateMode, KillScope

NOW = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
PACKAGE = Path(guardian.__file__).parent
MAY_IMPORT = {"chassis", "guardian", "schemas", "fastapi", "httpx", "nats", "prometheus_client", "psutil", "pydantic"}
ORDER_WORDS = ("dry-run", "price-effect", "time-in-force", "NewOrder", "to Open", "/complex-orders", "replace(")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_it_imports_nothing_that_can_place_an_order() -> None:
    """Neither the broker's client nor the ledger nor a strategy; of the schemas, no message of a trade."""
    import sys

    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                top = name.split(".")[0]
                assert top in MAY_IMPORT | set(sys.stdlib_module_names), f"{path.name}: {name}"
                assert name not in ("schemas.trade", "schemas.orders"), f"{path.name}: {name}"


def test_it_sends_nothing_to_the_broker_but_reads_cancellations_and_the_login() -> None:
    """Every request of broker.py is listed by its method; no other module talks to the broker."""
    tree = ast.parse((PACKAGE / "broker.py").read_text())
    asked, posts = set(), []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr == "_ask":
            asked.add(ast.literal_eval(node.args[0]))
        elif node.func.attr in ("post", "put", "patch"):
            posts.append(ast.literal_eval(node.args[0]))
    assert asked == {"GET", "DELETE"}
    assert posts == ["/oauth/token"]
    for path in modules():
        text = path.read_text()
        assert not [word for word in ORDER_WORDS if word in text], path.name


def row(**changes: object) -> dict[str, object]:
    legs = [{"action": "Buy to Open"}, {"action": "Sell to Open"}]
    return {"id": 7, "status": "Live", "underlying-symbol": "SPY", "legs": legs} | changes


@pytest.mark.parametrize(
    ("legs", "opens"),
    [
        ([{"action": "Buy to Close"}, {"action": "Sell to Close"}], False),
        ([{"action": "Buy to Close"}, {"action": "Sell to Open"}], True),
        ([{"action": "Buy"}], True),
        ([], True),
        (None, True),
        (["nonsense"], True),
    ],
)
def test_only_what_closes_with_every_leg_counts_as_closing(legs: object, opens: bool) -> None:
    """What cannot be read is taken for the more dangerous."""
    found = read_order(row(legs=legs), "A")
    assert found is not None
    assert found.opens is opens


def test_an_unheard_of_status_may_fill_and_an_order_without_a_number_is_loud() -> None:
    """Only a known end is an end."""
    assert read_order(row(status="Filled"), "A") is None
    assert read_order(row(status="Something New"), "A") is not None
    with pytest.raises(UnreadableOrderError):
        read_order(row(id=None), "A")
    with pytest.raises(UnreadableOrderError):
        read_order(row(id="7/../8"), "A")


def order(number: str, opens: bool, received_at: datetime | None = None) -> WorkingOrder:
    return WorkingOrder("A", number, "SPY", opens, received_at)


def stop(mode: GateMode, scope: KillScope = KillScope.ALL, value: str = "") -> Stop:
    return Stop(scope, value, mode, NOW, "test")


def test_flatten_takes_what_worked_and_leaves_the_orders_that_flatten() -> None:
    """A closing order that came after the stop stays; an opening one never does."""
    before, after = NOW - timedelta(seconds=5), NOW + timedelta(seconds=5)
    orders = [order("1", False, before), order("2", False, after), order("3", True, after), order("4", False)]
    assert [each.order_id for each in unwanted(orders, [stop(GateMode.FLATTEN)])] == ["3", "1", "4"]


def test_a_stop_of_a_strategy_is_left_to_the_executor() -> None:
    """The broker knows no strategy; cancelling everything instead would be another stop than the one asked for."""
    assert unwanted([order("1", True)], [stop(GateMode.CANCEL_WORKING, KillScope.STRATEGY, "default")]) == []


def test_an_order_that_several_stops_concern_is_cancelled_once() -> None:
    """Opening orders first."""
    stops = [stop(GateMode.REDUCE_ONLY), stop(GateMode.CANCEL_WORKING, KillScope.UNDERLYING, "SPY")]
    assert [each.order_id for each in unwanted([order("1", False), order("2", True)], stops)] == ["2", "1"]

"""Which intent an order belongs to; foreign orders, orders the ledger has forgotten, two orders with one name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from executor.domain.matching import BrokerOrder, match


def order(number: int, name: str | None = None, *, works: bool = True, replaces: int | None = None) -> BrokerOrder:
    return BrokerOrder(str(number), name, "SPY", works, str(replaces) if replaces is not None else None)


def test_the_name_comes_before_the_number() -> None:
    matched = match([order(1, "a")], ["a", "b"], {"1": "b"})
    assert matched.ours == {"1": "a"}


def test_an_order_without_a_name_is_known_by_its_number() -> None:
    matched = match([order(1)], ["a"], {"1": "a"})
    assert matched.ours == {"1": "a"}
    assert not matched.foreign


def test_an_order_of_somebody_else_is_foreign() -> None:
    matched = match([order(1), order(2, works=False)], ["a"], {})
    assert [each.order_id for each in matched.foreign] == ["1", "2"]
    assert [each.order_id for each in matched.foreign if each.may_fill] == ["1"]


def test_our_name_that_the_ledger_does_not_know_is_no_foreign_order() -> None:
    """The ledger is an old copy, or two installations trade in one account."""
    matched = match([order(1, "lost")], ["a"], {})
    assert [each.order_id for each in matched.orphaned] == ["1"]
    assert not matched.foreign


def test_two_orders_with_one_name_leave_the_one_the_ledger_holds() -> None:
    assert match([order(5, "a"), order(7, "a")], ["a"], {"7": "a"}).surplus == {"a": ("5",)}
    assert match([order(10, "a"), order(9, "a")], ["a"], {}).surplus == {"a": ("10",)}


def test_an_order_that_was_edited_by_hand_is_one_order() -> None:
    assert not match([order(5, "a"), order(7, "a", replaces=5)], ["a"], {"5": "a"}).surplus


@given(st.lists(st.tuples(st.integers(1, 30), st.sampled_from(["a", "b", "x", None])), unique_by=lambda row: row[0]))
def test_every_order_is_in_exactly_one_class_and_the_order_of_the_list_does_not_matter(
    rows: list[tuple[int, str | None]],
) -> None:
    orders = [order(number, name) for number, name in rows]
    matched, turned = (match(each, ["a", "b"], {"3": "a"}) for each in (orders, orders[::-1]))
    classes = [set(matched.ours), {each.order_id for each in matched.foreign}]
    classes.append({each.order_id for each in matched.orphaned})
    assert sum(map(len, classes)) == len(orders) == len(set().union(*classes))
    assert matched.ours == turned.ours
    assert matched.surplus == turned.surplus

"""Value at risk, stress, greeks and buying power of the account, against independent figures."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from risk_cases import ACCOUNT, HELD_SPREAD, LONG, SHORT, D, case, market, occ, order

from optionmath import blackscholes
from optionmath.value_at_risk import student_t_scenarios
from optionmath.value_at_risk import value_at_risk as library_value_at_risk
from risk.domain import revaluation
from risk.domain.buying_power import disagreement_pct, larger, own_effect
from risk.domain.decision import decide
from risk.domain.facts import Market
from risk.domain.revaluation import SCENARIOS, SEED, Block, book_of, greeks, model_price, value_at_risk, worst_stress
from schemas.symbols import OptionType

QQQ_LEGS = (occ("QQQ", 500), occ("QQQ", 495))


def test_value_at_risk_is_that_of_the_library_on_the_same_book_and_scenarios() -> None:
    """No choice of fills: one holding, revalued in full."""
    seen = replace(market(), volatility={"SPY": 0.18}, betas={"SPY": 1.0})
    book = book_of([Block("held", ((SHORT, -10), (LONG, 10)))], seen)
    assert book is not None
    scenarios = student_t_scenarios({"SPY": 1.0}, {"SPY": 0.0}, 0.18, count=SCENARIOS, seed=SEED)
    expected = library_value_at_risk(book, scenarios, contributions=False).value_at_risk
    held = tuple(replace(each, signed_quantity=each.signed_quantity * 10) for each in HELD_SPREAD)
    assert value_at_risk(replace(ACCOUNT, held=held), seen) == pytest.approx(expected, rel=1e-12)
    assert expected > 0


@given(st.lists(st.sampled_from((1, 2, 5)), max_size=3), st.booleans())
@settings(max_examples=20, deadline=None)
def test_no_choice_of_fills_has_a_greater_value_at_risk(sizes: list[int], hedge: bool) -> None:
    """What may fill counts where it loses; every subset that is filled for certain stays below."""
    orders = tuple(
        order(legs=((QQQ_LEGS[0], side), (QQQ_LEGS[1], -side)), quantity=size)
        for size, side in ((size, 1 if hedge and n == 0 else -1) for n, size in enumerate(sizes))
    )
    seen = market(*QQQ_LEGS)
    account = replace(ACCOUNT, held=HELD_SPREAD, orders=orders)
    bound = value_at_risk(account, seen)
    assert bound is not None
    for chosen in range(2 ** len(orders)):
        filled = [each for n, each in enumerate(orders) if chosen >> n & 1]
        legs = [(symbol, count * each.quantity) for each in filled for symbol, count in each.legs]
        rows = [*((each.occ_symbol, each.signed_quantity) for each in HELD_SPREAD), *legs]
        book = book_of([Block("all", tuple(rows))], seen)
        assert book is not None
        scenarios = revaluation.scenarios_of(book.underlyings, seen)
        assert scenarios is not None
        if len(book.underlyings) == 2 or not orders:
            truth = library_value_at_risk(book, scenarios, contributions=False).value_at_risk
            assert truth <= bound + 1e-6


def test_what_cannot_be_valued_has_no_value_at_risk() -> None:
    account = replace(ACCOUNT, held=HELD_SPREAD)
    assert value_at_risk(account, Market()) is None
    assert value_at_risk(account, replace(market(), betas={})) is None
    assert value_at_risk(account, replace(market(), volatility={})) is None
    assert worst_stress(account, Market()) is None
    assert value_at_risk(ACCOUNT, Market()) == 0.0


def test_the_same_book_has_the_same_value_at_risk() -> None:
    account = replace(ACCOUNT, held=HELD_SPREAD)
    assert value_at_risk(account, market()) == value_at_risk(account, market())


def test_the_worst_stress_of_a_put_spread_is_a_fall_and_within_its_width() -> None:
    found = worst_stress(replace(ACCOUNT, held=HELD_SPREAD), market())
    assert found is not None
    assert found.market_move == -0.20
    assert 0 < found.loss <= 500


def test_delta_is_weighted_by_beta_and_price() -> None:
    """100 × −0.30 × 1.5 × 520 / 620 SPY shares of one QQQ put."""
    seen = replace(market(*QQQ_LEGS), betas={"SPY": 1.0, "QQQ": 1.5})
    delta, vega = greeks([(QQQ_LEGS[0], 1)], seen)
    assert delta == pytest.approx(100 * -0.30 * 1.5 * 520 / 620)
    assert vega == pytest.approx(75.0)


def test_the_model_price_is_black_scholes_with_early_exercise() -> None:
    """Within a cent or two of the European value: the right to exercise early adds little out of the money."""
    european = [float(blackscholes.price(620.0, strike, 52 / 365, 0.20, 0.04, 0.0, False)) for strike in (600.0, 595.0)]
    found = model_price(((SHORT, -1), (LONG, 1)), market())
    assert found == pytest.approx(european[0] - european[1], abs=0.05)


def test_own_buying_power_of_a_spread_is_its_width_less_its_credit() -> None:
    assert case().own_effect == D("340.00")


def test_own_buying_power_counts_what_is_held_in_the_underlying() -> None:
    """A call spread beside a put spread of the same width and expiration needs nothing but frees its credit."""
    calls = ((occ("SPY", 640, OptionType.CALL), -1), (occ("SPY", 645, OptionType.CALL), 1))
    wanted = order(underlying_symbol="SPY", legs=calls, worst_price=D("1.00"))
    seen = market(*(symbol for symbol, _ in calls))
    assert own_effect(wanted, ACCOUNT, seen) == D("400.00")
    assert own_effect(wanted, replace(ACCOUNT, held=HELD_SPREAD), seen) == D(0)


def test_buying_power_without_a_mark_is_not_known() -> None:
    assert own_effect(order(), ACCOUNT, Market()) is None


@pytest.mark.parametrize(
    ("own", "broker", "pct", "counts"),
    [
        (D(340), D(400), D(15), D(400)), (D(400), D(340), D(15), D(400)), (D(0), D(0), D(0), D(0)),
        (D(340), None, None, D(340)), (None, D(340), None, None),
    ],
)  # fmt: skip
def test_the_larger_buying_power_counts(
    own: Decimal | None, broker: Decimal | None, pct: Decimal | None, counts: Decimal | None
) -> None:
    assert disagreement_pct(own, broker) == pct
    assert larger(own, broker) == counts


def test_the_size_the_hard_limits_allow_is_bounded_by_the_first_of_them() -> None:
    """2 % of net liq is 2,000: five spreads that can lose 340."""
    tried = case(trade={"quantity": 1})
    assert tried.max_loss == D(340)
    size = next(each for each in decide(tried).controls if each.rule == "size_max")
    assert (size.value, size.limit) == (1.0, 5.0)

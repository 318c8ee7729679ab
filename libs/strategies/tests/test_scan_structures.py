"""Structures beyond credit verticals are judged by the same rules, counted, ranked and written like the others."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pytest

from optionmath.blackscholes import greeks, price
from optionmath.sessions import years_to_expiration
from schemas.symbols import OptionSymbol, OptionType
from schemas.trade import OrderAction, SpreadType
from strategies.chain import ChainSnapshot, Facts
from strategies.rules import RuleSet
from strategies.scan import scan

NOW = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
EXPIRATION = date(2026, 12, 24)


def chain() -> ChainSnapshot:
    """A liquid chain with skew, one expiration, 31 strikes around 100."""
    strikes, is_call = np.repeat(100.0 + np.arange(-15, 16), 2), np.tile([True, False], 31)
    years = np.full(62, years_to_expiration(NOW, EXPIRATION))
    sigma = 0.25 * (1 - 0.4 * np.log(strikes / 100))
    value = price(100.0, strikes, years, sigma, 0.04, 0.0, is_call)
    found = greeks(100.0, strikes, years, sigma, 0.04, 0.0, is_call)
    occ = [
        OptionSymbol("SPY", EXPIRATION, OptionType.CALL if call else OptionType.PUT, Decimal(str(k))).occ
        for k, call in zip(strikes, is_call, strict=True)
    ]
    full = np.full(62, 1.0)
    return ChainSnapshot(
        "SPY", 100.0, 0.04, occ, np.full(62, EXPIRATION, dtype="datetime64[D]"), np.full(62, 30), years, strikes,
        is_call, np.round(value - 0.01, 4), np.round(value + 0.01, 4), found.delta, found.gamma, found.theta,
        found.vega, full * 5000, full * 500, full * 0, Facts(sector="ETF", beta=1.0, historical_volatility=0.2),
    )  # fmt: skip


def rules(*kinds: SpreadType, **change: float) -> RuleSet:
    loose = {"pop_min": 0.0, "credit_to_max_loss_min": 0.0, "max_loss_pct_of_net_liq": 20.0}
    return RuleSet(strategies=kinds, **{**loose, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "debit"),
    [
        (SpreadType.CALL_DEBIT_SPREAD, True),
        (SpreadType.PUT_DEBIT_SPREAD, True),
        (SpreadType.LONG_CALL_BUTTERFLY, True),
        (SpreadType.CASH_SECURED_PUT, False),
        (SpreadType.IRON_BUTTERFLY, False),
    ],
)
def test_a_structure_passes_with_a_rule_set_that_admits_it(kind: SpreadType, debit: bool) -> None:
    """Legs, price, loss and limit agree: what is paid is what can be lost, and the limit lies on the right side."""
    result = scan([chain()], rules(kind), net_liq=100_000, now=NOW, spy_price=100.0)
    assert result.by_kind == {kind: result.evaluated}
    assert result.passed
    for each in result.passed:
        assert each.spread_type is kind
        assert each.passed
        assert (each.expected_fill_price < 0) == debit
        assert (each.limit_price < 0) == debit
        assert each.limit_price <= each.expected_fill_price + each.tick_size
        assert each.max_loss > 0
        if debit:
            assert each.max_loss == -each.expected_fill_price * 100 * each.quantity
            assert each.limit_price >= each.natural_price - 2 * each.tick_size
    scores = [round(each.score or 0.0, 6) for each in result.passed]
    assert scores == sorted(scores, reverse=True)


def test_probability_of_a_debit_spread_is_that_of_ending_beyond_its_breakeven() -> None:
    """Against the credit spread of the same strikes: the same payoff, so nearly the same probability."""
    narrow = {"width_max": 1.0, "short_delta_max": 0.95, "passed_per_expiration": 100}
    debit = scan([chain()], rules(SpreadType.CALL_DEBIT_SPREAD, **narrow), net_liq=100_000, now=NOW).passed
    credit = scan([chain()], rules(SpreadType.PUT_CREDIT_SPREAD, **narrow), net_liq=100_000, now=NOW)
    by_strikes = {
        tuple(sorted(leg.occ_symbol[13:] for leg in each.legs)): each.pop
        for each in [*credit.passed, *credit.near_misses]
    }
    shared = [each for each in debit if tuple(sorted(leg.occ_symbol[13:] for leg in each.legs)) in by_strikes]
    assert shared
    for each in shared:
        other = by_strikes[tuple(sorted(leg.occ_symbol[13:] for leg in each.legs))]
        assert each.pop == pytest.approx(other, abs=0.03)


def test_the_default_rules_refuse_debits_and_unlimited_risk_by_arithmetic() -> None:
    """No credit, no share of the loss: counted by that rule; unlimited risk is never shown."""
    default = RuleSet(strategies=(SpreadType.CALL_DEBIT_SPREAD, SpreadType.SHORT_STRANGLE))
    result = scan([chain()], default, net_liq=100_000, now=NOW)
    assert result.passed_count == 0
    assert result.rejected_by_rule["credit_to_max_loss_min"] == result.evaluated > 0
    strangles = result.by_kind[SpreadType.SHORT_STRANGLE]
    assert result.rejected_by_rule["max_loss_pct_of_net_liq"] >= strangles > 0
    assert all(each.spread_type is SpreadType.CALL_DEBIT_SPREAD for each in result.near_misses)
    for each in result.near_misses:
        assert {leg.action for leg in each.legs} == {OrderAction.BUY_TO_OPEN, OrderAction.SELL_TO_OPEN}


def test_loading_the_scan_loads_neither_its_kernels_nor_a_solver() -> None:
    """A part that only reads a smile must not pay for the compiled scan."""
    code = "import sys, strategies.scan; print(*(name in sys.modules for name in sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "scipy.optimize", "strategies.kernels.groups"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "False"]

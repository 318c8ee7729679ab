"""The scan judges every structure by every rule, explains each verdict, and chooses the basket exactly."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.blackscholes import greeks, price
from optionmath.sessions import years_to_expiration
from schemas.symbols import OptionSymbol, OptionType, parse_occ
from schemas.trade import Candidate, SpreadType
from strategies.basket import choose
from strategies.chain import ChainSnapshot, Facts
from strategies.rules import RuleSet
from strategies.scan import scan

NOW = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
EXPIRATION = date(2026, 12, 24)


def chain(
    symbol: str = "SPY",
    *,
    spot: float = 100.0,
    sigma: float = 0.25,
    half_spread: float = 0.02,
    step: float = 1.0,
    facts: Facts | None = None,
    expiration: date = EXPIRATION,
) -> ChainSnapshot:
    """A liquid chain with skew, one expiration, 31 strikes."""
    strikes = np.repeat(spot + step * np.arange(-15, 16), 2)
    is_call = np.tile([True, False], 31)
    years = np.full(62, years_to_expiration(NOW, expiration))
    volatility = sigma * (1 - 0.4 * np.log(strikes / spot))
    value = price(spot, strikes, years, volatility, 0.04, 0.0, is_call)
    found = greeks(spot, strikes, years, volatility, 0.04, 0.0, is_call)
    occ = [
        OptionSymbol(symbol, expiration, OptionType.CALL if call else OptionType.PUT, Decimal(str(k))).occ
        for k, call in zip(strikes, is_call, strict=True)
    ]
    return ChainSnapshot(
        symbol, spot, 0.04, occ, np.full(62, expiration, dtype="datetime64[D]"),
        np.full(62, (expiration - NOW.date()).days), years, strikes, is_call,
        np.round(value - half_spread, 4), np.round(value + half_spread, 4),
        found.delta, found.gamma, found.theta, found.vega,
        np.full(62, 5000.0), np.full(62, 500.0), np.zeros(62),
        facts or Facts(sector="ETF", beta=1.0, historical_volatility=sigma * 0.6),
    )  # fmt: skip


def universe() -> list[ChainSnapshot]:
    names = {"SPY": "ETF", "QQQ": "ETF", "AAPL": "Tech", "JPM": "Financials", "XOM": "Energy", "KO": "Staples"}
    return [
        chain(name, facts=Facts(sector=sector, beta=1.0, historical_volatility=0.15)) for name, sector in names.items()
    ]


def brute_force(snapshot: ChainSnapshot, rules: RuleSet) -> set[tuple[str, ...]]:
    """Every structure of the rule set by nested loops."""
    sides: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    usable = [row for row in range(len(snapshot.strike)) if snapshot.usable[row]]
    for short, long in itertools.permutations(usable, 2):
        call = bool(snapshot.is_call[short])
        if call != bool(snapshot.is_call[long]):
            continue
        distance = (snapshot.strike[long] - snapshot.strike[short]) * (1 if call else -1)
        delta = abs(snapshot.delta[short])
        if 0 < distance <= rules.width_max and rules.short_delta_min <= delta <= rules.short_delta_max:
            sides[call].append((short, long))
    found = {tuple(snapshot.occ_symbols[row] for row in pair) for side in sides.values() for pair in side}
    for put, call in itertools.product(sides[False], sides[True]):
        if snapshot.strike[put[0]] < snapshot.strike[call[0]]:
            found.add(tuple(snapshot.occ_symbols[row] for row in (*put, *call)))
    return found


def test_enumeration_equals_brute_force() -> None:
    """The columns hold exactly the structures that nested loops find."""
    rules = RuleSet(width_max=3.0, short_delta_min=0.15, near_misses=500)
    snapshot = chain()
    result = scan([snapshot], rules, net_liq=100_000, now=NOW)
    expected = brute_force(snapshot, rules)
    assert result.evaluated == len(expected)
    seen = [tuple(leg.occ_symbol for leg in each.legs) for each in [*result.passed, *result.near_misses]]
    assert set(seen) <= expected
    assert len(seen) == len(set(seen))


def test_every_candidate_carries_every_rule_and_agrees_with_its_own_verdicts() -> None:
    """Passed means each rule passed; a margin has the sign of its verdict."""
    result = scan(universe(), RuleSet(), net_liq=100_000, now=NOW, spy_price=100.0)
    assert result.passed
    assert result.near_misses
    for each in [*result.passed, *result.near_misses]:
        assert each.passed == all(rule.passed for rule in each.rules)
        assert len({rule.rule for rule in each.rules}) == len(each.rules) == 9
        for rule in each.rules:
            if rule.margin is not None and abs(rule.margin) > 1e-12:
                assert rule.passed == (rule.margin > 0), rule
    assert [each.rank for each in result.passed] == list(range(1, len(result.passed) + 1))


def test_counts_per_rule_add_up() -> None:
    """What passed and what a single rule refused never exceed what was judged."""
    result = scan([chain()], RuleSet(pop_min=0.7), net_liq=100_000, now=NOW)
    assert result.passed_count < result.evaluated
    assert all(0 < count <= result.evaluated for count in result.rejected_by_rule.values())
    assert all(count <= result.rejected_by_rule[rule] for rule, count in result.only_rejected_by_rule.items())


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"open_interest": np.full(62, 10.0)}, "open_interest_min"),
        ({"open_interest": np.full(62, np.nan)}, "open_interest_min"),
        ({"volume": np.zeros(62)}, "volume_min"),
        ({"quote_age_seconds": np.full(62, 601.0)}, "quote_max_age_seconds"),
        ({"facts": Facts(beta=1.0, earnings_date=date(2026, 12, 10))}, "days_clear_of_event_min"),
    ],
)
def test_a_failing_fact_refuses_everything_by_its_own_rule(change: dict[str, object], rule: str) -> None:
    """Thin, missing, stale and before-earnings chains pass nothing, and the count says which rule."""
    from dataclasses import replace

    result = scan([replace(chain(), **change)], RuleSet(), net_liq=100_000, now=NOW)  # type: ignore[arg-type]
    assert result.passed_count == 0
    assert result.rejected_by_rule[rule] == result.evaluated
    assert result.only_rejected_by_rule[rule] > 0


def test_an_event_after_expiration_objects_to_nothing() -> None:
    """Earnings the day after the expiration are outside the trade; past ones too."""
    for day in (date(2026, 12, 25), date(2026, 11, 1)):
        result = scan([chain(facts=Facts(beta=1.0, earnings_date=day))], RuleSet(), net_liq=100_000, now=NOW)
        assert "days_clear_of_event_min" not in result.rejected_by_rule


def test_without_net_liq_nothing_passes_but_the_reasons_are_there() -> None:
    """A limit that cannot be computed is not met."""
    result = scan([chain()], RuleSet(), net_liq=None, now=NOW)
    assert result.passed_count == 0
    assert result.rejected_by_rule["max_loss_pct_of_net_liq"] == result.evaluated


def test_bad_quotes_are_counted_and_left_out() -> None:
    """NaN, crossed, locked, one-sided and zero quotes are never part of a structure."""
    from dataclasses import replace

    good = chain()
    bid, ask = good.bid.copy(), good.ask.copy()
    bid[0], (bid[2], ask[2]), (bid[4], ask[4]), bid[6], (bid[8], ask[8]) = np.nan, (5, 4), (5, 5), 0, (0, 0)
    result = scan([replace(good, bid=bid, ask=ask)], RuleSet(), net_liq=100_000, now=NOW)
    assert result.data_quality == {"not_a_number": 1, "crossed": 1, "locked": 1, "one_sided": 1, "zero": 1}
    bad = {good.occ_symbols[row] for row in (0, 2, 4, 6, 8)}
    assert not bad & {leg.occ_symbol for each in [*result.passed, *result.near_misses] for leg in each.legs}


def test_a_price_that_disagrees_with_its_own_smile_is_refused() -> None:
    """A stale leg looks like an edge; the fair-value rule names it."""
    from dataclasses import replace

    good = chain()
    bid, ask = good.bid.copy(), good.ask.copy()
    row = int(np.nonzero((good.strike == 94) & ~good.is_call)[0][0])
    bid[row] += 1.0
    ask[row] += 1.0
    result = scan([replace(good, bid=bid, ask=ask)], RuleSet(), net_liq=100_000, now=NOW)
    stale = good.occ_symbols[row]
    assert result.rejected_by_rule["fair_value_gap_pct_max"] > 0
    assert not any(leg.occ_symbol == stale for each in result.passed for leg in each.legs)


def test_the_limit_price_is_the_last_tick_at_which_the_filters_hold() -> None:
    """One tick lower and a price-dependent rule would fail; at the limit all hold."""
    rules = RuleSet()
    for each in scan([chain()], rules, net_liq=100_000, now=NOW).passed[:20]:
        loss = each.width - each.limit_price
        assert each.limit_price <= each.expected_fill_price + each.tick_size
        assert each.limit_price / loss >= Decimal(str(rules.credit_to_max_loss_min))
        assert loss * 100 <= 500


def test_max_loss_and_breakevens_are_exact() -> None:
    """Dollars follow from strikes and credit without rounding."""
    for each in scan([chain()], RuleSet(), net_liq=100_000, now=NOW).passed[:20]:
        assert each.max_loss == (each.width - each.expected_fill_price) * 100 * each.quantity
        assert each.max_loss <= 500
        short = parse_occ(each.legs[0].occ_symbol)
        if each.spread_type is SpreadType.PUT_CREDIT_SPREAD:
            assert each.breakevens == (short.strike - each.expected_fill_price,)
        assert len(each.thesis.split()) <= 30


def test_score_is_not_above_zero_when_the_forecast_is_the_market() -> None:
    """With realised equal to implied volatility there is no edge, only costs."""
    fair = chain(facts=Facts(beta=1.0, historical_volatility=None), half_spread=0.01)
    result = scan([fair], RuleSet(), net_liq=100_000, now=NOW)
    assert result.passed
    assert all(each.score is not None and each.score <= 0.02 for each in result.passed)
    assert all(each.expected_value is None for each in result.passed)


def test_lower_forecast_volatility_scores_higher() -> None:
    """Selling premium is worth more when less movement is expected."""
    scores = []
    for realised in (0.30, 0.20, 0.10):
        result = scan(
            [chain(facts=Facts(beta=1.0, historical_volatility=realised))], RuleSet(), net_liq=100_000, now=NOW
        )
        condors = [each.score for each in result.passed if each.spread_type is SpreadType.IRON_CONDOR and each.score]
        scores.append(max(condors))
    assert scores == sorted(scores)


def test_basket_has_five_underlyings_and_keeps_its_limits() -> None:
    """One trade an underlying, two a sector, delta and vega inside, exact at least as good as greedy."""
    result = scan(universe(), RuleSet(), net_liq=100_000, now=NOW, spy_price=100.0)
    basket = result.basket
    assert len(basket.chosen) == 5
    assert len({each.underlying_symbol for each in basket.chosen}) == 5
    assert basket.delta is not None
    assert abs(basket.delta) <= 30
    assert basket.vega is not None
    assert basket.vega >= -50
    assert basket.score is not None
    assert basket.greedy_score is None or basket.score >= basket.greedy_score - 1e-9


def test_fewer_than_five_gives_the_message_and_nothing_to_execute() -> None:
    """The exact words operators look for."""
    result = scan([chain()], RuleSet(), net_liq=100_000, now=NOW, spy_price=100.0)
    assert result.passed
    assert result.basket.chosen == ()
    assert result.basket.message == "Fewer than 5 trades meet criteria, do not execute."


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-50, 50), st.integers(-40, 40), st.integers(0, 4), st.integers(0, 2)),
        min_size=4,
        max_size=9,
    )
)
def test_basket_is_the_best_of_all_sets(rows: list[tuple[int, int, int, int]]) -> None:
    """Against every combination of small candidate lists."""
    template = (
        scan([chain()], RuleSet(), net_liq=100_000, now=NOW, spy_price=100.0).passed[0]
        if not _TEMPLATE
        else _TEMPLATE[0]
    )
    _TEMPLATE[:] = [template]
    candidates = [
        template.model_copy(
            update={"candidate_id": str(i), "score": score / 100, "beta_weighted_delta": float(delta), "vega": -1.0,
                    "underlying_symbol": f"U{symbol}", "sector": f"S{sector}"}
        )
        for i, (score, delta, symbol, sector) in enumerate(rows)
    ]  # fmt: skip
    rules = RuleSet(basket_size=3)
    best: float | None = None
    for combination in itertools.combinations(candidates, 3):
        sectors = [each.sector for each in combination]
        if (
            len({each.underlying_symbol for each in combination}) == 3
            and max(sectors.count(sector) for sector in sectors) <= 2
            and abs(sum(each.beta_weighted_delta or 0 for each in combination)) <= 30
        ):
            total = sum(each.score or 0 for each in combination)
            best = total if best is None else max(best, total)
    found = choose(candidates, rules, 100_000)
    assert (found.score is None) == (best is None)
    if best is not None:
        assert found.score == pytest.approx(best)


_TEMPLATE: list[Candidate] = []

"""From a scan to the cycle and the proposals of its basket."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chassis.settings import SettingsError
from scanner.domain import facts_of, proposal, scan_cycle
from scanner.service import read_rules
from scanner.settings import ScannerSettings
from schemas.market import MarketMetrics
from schemas.trade import Candidate, Leg, OrderAction, Purpose, SpreadType
from strategies.basket import Basket
from strategies.rules import RuleSet
from strategies.scan import ScanResult

NOW = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)


def candidate(name: str, **changes: object) -> Candidate:
    values: dict[str, object] = {
        "ts_event": NOW, "candidate_id": name, "cycle_id": "c1", "underlying_symbol": "SPY",
        "spread_type": SpreadType.PUT_CREDIT_SPREAD,
        "legs": (Leg(occ_symbol="SPY   261218P00600000", action=OrderAction.SELL_TO_OPEN, quantity=1),),
        "quantity": 1, "expiration": "2026-12-18", "dte": 24, "sector": "ETF", "mid_price": "1.255",
        "natural_price": "1.20", "expected_fill_price": "1.24", "limit_price": "1.22", "tick_size": "0.01",
        "width": "5", "max_profit": "124", "max_loss": "376", "breakevens": ("598.76",), "pop": 0.7,
        "underlying_price": "610", "passed": True, "rules": (),
    }  # fmt: skip
    return Candidate.model_validate(values | changes)


def test_the_cycle_marks_the_basket_and_keeps_it_even_past_the_bound() -> None:
    passed = [candidate(f"p{n}") for n in range(60)]
    result = ScanResult(RuleSet(), NOW, 100_000.0, passed=passed, passed_count=60)
    result.near_misses = [candidate("m1", passed=False)]
    result.basket = Basket(chosen=(passed[55], passed[3]))
    cycle = scan_cycle(result, "c1", 812.0, executed=True)
    shown = {each.candidate_id: each for each in cycle.candidates}
    assert shown["p55"].in_basket
    assert shown["p3"].in_basket
    assert not shown["p0"].in_basket
    assert "p59" not in shown
    assert "m1" in shown
    assert cycle.passed == 60


def test_a_proposal_starts_at_mid_on_the_tick_and_ends_at_the_limit() -> None:
    made = proposal(candidate("p1"), "5WT00001", "default", "scanner", NOW, 30)
    assert (str(made.start_price), str(made.limit_price)) == ("1.26", "1.22")
    assert made.purpose is Purpose.OPEN
    assert made.valid_until == NOW + timedelta(seconds=30)


def test_the_same_candidate_is_the_same_proposal_for_an_account() -> None:
    def identity(account: str) -> str:
        return proposal(candidate("p1"), account, "default", "scanner", NOW, 30).proposal_id

    assert identity("A") == identity("A") != identity("B")


def test_a_start_below_the_limit_is_raised_to_it() -> None:
    made = proposal(candidate("p1", mid_price="1.10"), "A", "default", "scanner", NOW, 30)
    assert made.start_price == made.limit_price


def test_facts_that_are_not_known_stay_unknown() -> None:
    assert facts_of(None, "ETF").beta is None
    facts = facts_of(MarketMetrics(ts_event=NOW, underlying_symbol="SPY", beta=1.0), "ETF")
    assert (facts.sector, facts.beta, facts.iv_rank) == ("ETF", 1.0, None)


def test_rules_come_by_name_or_from_a_file_and_a_wrong_one_is_explained(tmp_path: Path) -> None:
    """The line, the name and the range are in the message."""
    path = tmp_path / "rules.toml"
    path.write_text("pop_min = 0.7\n")
    assert read_rules(ScannerSettings()) == RuleSet()
    assert read_rules(ScannerSettings(rules="strangle")).name == "strangle"
    assert read_rules(ScannerSettings(rules=str(path))).pop_min == 0.7
    path.write_text("# mine\npop_mim = 0.7\n")
    with pytest.raises(SettingsError, match=r"line 2: pop_mim is not a setting: did you mean pop_min"):
        read_rules(ScannerSettings(rules=str(path)))
    path.write_text("pop_min = 7\n")
    with pytest.raises(SettingsError, match="line 1: pop_min = 7 is refused: allowed is 0 to 1"):
        read_rules(ScannerSettings(rules=str(path)))
    with pytest.raises(SettingsError, match=r"defualt: cannot be read .*did you mean default"):
        read_rules(ScannerSettings(rules="defualt"))

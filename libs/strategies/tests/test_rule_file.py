"""Rule files: what is wrong is said with line, name, value and range, all at once; the shipped sets are as meant."""

from __future__ import annotations

import tomllib
import zipfile
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.trade import SpreadType
from strategies.rule_file import (
    RuleFileError,
    allowed,
    contradictions,
    load,
    load_shipped,
    render,
    shipped,
    shipped_text,
)
from strategies.rules import RuleSet
from strategies.structures import CATALOGUE


def problems(text: str) -> list[str]:
    with pytest.raises(RuleFileError) as caught:
        load(text)
    return [str(each) for each in caught.value.problems]


def test_the_default_file_is_the_default_rule_set() -> None:
    """One truth: the file a user copies says what the program does."""
    assert load_shipped("default") == RuleSet()


def test_the_default_file_names_every_setting_with_its_range() -> None:
    """Nothing is hidden from the user, and the comments are those of the rule set."""
    text = shipped_text("default")
    assert set(tomllib.loads(text)) == set(RuleSet.model_fields)
    assert text.endswith(render(RuleSet()))
    assert "pop_min = 0.65  # 0 to 1" in text


def test_rule_sets_are_shipped_in_the_package() -> None:
    """They are read from wherever the package is installed."""
    assert shipped() == ("default", "covered_call", "debit", "strangle", "wheel")
    for name in shipped():
        assert (resources.files("strategies") / "rule_sets" / f"{name}.toml").is_file()


def test_a_wheel_of_the_library_holds_the_rule_sets(tmp_path: Path) -> None:
    """The build takes the files along."""
    builder = pytest.importorskip("hatchling.build", reason="hatchling is not installed")
    root = Path(__file__).parents[1]
    if not (root / "pyproject.toml").exists():
        pytest.skip("the library is installed, not checked out")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        name = builder.build_wheel(str(tmp_path))
    held = zipfile.ZipFile(tmp_path / name).namelist()
    assert {f"strategies/rule_sets/{each}.toml" for each in shipped()} <= set(held)


@pytest.mark.parametrize("name", [each for each in shipped() if each != "default"])
def test_other_shipped_sets_differ_where_the_default_excludes_them(name: str) -> None:
    """Named as the file, without contradictions, for structures that can be built, and not by the credit filter."""
    rules = load_shipped(name)
    assert rules.name == name
    assert contradictions(rules) == []
    assert all(each.value in CATALOGUE for each in rules.strategies)
    assert rules.credit_to_max_loss_min < RuleSet().credit_to_max_loss_min
    assert shipped_text(name).startswith("# ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\npop_min = 65", ["line 2: pop_min = 65 is refused: allowed is 0 to 1"]),
        ("pop_mn = 0.6", ["line 1: pop_mn is not a setting: did you mean pop_min?"]),
        ("# a\n\nbasket_size = 2.5", ["line 3: basket_size = 2.5 is refused: allowed is whole numbers, 1 to 50"]),
        ('pop_min = "0.6"', ['line 1: pop_min = "0.6" is refused: allowed is 0 to 1']),
        ("pop_min = true", ["line 1: pop_min = true is refused"]),
        ("width_max = nan", ["line 1: width_max = nan is refused: allowed is above 0"]),
        ("require_full_basket = 1", ["line 1: require_full_basket = 1 is refused: allowed is true or false"]),
        ('stop_basis = "price"', ['allowed is "price_multiple" or "loss_multiple"']),
        ('strategies = ["iron_condr"]', ["line 1: strategies holds 'iron_condr'"]),
        ('strategies = "iron_condor"', ["is refused: allowed is names of structures"]),
        ("name = 'x'\n[exits]\nstop_multiple = 3", ["line 2: [exits] is a section"]),
        ("name = 'x'\npop_min = = 2", ["line 2: this is not TOML"]),
        ("dte_max = 30\ndte_min = 40", ["line 2: dte_min = 40 is above dte_max = 30"]),
        ("stop_multiple = 1.0", ["line 1: stop_multiple = 1.0 with stop_basis = 'price_multiple'"]),
    ],
)  # fmt: skip
def test_a_bad_value_is_named_with_line_and_range(text: str, expected: list[str]) -> None:
    """The user can find and mend it."""
    found = problems(text)
    assert len(found) == len(expected)
    for said, wanted in zip(found, expected, strict=True):
        assert wanted in said


def test_every_problem_is_told_at_once_in_the_order_of_the_file() -> None:
    """Not one a try."""
    found = problems("pop_min = 2\nfoo = 1\nsector_max = 0\n")
    assert [each.split(":")[0] for each in found] == ["line 1", "line 2", "line 3"]


def test_a_file_on_disk_and_one_that_is_missing(tmp_path: Path) -> None:
    """The message names the file; a missing one says what is shipped."""
    path = tmp_path / "mine.toml"
    path.write_text("name = 'mine'\npop_min = 0.7\n")
    assert load(path) == load(str(path)) == RuleSet(name="mine", pop_min=0.7)
    path.write_text("pop_min = 7\n")
    with pytest.raises(RuleFileError, match=r"mine\.toml: line 1"):
        load(path)
    with pytest.raises(RuleFileError, match="did you mean default"):
        load("defalt")
    with pytest.raises(KeyError, match="covered_call"):
        load_shipped("covered_cal")


def test_an_empty_text_is_the_default() -> None:
    """What a file leaves out keeps its default."""
    assert load("\n") == RuleSet()


def test_ranges_in_words() -> None:
    """For the page and for messages."""
    assert allowed("pop_min") == "0 to 1"
    assert allowed("max_loss_pct_of_net_liq") == "above 0, up to 100"
    assert allowed("basket_vega_min") == "0 or less"
    assert allowed("version") == "whole numbers, 1 or more"


@settings(max_examples=60, deadline=None)
@given(
    pop=st.floats(0, 1),
    dte=st.integers(0, 45),
    name=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20),
    strategies=st.lists(st.sampled_from(list(SpreadType)), max_size=5, unique=True),
    full=st.booleans(),
)
def test_a_rule_set_that_is_written_is_read_back(
    pop: float, dte: int, name: str, strategies: list[SpreadType], full: bool
) -> None:
    """Exactly."""
    rules = RuleSet(name=name, pop_min=pop, dte_min=dte, strategies=tuple(strategies), require_full_basket=full)
    assert load(render(rules)) == rules

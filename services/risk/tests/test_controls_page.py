"""The page of controls is what the controls are."""

from __future__ import annotations

from pathlib import Path

from risk.controls_page import ELSEWHERE, render
from risk.domain.decision import CONTROLS

PAGE = Path(__file__).parents[3] / "docs" / "risk-controls.md"


def test_the_page_is_current() -> None:
    """`python -m risk.controls_page > docs/risk-controls.md` after a control or a limit changed."""
    assert PAGE.read_text() == render()


def test_every_point_of_the_checklist_is_kept_somewhere() -> None:
    """36 points: by a control of risk, or by the part that the page names."""
    kept = {control.number for control in CONTROLS} | {each.number for each in ELSEWHERE}
    assert kept == set(range(1, 37))

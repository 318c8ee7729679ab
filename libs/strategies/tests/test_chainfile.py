"""Recorded chains are read as documented, and a bad file says which column, row and value."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from optionmath.sessions import closes_at
from strategies.chainfile import ChainFileError, read, read_facts, sessions, snapshots
from strategies.rules import RuleSet
from strategies.scan import scan

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
HEADER = "session,underlying,expiration,option_type,strike,bid,ask,open_interest\n"
ROWS = (
    "2026-08-21,XYZ,2026-09-18,C,100,2.00,2.10,500\n"
    "2026-08-21,XYZ,2026-09-18,P,100,1.90,2.00,500\n"
    "2026-08-21,XYZ,2026-09-18,P,95,,0.80,500\n"
)


def write(folder: Path, text: str) -> Path:
    path = folder / "chains.csv"
    path.write_text(text)
    return path


def test_documented_columns_are_read(tmp_path: Path) -> None:
    """Prices, missing quotes and symbols come through; the spot follows from parity."""
    frame = read(write(tmp_path, HEADER + ROWS))
    (chain,) = snapshots(frame, date(2026, 8, 21))
    assert sessions(frame) == [date(2026, 8, 21)]
    assert chain.occ_symbols[0] == "XYZ   260918P00095000"
    assert chain.spot == pytest.approx(100.1)
    assert np.isnan(chain.bid[0])
    assert chain.data_quality() == {"not_a_number": 1}
    assert np.isnan(chain.volume).all()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("session,underlying,expiration,strike,bid,ask\n", "no column 'option_type'"),
        (HEADER + ROWS + "2026-08-21,XYZ,2026-09-18,C,abc,1,2,5\n", "row 4: strike is 'abc'"),
        (HEADER + ROWS + "2026-08-21,XYZ,soon,C,100,1,2,5\n", "row 4: expiration is 'soon'"),
        (HEADER + ROWS + "2026-08-21,XYZ,2026-09-18,X,100,1,2,5\n", "row 4: option_type is 'X', expected C or P"),
        (HEADER + ROWS + "2026-08-21,XYZ,2026-09-18,C,-5,1,2,5\n", "row 4: strike is -5.0"),
    ],
)
def test_a_bad_file_names_column_row_and_value(tmp_path: Path, text: str, says: str) -> None:
    """The user can find and mend the cell."""
    with pytest.raises(ChainFileError, match=says):
        read(write(tmp_path, text))


def test_a_file_that_is_no_table_and_a_session_that_is_absent_are_explained(tmp_path: Path) -> None:
    """Both say what is there instead."""
    broken = tmp_path / "chains.parquet"
    broken.write_bytes(b"not parquet")
    with pytest.raises(ChainFileError, match="not a readable"):
        read(broken)
    frame = read(write(tmp_path, HEADER + ROWS))
    with pytest.raises(ChainFileError, match="no rows for session 2026-08-20"):
        list(snapshots(frame, date(2026, 8, 20)))


def test_unknown_columns_of_facts_are_refused(tmp_path: Path) -> None:
    """A misspelt fact is not silently missing."""
    path = tmp_path / "facts.csv"
    path.write_text("underlying,betta\nXYZ,1.1\n")
    with pytest.raises(ChainFileError, match="betta"):
        read_facts(path)
    path.write_text("underlying,beta,earnings_date\nXYZ,1.1,2026-10-01\n")
    assert read_facts(path)["XYZ"].earnings_date == date(2026, 10, 1)


@pytest.mark.parametrize(
    ("name", "session"),
    [
        ("chains_yahoo_2025/us_10names_20251125_20251205.parquet", date(2025, 12, 5)),
        ("chains_cboe_2026/SPY.parquet", date(2026, 8, 21)),
        ("chains_cboe_2026/SPX.parquet", date(2026, 8, 20)),
    ],
)
def test_real_sessions_give_candidates_with_reasons(name: str, session: date) -> None:
    """Recorded markets: structures pass, others are refused by name, and no score promises more than the credit."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"recorded chains are not at {path}: set TT_SHARED_DATA")
    now = closes_at(session)
    assert now is not None
    result = scan(snapshots(read(path), session), RuleSet(), net_liq=100_000, now=now)
    assert result.passed
    assert result.near_misses
    assert {"pop_min", "credit_to_max_loss_min"} <= set(result.rejected_by_rule)
    for each in result.passed:
        assert each.pop is not None
        assert 0.65 <= each.pop <= 1
        assert each.expected_value_q is not None
        assert each.expected_value_q <= float(each.max_profit)
        roots = {leg.occ_symbol[:6] for leg in each.legs}
        assert len(roots) == 1

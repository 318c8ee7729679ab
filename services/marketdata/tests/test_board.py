"""Conflation: newest value, changed rows only, nothing invented; reading the broker's metrics."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.domain import Board, chain_revision, market_metrics, market_session
from schemas.columns import ColumnKind, decode, encode
from schemas.market import OptionChain, SessionPhase

NOW = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
PUT, CALL = "SPY   261218P00600000", "SPY   261218C00600000"
OTHER = "QQQ   261218P00500000"


def chain(symbol: str, *occ: str) -> OptionChain:
    return OptionChain(ts_event=NOW, underlying_symbol=symbol, revision=chain_revision(occ), occ_symbols=occ)


@pytest.fixture
def board() -> Board:
    return Board([chain("SPY", PUT, CALL), chain("QQQ", OTHER)])


def quote(board: Board, symbols: list[str], bids: list[float], received: int = 5, times: float = 0.0) -> None:
    size = len(symbols)
    values = {
        "bidPrice": np.array(bids), "askPrice": np.array(bids) + 0.1, "bidSize": np.full(size, 1.0),
        "askSize": np.full(size, 1.0), "bidTime": np.full(size, times), "askTime": np.full(size, np.nan),
    }  # fmt: skip
    board.update("Quote", symbols, values, received)


def test_only_what_changed_is_taken_once(board: Board) -> None:
    quote(board, [".SPY261218P600", "SPY"], [2.0, 600.0])
    batch = board.take("SPY", ColumnKind.QUOTE, 9)
    assert batch is not None
    assert list(batch.columns["row"]) == [0, 1]
    assert list(batch.columns["bid"]) == [600.0, 2.0]
    assert board.take("SPY", ColumnKind.QUOTE, 9) is None
    assert board.take("QQQ", ColumnKind.QUOTE, 9) is None


def test_the_newest_value_of_a_frame_wins_and_the_older_is_counted(board: Board) -> None:
    quote(board, [".SPY261218P600"], [2.0])
    quote(board, [".SPY261218P600"], [2.5])
    batch = board.take("SPY", ColumnKind.QUOTE, 9)
    assert batch is not None
    assert list(batch.columns["bid"]) == [2.5]
    assert board.conflated == 1


def test_looking_at_everything_takes_nothing(board: Board) -> None:
    """The cache may look as often as it likes: what changed is still sent."""
    quote(board, [".SPY261218P600"], [2.0])
    kept = board.everything("SPY", ColumnKind.QUOTE, 9)
    assert kept is not None
    assert kept.full
    assert list(kept.columns["bid"]) == [2.0]
    assert board.take("SPY", ColumnKind.QUOTE, 9) is not None
    assert board.everything("QQQ", ColumnKind.QUOTE, 9) is None


def test_a_full_batch_holds_everything_known_and_nothing_else(board: Board) -> None:
    quote(board, [".SPY261218P600"], [2.0])
    board.take("SPY", ColumnKind.QUOTE, 9)
    batch = board.take("SPY", ColumnKind.QUOTE, 9, full=True)
    assert batch is not None
    assert batch.full
    assert list(batch.columns["row"]) == [1]
    assert decode(encode(batch)).columns["bid"][0] == 2.0


def test_the_source_s_time_is_kept_and_its_absence_is_the_time_of_receipt(board: Board) -> None:
    quote(board, ["SPY"], [600.0], received=7)
    quote(board, ["QQQ"], [500.0], received=7, times=1_000.0)
    spy, qqq = board.take("SPY", ColumnKind.QUOTE, 9), board.take("QQQ", ColumnKind.QUOTE, 9)
    assert spy is not None
    assert qqq is not None
    assert list(spy.columns["ts_event"]) == [7]
    assert list(qqq.columns["ts_event"]) == [1_000_000_000]


def test_an_unknown_symbol_changes_nothing(board: Board) -> None:
    quote(board, ["IWM"], [200.0])
    assert board.take("SPY", ColumnKind.QUOTE, 9) is None


def test_values_survive_a_new_chain(board: Board) -> None:
    quote(board, [".SPY261218P600", ".QQQ261218P500"], [2.0, 3.0])
    newer = Board([chain("SPY", "SPY   261218P00595000", PUT, CALL), chain("QQQ", OTHER)])
    newer.keep_values_of(board)
    batch = newer.take("SPY", ColumnKind.QUOTE, 9, full=True)
    assert batch is not None
    assert list(batch.columns["row"]) == [2]
    assert list(batch.columns["bid"]) == [2.0]


@given(
    st.lists(st.tuples(st.sampled_from(["SPY", ".SPY261218P600", ".QQQ261218P500"]), st.floats(0.01, 999)), max_size=30)
)
def test_replaying_all_batches_gives_the_board(ticks: list[tuple[str, float]]) -> None:
    """Deltas add up: whoever applies every batch knows what the board knows."""
    board = Board([chain("SPY", PUT, CALL), chain("QQQ", OTHER)])
    seen: dict[tuple[str, int], float] = {}
    for number, (symbol, bid) in enumerate(ticks):
        quote(board, [symbol], [bid])
        if number % 3 == 0:
            for underlying in ("SPY", "QQQ"):
                batch = board.take(underlying, ColumnKind.QUOTE, 9)
                if batch is not None:
                    rows = zip(batch.columns["row"], batch.columns["bid"], strict=True)
                    seen.update({(underlying, int(row)): float(value) for row, value in rows})
    for underlying in ("SPY", "QQQ"):
        batch = board.take(underlying, ColumnKind.QUOTE, 9)
        full = board.take(underlying, ColumnKind.QUOTE, 9, full=True)
        if batch is not None:
            rows = zip(batch.columns["row"], batch.columns["bid"], strict=True)
            seen.update({(underlying, int(row)): float(value) for row, value in rows})
        known = (
            {} if full is None else dict(zip(full.columns["row"].tolist(), full.columns["bid"].tolist(), strict=True))
        )
        assert known == {row: value for (name, row), value in seen.items() if name == underlying}


def test_metrics_that_are_absent_or_unreadable_stay_unknown() -> None:
    found = market_metrics(
        {"symbol": "SPY", "beta": "1.0", "implied-volatility-index": "NaN", "historical-volatility-30-day": "12.5"},
        NOW,
        date(2026, 11, 24),
    )
    assert found.beta == 1.0
    assert found.iv_index is None
    assert found.iv_rank is None
    assert found.historical_volatility_30d == 0.125
    assert found.sector is None


def test_an_earnings_date_that_has_passed_is_not_the_next_one() -> None:
    row = {"symbol": "AAPL", "earnings": {"expected-report-date": "2026-11-01"}}
    assert market_metrics(row, NOW, date(2026, 11, 24)).earnings_date is None
    row["earnings"] = {"expected-report-date": "2026-12-01"}
    assert market_metrics(row, NOW, date(2026, 11, 24)).earnings_date == date(2026, 12, 1)


def test_a_session_state_is_never_guessed() -> None:
    assert market_session("Open", None, None, NOW, date(2026, 11, 24)).phase is SessionPhase.OPEN
    with pytest.raises(KeyError, match="Halted"):
        market_session("Halted", None, None, NOW, date(2026, 11, 24))


def test_the_same_rows_have_the_same_revision() -> None:
    assert chain_revision((PUT, CALL)) == chain_revision((PUT, CALL)) != chain_revision((CALL, PUT))

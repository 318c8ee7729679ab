"""Streamed columns become a snapshot; what is unknown stays unknown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from schemas.columns import COLUMNS, ColumnBatch, ColumnKind
from schemas.market import OptionChain, TickSize
from strategies.chain import Facts
from strategies.live_chain import LiveMarket

NOW = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
PUT, LOWER = "SPY   261218P00600000", "SPY   261218P00595000"


def chain(revision: int = 1, symbols: tuple[str, ...] = (PUT, LOWER)) -> OptionChain:
    return OptionChain(
        ts_event=NOW, underlying_symbol="SPY", revision=revision, occ_symbols=symbols,
        tick_sizes=(TickSize(value=Decimal("0.01")),),
    )  # fmt: skip


def batch(
    kind: ColumnKind, rows: list[int], revision: int = 1, at: datetime = NOW, **values: list[float]
) -> ColumnBatch:
    names = [name for name, _ in COLUMNS[kind] if name not in ("row", "ts_event")]
    columns = {name: np.array(values.get(name, [np.nan] * len(rows)), dtype=np.float64) for name in names}
    stamps = np.full(len(rows), int(at.timestamp() * 1e9), dtype=np.int64)
    return ColumnBatch(
        kind, revision, int(at.timestamp() * 1e9), {"row": np.array(rows, np.uint32), "ts_event": stamps, **columns}
    )


@pytest.fixture
def market() -> LiveMarket:
    made = LiveMarket()
    made.set_chain(chain())
    return made


def quotes(**changes: object) -> ColumnBatch:
    values = {"bid": [599.9, 2.0, 1.0], "ask": [600.1, 2.1, 1.1]}
    return batch(ColumnKind.QUOTE, [0, 1, 2], **(values | changes))  # type: ignore[arg-type]


def test_a_quote_is_exact_and_knows_its_time(market: LiveMarket) -> None:
    market.apply("SPY", quotes())
    quote = market.quote(PUT)
    assert quote is not None
    assert (quote.bid, quote.ask, quote.at) == (Decimal("2"), Decimal("2.1"), NOW)
    assert market.chains["SPY"].spot == pytest.approx(600.0)


def test_a_batch_from_the_cache_never_undoes_what_has_streamed_since(market: LiveMarket) -> None:
    """Rows that a later batch has set keep their values; the others are filled."""
    market.apply("SPY", batch(ColumnKind.QUOTE, [1], bid=[2.5], ask=[2.6]))
    market.apply("SPY", quotes(at=NOW - timedelta(seconds=1)))
    put, lower = market.quote(PUT), market.quote(LOWER)
    assert put is not None
    assert lower is not None
    assert (put.bid, lower.bid) == (Decimal("2.5"), Decimal("1"))


def test_what_was_never_quoted_is_unknown(market: LiveMarket) -> None:
    assert market.quote(PUT) is None
    assert market.quote("QQQ   261218P00500000") is None
    assert market.chains["SPY"].greek("delta", PUT) is None
    assert market.net_book([(PUT, -1)]) is None


def test_batches_of_another_revision_or_with_unknown_rows_are_dropped(market: LiveMarket) -> None:
    market.apply("SPY", quotes(revision=2))
    market.apply("SPY", batch(ColumnKind.QUOTE, [9], bid=[1.0], ask=[2.0]))
    market.apply("QQQ", quotes())
    assert market.quote(PUT) is None
    assert market.dropped_batches == 3


def test_a_new_revision_forgets_the_old_values(market: LiveMarket) -> None:
    market.apply("SPY", quotes())
    assert not market.set_chain(chain())
    assert market.set_chain(chain(revision=2))
    assert market.quote(PUT) is None


def test_a_structure_has_mid_natural_and_the_age_of_its_oldest_leg(market: LiveMarket) -> None:
    market.apply("SPY", quotes())
    late = NOW + timedelta(seconds=5)
    market.apply("SPY", batch(ColumnKind.QUOTE, [2], at=late, bid=[1.0], ask=[1.2]))
    book = market.net_book([(PUT, -1), (LOWER, 1)])
    assert book is not None
    assert (book.mid, book.natural) == (Decimal("0.95"), Decimal("0.8"))
    assert book.oldest_quote_at == NOW


@pytest.mark.parametrize(("bid", "ask"), [(0.0, 1.0), (1.0, 1.0), (1.2, 1.0)])
def test_a_leg_without_a_usable_quote_gives_no_book(market: LiveMarket, bid: float, ask: float) -> None:
    """One-sided, locked and crossed quotes never price an order."""
    market.apply("SPY", quotes(bid=[599.9, 2.0, bid], ask=[600.1, 2.1, ask]))
    assert market.net_book([(PUT, -1), (LOWER, 1)]) is None


def test_a_snapshot_copies_columns_ages_and_days(market: LiveMarket) -> None:
    market.apply("SPY", quotes())
    market.apply("SPY", batch(ColumnKind.GREEKS, [1], delta=[-0.3]))
    taken = market.chains["SPY"].snapshot(NOW + timedelta(seconds=2), Facts())
    assert list(taken.dte) == [24, 24]
    assert taken.quote_age_seconds == pytest.approx([2.0, 2.0])
    assert taken.delta[0] == -0.3
    assert np.isnan(taken.delta[1])
    market.apply("SPY", quotes(bid=[599.9, 9.0, 9.0], ask=[600.1, 9.1, 9.1]))
    assert taken.bid[0] == 2.0


def test_days_are_counted_in_market_time_and_ages_in_machine_time(market: LiveMarket) -> None:
    market.apply("SPY", quotes())
    taken = market.chains["SPY"].snapshot(NOW, Facts(), NOW - timedelta(days=7))
    assert list(taken.dte) == [31, 31]
    assert taken.quote_age_seconds == pytest.approx([0.0, 0.0])

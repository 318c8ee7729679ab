"""Column batches decode to what was encoded, and nothing malformed gets through."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.columns import COLUMNS, ColumnBatch, ColumnError, ColumnKind, decode, encode


def batch(kind: ColumnKind = ColumnKind.QUOTE, rows: int = 3, *, full: bool = False) -> ColumnBatch:
    columns = {name: np.arange(rows).astype(dtype) for name, dtype in COLUMNS[kind]}
    return ColumnBatch(kind, 7, 1_700_000_000_000_000_000, columns, full)


@pytest.mark.parametrize("kind", ColumnKind)
@pytest.mark.parametrize("rows", [0, 1, 500])
def test_batch_round_trips(kind: ColumnKind, rows: int) -> None:
    """Every kind and size comes back bit for bit."""
    sent = batch(kind, rows, full=rows == 500)
    received = decode(encode(sent))
    assert (received.kind, received.revision, received.ts_emit, received.full) == (kind, 7, sent.ts_emit, rows == 500)
    for name, column in sent.columns.items():
        assert np.array_equal(received.columns[name], column)


def test_missing_value_stays_missing() -> None:
    """NaN survives the wire."""
    sent = batch()
    sent.columns["bid"] = np.array([np.nan, 1.0, 2.0])
    assert np.isnan(decode(encode(sent)).columns["bid"][0])


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_a_column_error(data: bytes) -> None:
    """No input crashes a reader."""
    try:
        decode(data)
    except ColumnError:
        return


@given(st.integers(0, 150))
def test_a_truncated_batch_is_refused_whole(length: int) -> None:
    """Nothing of a cut message is used."""
    data = encode(batch())
    with pytest.raises(ColumnError):
        decode(data[: min(length, len(data) - 1)])


def test_encoding_names_the_missing_column() -> None:
    """The error says which column to add."""
    broken = batch()
    del broken.columns["ask"]
    with pytest.raises(ColumnError, match="'ask'"):
        encode(broken)

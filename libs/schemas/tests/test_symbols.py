"""Symbols: OCC ⇄ streamer ⇄ subject token are exact inverses; everything else is refused with a reason."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.symbols import OptionSymbol, OptionType, SymbolError, from_token, parse_occ, parse_streamer, to_token

option_symbols = st.builds(
    OptionSymbol,
    root_symbol=st.from_regex(r"\A[A-Z][A-Z0-9]{0,5}\Z"),
    expiration=st.dates(date(2000, 1, 1), date(2099, 12, 31)),
    option_type=st.sampled_from(OptionType),
    strike=st.integers(1, 10**8 - 1).map(lambda thousandths: Decimal(thousandths).scaleb(-3)),
)


@given(option_symbols)
def test_occ_symbol_round_trips(symbol: OptionSymbol) -> None:
    """What is written as OCC is read back as the same contract."""
    assert len(symbol.occ) == 21
    assert parse_occ(symbol.occ) == symbol


@given(option_symbols)
def test_streamer_symbol_round_trips(symbol: OptionSymbol) -> None:
    """What is written for the feed is read back as the same contract, adjusted roots included."""
    assert parse_streamer(symbol.streamer) == symbol


@given(st.text(min_size=1))
def test_subject_token_round_trips_and_is_one_legal_token(symbol: str) -> None:
    """Any text becomes one token without separators and comes back unchanged."""
    try:
        token = to_token(symbol)
    except UnicodeEncodeError:
        return
    assert not set(token) & set(" .*>\t\r\n")
    assert from_token(token) == symbol


@pytest.mark.parametrize(
    ("occ", "streamer"),
    [
        ("SPY   260804C00500000", ".SPY260804C500"),
        ("SPY   240324P00480500", ".SPY240324P480.5"),
        ("SPXW  260821P06300000", ".SPXW260821P6300"),
        ("AAPL1 260116C00012125", ".AAPL1260116C12.125"),
    ],
)
def test_known_pairs(occ: str, streamer: str) -> None:
    """Pairs seen on the wire, a root that ends in a digit among them."""
    assert parse_occ(occ).streamer == streamer
    assert parse_streamer(streamer).occ == occ


@pytest.mark.parametrize(
    "bad", ["", "SPY", "SPY 260804C00500000", "SPY   261304C00500000", "spy   260804C00500000", "SPY   260804X00500000"]
)
def test_bad_occ_symbol_is_refused_with_the_expected_shape(bad: str) -> None:
    """The error names the symbol and what was expected."""
    with pytest.raises(SymbolError, match="expected 21 characters") as caught:
        parse_occ(bad)
    assert caught.value.symbol == bad


@pytest.mark.parametrize("bad", ["", "a.b", "_zz", "_4", "A_41"])
def test_token_that_to_token_cannot_have_made_is_refused(bad: str) -> None:
    """Two tokens never name the same symbol."""
    with pytest.raises(SymbolError):
        from_token(bad)

"""P&L and greeks of a book; what is missing makes the figures that need it unknown."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest

from analyzer.domain import portfolio, volatility
from optionmath.blackscholes import greeks, price
from optionmath.sessions import years_to_expiration
from schemas.account import Position, PositionLeg
from schemas.columns import COLUMNS, ColumnBatch, ColumnKind
from schemas.market import MarketMetrics, OptionChain
from schemas.symbols import OptionSymbol, OptionType
from strategies.chain import Facts
from strategies.live_chain import RATE, LiveMarket

NOW = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
DAY = datetime(2026, 12, 18, tzinfo=UTC).date()
SPOT, SIGMA = 600.0, 0.15


@pytest.fixture
def market() -> LiveMarket:
    """A flat smile of 15 % on one expiration."""
    options = [OptionSymbol("SPY", DAY, kind, Decimal(strike)) for strike in range(560, 645, 5) for kind in OptionType]
    made = LiveMarket()
    symbols = tuple(each.occ for each in options)
    made.set_chain(OptionChain(ts_event=NOW, underlying_symbol="SPY", revision=1, occ_symbols=symbols))
    strikes = np.array([float(each.strike) for each in options])
    calls = np.array([each.option_type is OptionType.CALL for each in options])
    years = years_to_expiration(NOW, DAY)
    value = price(SPOT, strikes, years, SIGMA, RATE, 0.0, calls)
    own = greeks(SPOT, strikes, years, SIGMA, RATE, 0.0, calls)
    rows = np.arange(len(options) + 1, dtype=np.uint32)
    at = np.full(len(rows), int(NOW.timestamp() * 1e9), dtype=np.int64)
    mid = np.concatenate([[SPOT], value])
    quotes = {"bid": mid - 0.01, "ask": mid + 0.01, "bid_size": mid, "ask_size": mid}
    made.apply("SPY", ColumnBatch(ColumnKind.QUOTE, 1, int(at[0]), {"row": rows, "ts_event": at, **quotes}))
    names = [name for name, _ in COLUMNS[ColumnKind.GREEKS] if name not in ("row", "ts_event", "iv")]
    columns = {name: getattr(own, name) for name in names} | {"iv": np.full(len(options), SIGMA)}
    made.apply("SPY", ColumnBatch(ColumnKind.GREEKS, 1, int(at[0]), {"row": rows[1:], "ts_event": at[1:], **columns}))
    return made


def held(*legs: tuple[str, int, str]) -> Position:
    return Position(
        ts_event=NOW,
        account_number="5WT00001",
        underlying_symbol="SPY",
        legs=tuple(
            PositionLeg(occ_symbol=symbol, signed_quantity=quantity, average_open_price=Decimal(average))
            for symbol, quantity, average in legs
        ),
    )


METRICS = {"SPY": MarketMetrics(ts_event=NOW, underlying_symbol="SPY", beta=1.0, iv_index=0.16)}
SHORT, LONG = "SPY   261218P00580000", "SPY   261218P00570000"


def test_open_pnl_is_mid_against_average_for_every_leg(market: LiveMarket) -> None:
    short, long = market.quote(SHORT), market.quote(LONG)
    assert short is not None
    assert long is not None
    reading = portfolio("5WT00001", [held((SHORT, -2, "9.00"), (LONG, 2, "5.00"))], market, METRICS, NOW)
    expected = 200 * (Decimal("9.00") - short.mid) - 200 * (Decimal("5.00") - long.mid)
    assert reading.open_pnl == expected.quantize(Decimal("0.01"))
    assert reading.missing_quotes == 0
    assert reading.delta is not None
    assert reading.delta > 0
    assert reading.vega is not None
    assert reading.vega < 0


def test_a_leg_without_quote_makes_the_total_unknown(market: LiveMarket) -> None:
    reading = portfolio("5WT00001", [held(("SPY   261218P00500000", -1, "1.00"))], market, METRICS, NOW)
    assert reading.open_pnl is None
    assert reading.delta is None
    assert reading.missing_quotes == 1


def test_without_beta_only_the_weighted_delta_is_unknown(market: LiveMarket) -> None:
    reading = portfolio("5WT00001", [held((SHORT, -1, "9.00"))], market, {}, NOW)
    assert reading.delta is None
    assert reading.positions[0].delta is not None


def test_an_empty_book_is_worth_nothing_and_knows_it(market: LiveMarket) -> None:
    reading = portfolio("5WT00001", [], market, METRICS, NOW)
    assert (reading.open_pnl, reading.delta, reading.missing_quotes) == (Decimal(0), 0.0, 0)


def test_a_flat_smile_reads_flat(market: LiveMarket) -> None:
    reading = volatility(market.chains["SPY"].snapshot(NOW, Facts()), METRICS["SPY"], NOW)
    (only,) = reading.expirations
    assert only.atm_iv == pytest.approx(SIGMA, abs=0.002)
    assert only.skew_25d == pytest.approx(0.0, abs=1e-9)
    assert float(only.expected_move or 0) == pytest.approx(
        SPOT * SIGMA * years_to_expiration(NOW, DAY) ** 0.5, rel=0.02
    )
    assert reading.volatility_risk_premium is None

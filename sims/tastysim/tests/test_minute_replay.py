"""Recorded minutes as a market: each bar when it is complete, nothing that was not recorded, day after day."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from strategies.chainfile import ChainFileError
from tastysim.behaviour import Behaviour
from tastysim.brokerage import Brokerage
from tastysim.fills import FillDesk
from tastysim.minute_file import MinuteFile
from tastysim.minute_replay import MinuteReplay
from tastysim.outside import rate_of
from tastysim.recording import Recording
from tastysim.store import Store

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
MINUTES, DAILY = (
    SHARED / "lean_options" / "minute_quote.parquet",
    SHARED / "ohlc" / "lean_equity_daily_raw_1998_2021.parquet",
)
CALL, PUT, LONELY = "XYZ   210115C00100000", "XYZ   210115P00100000", "XYZ   210115P00105000"
HEADER = "symbol,ts,expiry,right,strike,bid_c,ask_c,bid_size,ask_size\n"
QUOTES = HEADER + (
    "XYZ,2021-01-04T09:30:00,2021-01-15,C,100,3.00,3.20,11,12\n"
    "XYZ,2021-01-04T09:30:00,2021-01-15,P,100,1.00,1.20,5,\n"
    "XYZ,2021-01-04T09:32:00,2021-01-15,C,100,4.00,4.20,7,8\n"
    "XYZ,2021-01-04T09:32:00,2021-01-15,C,105,,0.90,0,3\n"
    "XYZ,2021-01-04T15:59:00,2021-01-15,P,100,0.90,1.00,5,5\n"
    "XYZ,2021-01-05T09:30:00,2021-01-08,C,101,5.00,5.20,11,12\n"
    "XYZ,2021-01-05T09:30:00,2021-01-08,P,101,2.00,2.20,11,12\n"
    "ABC,2021-01-05T09:30:00,2021-01-08,P,50,2.00,2.20,11,12\n"
)
TRADES = (
    "symbol,ts,expiry,right,strike,open,high,low,close,volume\n"
    "XYZ,2021-01-04T09:31:00,2021-01-15,C,100,3.1,3.1,3.0,3.1,40\n"
    "XYZ,2021-01-04T09:32:00,2021-01-15,C,100,3.2,3.3,3.1,3.2,2\n"
)
INTEREST = "symbol,ts,expiry,right,strike,open_interest\nXYZ,2021-01-04T00:00:00,2021-01-15,C,100,700\n"
OPENING = datetime(2021, 1, 4, 14, 31, tzinfo=UTC)
"""End of the first minute."""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "minute_quote.csv"
    path.write_text(QUOTES)
    path.with_name("minute_trade.csv").write_text(TRADES)
    path.with_name("daily_openinterest.csv").write_text(INTEREST)
    return path


def replay(file: Path, rest: str = "@2021-01-04") -> MinuteReplay:
    return MinuteReplay(Recording.parse(f"replay-minutes:{file}{rest}"))


def test_a_bar_shows_when_it_is_complete_and_no_earlier(file: Path) -> None:
    """The clock starts at the end of the first minute; a contract without a bar is unchanged; sizes are the file's."""
    market = replay(file)
    call, put, lonely = (market.row_of[each] for each in (CALL, PUT, "XYZ   210115C00105000"))
    assert (market.now, market.is_open) == (OPENING, True)
    assert (market.bid[call], market.ask[call], market.bid_size[call], market.ask_size[call]) == (3.0, 3.2, 11, 12)
    assert np.isnan(market.ask_size[put])
    market.step(119.75)
    assert market.bid[call] == 3.0
    market.step(0.25)
    assert (market.bid[call], market.ask_size[call], market.bid[put]) == (4.0, 8, 1.0)
    assert market.quoted_at[call] == market.steps > market.quoted_at[put]
    assert np.isnan(market.bid[lonely])
    assert market.ask[lonely] == 0.9
    assert np.isnan(market.theoretical[lonely])
    assert np.isnan(market.bid[market.row_of[LONELY]])  # the put of a strike whose call alone was recorded


def test_a_day_is_the_same_in_steps_of_any_length(file: Path) -> None:
    """Quotes, prices, volatilities and volume at a time do not depend on how one got there."""
    fine, coarse = replay(file), replay(file)
    for _ in range(150):
        fine.step(1.0)
    coarse.step(150.0)
    for name in ("bid", "ask", "bid_size", "iv", "spot", "volume", "theoretical"):
        np.testing.assert_array_equal(getattr(fine, name), getattr(coarse, name))
    call = coarse.row_of[CALL]
    assert (coarse.volume[call], coarse.last[call], coarse.last_size[call], coarse.day_high[call]) == (42, 3.2, 2, 3.3)
    assert (coarse.day_open[call], coarse.day_low[call]) == (3.1, 3.0)
    assert list(coarse.trades.size) == [40, 2]
    assert list(coarse.trades.price) == [3.1, 3.2]
    assert len(fine.trades) == 0
    assert np.isnan(coarse.last[coarse.row_of[PUT]])
    assert coarse.open_interest[coarse.row_of[CALL]] == 700.0
    assert np.isnan(coarse.open_interest[coarse.row_of[PUT]])


def test_the_price_of_the_underlying_follows_from_its_quotes(file: Path, tmp_path: Path) -> None:
    """Parity where the file is silent, the file's own price where it has one; unknown without a pair."""
    market = replay(file)
    discount = np.exp(-rate_of(date(2021, 1, 4)) * 11 / 365)
    assert market.spot[0] == pytest.approx(3.1 - 1.1 + 100 * discount, abs=0.005)
    assert rate_of(date(2021, 1, 4)) < 0.001
    assert np.isfinite(market.iv[market.row_of[CALL]])
    own = tmp_path / "own.csv"
    lines = QUOTES.strip().splitlines()
    own.write_text("\n".join([lines[0] + ",underlying_price", *(line + ",102.5" for line in lines[1:])]))
    assert replay(own).spot[0] == 102.5
    assert np.isnan(replay(file, "@2021-01-05,ABC").spot).all()


def test_days_follow_each_other_and_positions_are_carried_over(file: Path, tmp_path: Path) -> None:
    """After the last minute the next day's contracts are listed; what was bought is still held; closes are kept."""
    market = replay(file, "@..")
    assert list(market.rows) == ["XYZ"]
    brokerage = Brokerage(market, Store(tmp_path / "s"), "5WT00001", 100_000, FillDesk(market.now))
    broker = brokerage.broker("5WT00001")
    leg = {"symbol": CALL, "action": "Buy to Open", "quantity": 2, "instrument-type": "Equity Option"}
    order = broker.submit({"order-type": "Market", "time-in-force": "Day", "legs": [leg]}, market.now)
    brokerage.step(market.now)
    assert (order.status, order.fills[0]["fill-price"]) == ("Filled", "3.20")
    before, close = market.listing, date(2021, 1, 4)
    while market.now < datetime(2021, 1, 4, 21, 0, tzinfo=UTC):
        assert market.settlement("XYZ", close) is None
        market.step(3600)
        brokerage.step(market.now)
    assert not market.is_open
    assert market.settlement("XYZ", close) == Decimal(str(round(4.1 - 0.95 + 100 * np.exp(-0.0004 * 11 / 365), 2)))
    market.step(0.25)
    brokerage.step(market.now)
    assert (market.now, market.listing, market.is_open) == (OPENING + timedelta(days=1), before + 1, True)
    assert list(market.rows) == ["ABC", "XYZ"]
    assert broker.positions[CALL][0] == 2
    assert CALL not in market.row_of
    assert market.previous_close[market.index_of("XYZ") or 0] == pytest.approx(103.15, abs=0.01)


def test_old_minutes_fill_nothing(file: Path, tmp_path: Path) -> None:
    """A quote is as old as the underlying's last bar, beyond the minute that a bar stands for."""
    market = replay(file)
    assert market.quote_age(CALL) == 0
    market.step(119)
    assert market.quote_age(CALL) == pytest.approx(59)  # the file has no bar of the second minute
    assert np.isnan(market.quote_age("NONE"))
    desk = FillDesk(market.now, default=Behaviour.parse("immediate"), quote_max_age_seconds=15)
    brokerage = Brokerage(market, Store(tmp_path / "s"), "5WT00001", 100_000, desk)
    leg = {"symbol": CALL, "action": "Buy to Open", "quantity": 1, "instrument-type": "Equity Option"}
    order = brokerage.broker("5WT00001").submit(
        {"order-type": "Market", "time-in-force": "Day", "legs": [leg]}, market.now
    )
    brokerage.step(market.now)
    assert order.status == "Live"
    market.step(1)
    brokerage.step(market.now)
    assert order.status == "Filled"


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ("@2021-01-06", "has no session 2021-01-06: it has 2021-01-04, 2021-01-05"),
        ("@2020-01-01..2020-12-31", "has no session 2020-01-01..2020-12-31"),
        ("@soon", "'soon' is not a date; write replay-minutes:FILE@YYYY-MM-DD"),
        ("@2021-01-04,QQQ", "has no quotes of QQQ: it has ABC, XYZ"),
        ("@2021-01-04,ABC", "has no session 2021-01-04 for ABC: it has 2021-01-05"),
    ],
)
def test_what_is_not_recorded_is_named_beside_what_is(file: Path, rest: str, says: str) -> None:
    """One line: the file, what was asked for, what there is."""
    with pytest.raises(ChainFileError, match=says):
        replay(file, rest)


def test_a_file_of_another_kind_is_refused_by_its_column(tmp_path: Path) -> None:
    """The missing column and those there are; a time that is none; no file at all."""
    path = tmp_path / "chains.csv"
    path.write_text("session,underlying,expiration,option_type,strike,bid,ask\n")
    with pytest.raises(ChainFileError, match="has no column 'ts': it has session, underlying"):
        replay(path)
    path.write_text(HEADER + "XYZ,soon,2021-01-15,C,100,3.00,3.20,1,1\n")
    with pytest.raises(ChainFileError, match="ts is String, expected a date-time"):
        replay(path)
    with pytest.raises(ChainFileError, match="is not a readable Parquet or CSV file"):
        replay(tmp_path / "gone.parquet")


@pytest.mark.parametrize("day", [date(2015, 12, 23), date(2015, 12, 24)])
def test_real_minutes_imply_the_prices_that_the_exchange_had(day: date) -> None:
    """A whole recorded day, the second one a half day: the implied close is within 0.1 % of the official one."""
    if not MINUTES.exists() or not DAILY.exists():
        pytest.skip(f"recorded minutes are not at {MINUTES}: set TT_SHARED_DATA")
    official = pl.read_parquet(DAILY).filter(pl.col("symbol") == "GOOG", pl.col("date") == day).row(0, named=True)
    market = replay(MINUTES, f"@{day},GOOG")
    assert market.spot[0] == pytest.approx(official["open"], rel=0.005)
    assert np.isfinite(market.iv).mean() > 0.3
    prices = []
    while market.is_open:
        market.step(600)
        prices.append(market.spot[0])
    assert official["low"] * 0.998 < min(prices) <= max(prices) < official["high"] * 1.002
    assert float(market.settlement("GOOG", day) or 0) == pytest.approx(official["close"], rel=0.001)
    assert (market.bid > market.ask).mean() < 0.02


def test_real_minutes_are_listed_by_day(file: Path) -> None:
    """A file of several underlyings and years knows its days without reading them."""
    if not MINUTES.exists():
        pytest.skip(f"recorded minutes are not at {MINUTES}: set TT_SHARED_DATA")
    assert len(MinuteFile(MINUTES, ["SPXW"]).sessions) == 6
    week = replay(MINUTES, "@2021-01-04..2021-01-08,SPXW")
    days = {week.now.date()}
    while week.now < datetime(2021, 1, 8, 21, 15, tzinfo=UTC):
        week.step(1800)
        days.add(week.now.date())
    closes = {4: 3700.65, 5: 3726.86, 6: 3748.14, 7: 3803.79, 8: 3824.68}  # S&P 500, official closes of January 2021
    for day, close in closes.items():
        assert float(week.settlement("SPXW", date(2021, 1, day)) or 0) == pytest.approx(close, rel=0.0006)
    assert {day.day for day in days} >= set(closes)

"""The seeded market as a function of time, its listing, its trades, its hours, and that it goes on after a restart."""

from __future__ import annotations

import os
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from optionmath.sessions import closes_at
from tastysim.corporate_events import CorporateEvents, Split
from tastysim.listed import UNIVERSE, Universe
from tastysim.market import ModelMarket
from tastysim.model_hours import Hours
from tastysim.model_kept import keeper, resumed
from tastysim.settings import SimSettings
from tastysim.store import Store

NOW = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
SMALL = Universe(UNIVERSE[4:8], strikes=9)
COLUMNS = (
    "spot", "volatility", "day_volume", "previous_close", "last_spot", "last_size_spot", "day_open_spot",
    "day_high_spot", "day_low_spot", "bid", "ask", "bid_size", "ask_size", "theoretical", "iv", "open_interest",
    "volume", "last", "last_size", "day_open", "day_high", "day_low", "previous_close_of",
)  # fmt: skip


def differences(first: ModelMarket, second: ModelMarket) -> list[str]:
    """Columns that are not the same bit for bit."""
    assert first.now == second.now
    assert [each.occ for each in first.options] == [each.occ for each in second.options]
    found = [
        name for name in COLUMNS if not np.array_equal(getattr(first, name), getattr(second, name), equal_nan=True)
    ]
    greeks = ("delta", "gamma", "theta", "vega", "rho")
    return found + [
        name
        for name in greeks
        if not np.array_equal(getattr(first.greeks, name), getattr(second.greeks, name), equal_nan=True)
    ]


@pytest.mark.parametrize("hours", list(Hours))
def test_the_market_at_a_time_does_not_depend_on_the_steps_to_it(hours: Hours) -> None:
    """One step of 60 s, 240 of 0.25 s, random ones that land on the same bucket, and a market made for that time."""
    once, often, choice = (ModelMarket(7, NOW, hours=hours, universe=SMALL) for _ in range(3))
    once.step(60.0)
    for _ in range(240):
        often.step(0.25)
    left, draw = 240, random.Random(1)
    while left:
        part = min(left, draw.randint(1, 40))
        choice.step(part / 4)
        left -= part
    made = ModelMarket(7, NOW, hours=hours, universe=SMALL, now=NOW + timedelta(seconds=60))
    for other in (often, choice, made):
        assert differences(once, other) == []
    assert differences(once, ModelMarket(8, NOW, hours=hours, universe=SMALL, now=once.now))


@pytest.mark.parametrize("hours", list(Hours))
def test_days_at_once_are_days_hour_by_hour(hours: Hours) -> None:
    """Nights, a holiday, an expiration and new contracts lie between."""
    once, hourly = (ModelMarket(3, NOW, hours=hours, universe=SMALL) for _ in range(2))
    end = NOW + timedelta(days=5 * SCALE, minutes=7)
    once.step((end - NOW).total_seconds())
    while hourly.now < end:
        hourly.step(min(5400.0, (end - hourly.now).total_seconds()))
    assert hourly.listing > once.listing > 0
    assert differences(once, hourly) == []
    assert differences(once, ModelMarket(3, NOW, hours=hours, universe=SMALL, now=end)) == []


def test_it_goes_on_after_a_restart_of_the_process(tmp_path: Path) -> None:
    """From the same start; at another speed where it stopped, at the speed of life at the time of now."""
    store, settings = Store(tmp_path), SimSettings(speed=60.0)
    market = resumed(settings, store, NOW)
    market.step(5400.0)
    keeper(settings, store, market)()
    assert differences(market, resumed(settings, store, NOW + timedelta(days=1))) == []
    later = resumed(SimSettings(), store, NOW + timedelta(hours=3))
    assert (later.start, later.now) == (NOW, NOW + timedelta(hours=3))
    other = resumed(SimSettings(seed=8, speed=60.0), store, NOW + timedelta(days=1))
    assert other.start == other.now == NOW + timedelta(days=1)
    with pytest.raises(ValueError, match="nothing to show"):
        ModelMarket(7, NOW, now=NOW - timedelta(seconds=1))


def test_every_symbol_leads_to_its_row_and_no_other_does() -> None:
    """Both spellings; rows of an underlying are contiguous."""
    market = ModelMarket(7, NOW, universe=SMALL)
    for row in range(0, len(market.options), 7):
        option = market.options[row]
        assert market.row_of[option.occ] == market.row_of_streamer[option.streamer] == row
        assert float(option.strike) == market.strike[row]
        assert market.expiration[row] == option.expiration
        assert market.rows[option.root_symbol].start <= row < market.rows[option.root_symbol].stop
    known = market.options[0]
    for wrong in ("", "AAPL", known.occ[:-1], known.occ.replace("AAPL", "XXXX"), known.occ[:-1] + "1", known.streamer):
        assert market.row_of.get(wrong) is None
        assert wrong not in market.row_of
    for wrong in (known.occ, known.streamer + "0", known.streamer + ".0", known.streamer[1:]):
        assert market.row_of_streamer.get(wrong) is None
    assert [market.options[-1]] == list(market.options)[-1:] == market.options[len(market.options) - 1 :]
    assert len(set(market.row_of)) == len(set(market.row_of_streamer)) == len(market.strike)


def test_expired_contracts_leave_and_new_ones_come() -> None:
    """At the close nobody quotes them; the next day they are gone, a new week is listed, and the close stays known."""
    market = ModelMarket(7, NOW)
    market.step((datetime(2026, 12, 4, 14, 0, tzinfo=UTC) - NOW).total_seconds())
    friday = date(2026, 12, 4)
    rows = [row for row, each in enumerate(market.options[market.rows["SPY"]]) if each.expiration == friday]
    closing = closes_at(friday)
    assert closing is not None
    assert market.settlement("SPY", friday) is None
    market.step((closing - market.now).total_seconds())
    assert np.isnan(market.bid[rows]).all()
    assert (market.ask_size[rows] == 0).all()
    spot = market.spot[0]
    gain = np.where(market.is_call[rows], spot - market.strike[rows], market.strike[rows] - spot)
    assert np.allclose(market.theoretical[rows], np.maximum(gain, 0))
    close = market.settlement("SPY", friday)
    assert close == Decimal(str(round(float(spot), 2)))
    names, listing = {market.options[row].occ for row in rows}, market.listing
    market.step(12 * 3600.0)
    assert market.listing > listing
    assert not any(name in market.row_of for name in names)
    assert market.settlement("SPY", friday) == close
    assert max(each.expiration for each in market.options) > date(2027, 4, 1)
    assert {each.expiration for each in market.options} >= set(market.expirations)


def test_a_split_divides_strikes_and_keeps_what_is_open() -> None:
    """Four for one: price and strikes a quarter, contracts fourfold, history in today's shares."""
    day = date(2026, 11, 27)
    extra = CorporateEvents(splits=(Split("MSFT", day, 4, 1),))
    market = ModelMarket(7, NOW, universe=SMALL, extra=extra, now=datetime(2026, 11, 27, 3, 0, tzinfo=UTC))
    assert market.events(day, day).splits == extra.splits
    index = market.index_of("MSFT") or 0
    before, rows = float(market.spot[index]), market.rows["MSFT"]
    interest = {each.occ: market.open_interest[rows.start + at] for at, each in enumerate(market.options[rows])}
    strikes = {each.strike for each in market.options[rows]}
    close = market.settlement("MSFT", date(2026, 11, 25))
    market.step(4 * 3600.0)
    assert market.spot[index] == pytest.approx(before / 4, rel=0.05)
    now = {each.strike for each in market.options[market.rows["MSFT"]]}
    assert {strike / 4 for strike in strikes} <= now
    old = next(name for name in interest if interest[name] > 0)
    new = f"{old[:13]}{int(old[13:]) // 4:08d}"
    assert market.open_interest[market.row_of[new]] == pytest.approx(4 * interest[old], rel=0.9)
    assert market.settlement("MSFT", date(2026, 11, 25)) == close
    history = market.history("MSFT")
    assert history is not None
    assert np.abs(np.diff(np.log(history.close))).max() < 0.5
    assert market.listed[index].step == 1.25


def test_trades_are_at_the_quotes_and_add_up_to_the_volume() -> None:
    """Buyers at the ask, sellers at the bid; contracts and shares; the newest is the last price."""
    market = ModelMarket(7, NOW, universe=Universe(UNIVERSE[:4], strikes=15))
    volume, shares, seen = market.volume.copy(), market.day_volume.copy(), 0
    for _ in range(480):
        market.step(0.25)
        trades = market.trades
        own = trades.where(trades.row >= 0)
        seen += len(own)
        buys, sells = own.aggressor == 1, own.aggressor == -1
        assert np.array_equal(own.price[buys], market.ask[own.row[buys]])
        hit = market.bid[own.row[sells]]
        assert np.array_equal(own.price[sells], np.where(hit > 0, hit, market.ask[own.row[sells]]))
        assert np.array_equal(market.last[own.row[-1:]], own.price[-1:])
        assert (np.diff(trades.time_ms) >= 0).all()
        np.add.at(volume, own.row, own.size)
        part = trades.where(trades.row < 0)
        np.add.at(shares, part.underlying, part.size)
        assert (np.abs(part.price / market.spot[part.underlying] - 1) < 0.001).all()
    assert seen > 100
    assert np.array_equal(volume, market.volume)
    assert np.array_equal(shares, market.day_volume)


def test_with_hours_nothing_moves_while_the_exchange_is_closed() -> None:
    """Between the close and the next open the book stands; the night is one gap."""
    market = ModelMarket(7, NOW, hours=Hours.EXCHANGE, universe=SMALL)
    assert market.is_open
    assert market.next_open() == NOW
    market.step((datetime(2026, 11, 25, 21, 0, tzinfo=UTC) - NOW).total_seconds())
    assert not market.is_open
    bid, spot, steps = market.bid.copy(), market.spot.copy(), market.steps
    assert market.next_open() == datetime(2026, 11, 27, 14, 30, tzinfo=UTC)  # after Thanksgiving
    market.step(86_400.0)
    assert not market.is_open
    assert np.array_equal(market.bid, bid, equal_nan=True)
    assert len(market.trades) == 0
    assert not (market.quoted_at > steps).any()
    market.step((market.next_open() - market.now).total_seconds())
    assert market.is_open
    assert (market.spot != spot).all()
    assert np.array_equal(market.spot, market.day_open_spot)
    assert np.abs(np.log(market.spot / spot)).max() < 0.1


def test_prices_of_the_day_are_those_that_were_seen() -> None:
    """High and low hold every price that was shown and never shrink."""
    market = ModelMarket(5, NOW, universe=SMALL)
    high, low = market.day_high_spot.copy(), market.day_low_spot.copy()
    for _ in range(600):
        market.step(0.5)
        assert (market.day_high_spot >= np.maximum(high, market.spot)).all()
        assert (market.day_low_spot <= np.minimum(low, market.spot)).all()
        high, low = market.day_high_spot.copy(), market.day_low_spot.copy()
    bars = market.minute_bars("AAPL")
    assert bars is not None
    assert (bars.high >= np.maximum(bars.open, bars.close)).all()
    assert (bars.low <= np.minimum(bars.open, bars.close)).all()
    assert bars.high.max() <= market.day_high_spot[0]


def test_the_past_ends_where_the_market_begins() -> None:
    """A year of daily bars with the rank of volatility that the underlying is listed with; days are added to it."""
    market = ModelMarket(7, NOW)
    for index, each in enumerate(market.listed):
        history = market.history(each.symbol)
        assert history is not None
        assert len(history.day) == 252
        assert (history.high >= np.maximum(history.open, history.close) - 1e-9).all()
        assert (history.low <= np.minimum(history.open, history.close) + 1e-9).all()
        assert history.close[-1] == pytest.approx(market.previous_close[index])
        assert history.close[-1] == pytest.approx(market.spot[index], rel=0.1)
        assert history.rank(each.volatility) == pytest.approx(each.iv_rank, abs=0.02)
        assert 0.4 < history.realised() / each.volatility < 1.6
        assert market.settlement(each.symbol, history.day[-1].astype(object)) is not None
    market.step(3 * 86_400.0)
    longer = market.history("SPY")
    assert longer is not None
    assert len(longer.day) == 255
    for place in (0, 100, 251, 252, 254):
        bars = market.minute_bars("SPY", longer.day[place].astype(object))
        assert bars is not None
        assert bars.open[0] == pytest.approx(longer.open[place])
        assert bars.high.max() == pytest.approx(longer.high[place])
        assert bars.low.min() == pytest.approx(longer.low[place])
        assert bars.volume.sum() == longer.volume[place]
        assert (np.abs(np.diff(np.log(bars.close))) < 0.01).all()
    assert market.minute_bars("SPY", date(2020, 1, 2)) is None
    assert market.history("NOPE") is None


@pytest.mark.parametrize(
    ("text", "underlyings", "contracts"),
    [("default", 18, 13_068), ("20", 20, 14_520), ("60x400", 60, 26_000), ("3+index", 4, 2_900)],
)
def test_universes_by_the_number(text: str, underlyings: int, contracts: int) -> None:
    """The default names come first; the rest is invented, each with a plausible book."""
    market = ModelMarket(7, NOW, universe=Universe.parse(text, 7))
    market.step(60.0)
    assert len(market.listed) == len({each.symbol for each in market.listed}) == underlyings
    assert market.listed[0] == UNIVERSE[0]
    assert len(market.strike) == pytest.approx(contracts, rel=0.1)
    assert (market.ask > market.bid).all()
    invented = [each for each in market.listed if each not in UNIVERSE and not each.is_index]
    assert all(each.symbol.startswith("ZX") and len(each.symbol) == 5 for each in invented)


@pytest.mark.parametrize("text", ["", "0", "big", "500x", "9999", "default+hourly"])
def test_what_is_no_universe_is_refused(text: str) -> None:
    """With what to write instead."""
    with pytest.raises(ValueError, match="write default"):
        Universe.parse(text, 7)


def test_an_index_is_its_fund_and_lists_every_day() -> None:
    """XSP on request: European, the price of SPY, an expiration every session of two weeks."""
    market = ModelMarket(7, NOW, universe=Universe.parse("default+index+daily", 7), now=NOW + timedelta(days=9))
    fund, index = market.index_of("SPY") or 0, market.index_of("XSP") or 0
    assert market.listed[index].is_index
    assert market.spot[index] == market.spot[fund]
    assert market.volatility[index] == market.volatility[fund]
    days = {each.expiration for each in market.options[market.rows["XSP"]]}
    assert {date(2026, 12, 3) + timedelta(days=each) for each in (0, 1, 4, 5, 6, 7, 8)} <= days

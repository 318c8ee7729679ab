"""Recorded chains served as the broker serves them: nothing invented, nothing a client cannot read."""

from __future__ import annotations

import os
from datetime import date
from decimal import Decimal
from pathlib import Path

import httpx
import numpy as np
import pytest

from strategies.chainfile import ChainFileError
from tastyclient.models import NestedChain
from tastysim.recording import Recording
from tastysim.replay import ReplayMarket
from tastysim.service import build
from tastysim.settings import SimSettings

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
HEADER = "session,underlying,expiration,option_type,strike,bid,ask,volume,open_interest\n"
ROWS = (
    "2026-08-20,XYZ,2026-09-18,C,100,3.00,3.10,7,500\n"
    "2026-08-21,XYZ,2026-09-18,C,100,2.00,2.10,9,500\n"
    "2026-08-21,XYZ,2026-09-18,P,100,1.90,2.00,9,500\n"
    "2026-08-21,XYZ,2026-09-18,P,95,0.70,0.80,9,500\n"
)
LONELY_CALL = "XYZ   260918C00095000"
"""Listed because the put of its strike was recorded; itself it was not."""


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "chains.csv"
    path.write_text(HEADER + ROWS)
    return path


def test_a_contract_that_was_not_recorded_is_listed_without_a_quote(recording: Path) -> None:
    """An exchange lists both sides of a strike; what the file does not hold stays unknown."""
    market = ReplayMarket(Recording(recording))
    row = market.row_of[LONELY_CALL]
    assert len(market.options) == 4
    assert market.rows["XYZ"] == slice(0, 4)
    assert market.strike[row] == 95
    assert all(np.isnan(column[row]) for column in (market.bid, market.ask, market.volume, market.iv))
    assert market.bid[market.row_of["XYZ   260918P00095000"]] == 0.70


async def test_the_chain_is_one_a_client_reads(recording: Path, tmp_path: Path) -> None:
    """Every strike of the nested chain has its call and its put, as the broker's own chains do."""
    settings = SimSettings(market=f"replay:{recording}", data_dir=tmp_path / "sim")
    grant = {
        "grant_type": "refresh_token",
        "client_secret": settings.client_secret,
        "refresh_token": settings.refresh_token,
    }
    transport = httpx.ASGITransport(app=build(settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://sim", headers={"User-Agent": "test/1"}) as http:
        token = (await http.post("/oauth/token", json=grant)).raise_for_status().json()["access_token"]
        answer = await http.get("/option-chains/XYZ/nested", headers={"Authorization": f"Bearer {token}"})
    (item,) = answer.raise_for_status().json()["data"]["items"]
    chain = NestedChain.model_validate(item)
    assert [(strike.call, strike.put) for strike in chain.expirations[0].strikes] == [
        (LONELY_CALL, "XYZ   260918P00095000"),
        ("XYZ   260918C00100000", "XYZ   260918P00100000"),
    ]


def test_a_session_is_chosen_by_its_date(recording: Path) -> None:
    """The last one by default, any by `@`; a date that is none is explained."""
    assert ReplayMarket(Recording(recording)).session == date(2026, 8, 21)
    assert Recording.parse(f"replay:{recording}@2026-08-20").session == date(2026, 8, 20)
    with pytest.raises(ChainFileError, match="'soon' is not a date"):
        Recording.parse(f"replay:{recording}@soon")


def test_sessions_follow_each_other(tmp_path: Path) -> None:
    """From close to close: the listing changes, what is held stays held, the last close is the previous one."""
    path = tmp_path / "chains.csv"
    later = (
        "2026-08-20,XYZ,2026-09-18,P,100,2.90,3.00,7,500\n2026-08-21,XYZ,2026-10-16,P,90,0.50,0.60,1,5\n"
        "2026-08-24,XYZ,2026-10-16,P,90,0.40,0.50,1,5\n2026-08-24,XYZ,2026-10-16,P,95,0.90,1.00,1,5\n"
    )
    path.write_text(HEADER.strip() + ",spot\n" + "".join(f"{row},101.5\n" for row in (ROWS + later).split()))
    market = ReplayMarket(Recording.parse(f"replay:{path}@.."))
    seen = []
    for _ in range(8):
        seen.append((market.session.day, market.listing, market.is_open, len(market.options)))
        market.step(61)
    assert seen[:6] == [(20, 1, True, 2), (20, 1, False, 2), (21, 2, True, 6), (21, 2, False, 6), (24, 3, True, 4),
                        (24, 3, True, 4)]  # fmt: skip
    assert "XYZ   260918C00100000" not in market.row_of
    assert market.previous_close[0] == 101.5
    assert [market.settlement("XYZ", date(2026, 8, day)) for day in (20, 22, 24)] == [
        Decimal("101.50"), None, Decimal("101.50"),
    ]  # fmt: skip
    only = ReplayMarket(Recording.parse(f"replay:{path}@2026-08-21..2026-08-23,XYZ"))
    only.step(61)
    only.step(1)
    assert (only.session, only.is_open) == (date(2026, 8, 21), True)  # the last one runs on


def test_real_sessions_follow_each_other() -> None:
    """A month of recorded closes: every session is shown, contracts expire and are listed, quotes are never crossed."""
    path = SHARED / "chains_cboe_2026" / "MOD.parquet"
    if not path.exists():
        pytest.skip(f"recorded chains are not at {path}: set TT_SHARED_DATA")
    market = ReplayMarket(Recording.parse(f"replay:{path}@.."))
    days = {market.session: len(market.options)}
    for _ in range(60):
        market.step(61)
        days[market.session] = len(market.options)
        assert all(option.expiration >= market.session for option in market.options)
    assert len(days) == 21
    assert market.listing == 21
    assert np.nanmean(market.bid > market.ask) < 0.01
    assert np.isfinite(market.previous_close).all()

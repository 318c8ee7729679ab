"""Compile the scan's and the simulator's kernels once, after an installation, so that the first start does not wait.

Numba keeps the compiled code on disk beside the sources, or in the user's cache where it may not write there.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

import numpy as np

from optionmath.blackscholes import implied_volatility
from optionmath.sessions import days_to_expiration, years_to_expiration
from strategies.chain import ChainSnapshot, Facts
from strategies.live_chain import RATE
from strategies.rule_file import load_shipped, shipped
from strategies.scan import scan
from tastysim.market import ModelMarket

_NOON = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)


def compile_all() -> float:
    """Run everything once on a small simulated chain; returns the seconds it took."""
    began = time.monotonic()
    market = ModelMarket(1, _NOON)
    market.step(1.0)
    chain = _snapshot(market, "SPY")
    implied_volatility(chain.mid, chain.spot, chain.strike, chain.years, RATE, 0.0, chain.is_call)
    for name in shipped():
        scan([chain], load_shipped(name), net_liq=100_000.0, now=_NOON, spy_price=chain.spot)
    return time.monotonic() - began


def _snapshot(market: ModelMarket, symbol: str) -> ChainSnapshot:
    rows = market.rows[symbol]
    options = market.options[rows]
    expiration = np.array([each.expiration for each in options], dtype="datetime64[D]")
    return ChainSnapshot(
        underlying_symbol=symbol,
        spot=float(market.spot[market.index_of(symbol) or 0]),
        rate=RATE,
        occ_symbols=[each.occ for each in options],
        expiration=expiration,
        dte=np.array([days_to_expiration(_NOON, each.expiration) for each in options]),
        years=np.array([years_to_expiration(_NOON, each.expiration) for each in options]),
        strike=market.strike[rows],
        is_call=market.is_call[rows],
        bid=market.bid[rows],
        ask=market.ask[rows],
        delta=market.greeks.delta[rows],
        gamma=market.greeks.gamma[rows],
        theta=market.greeks.theta[rows],
        vega=market.greeks.vega[rows],
        open_interest=market.open_interest[rows],
        volume=market.volume[rows],
        quote_age_seconds=np.zeros(len(options)),
        facts=Facts(sector="ETF", beta=1.0, iv_rank=0.3, historical_volatility=0.13),
        iv=market.iv[rows],
    )


if __name__ == "__main__":
    sys.stdout.write(f"compiled in {compile_all():.0f} s\n")

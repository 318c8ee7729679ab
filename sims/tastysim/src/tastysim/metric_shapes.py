"""The metrics of an underlying: volatilities, figures, the next dividend and the next report.

Earnings per share are modelled: a company of the simulated market earns a fixed share of its price a year.
"""

from __future__ import annotations

import math
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from optionmath.calendar import settlement_of
from optionmath.sessions import market_date, sessions_between
from tastysim.corporate_events import Dividend, Earnings
from tastysim.followers import FollowedMarket
from tastysim.market import ModelMarket
from tastysim.orders import stamp

EARNINGS_YIELD = Decimal("0.04")
"""What a company earns a year, of its price."""
_PAST, _AHEAD = timedelta(days=3 * 366), timedelta(days=200)
_WINDOWS = (30, 60, 90)
_LEAST_CLOSES = 15
_SESSIONS_A_YEAR = 252


def metrics(market: FollowedMarket, symbol: str, index: int) -> dict[str, Any]:
    """What is known: a recorded market has none of the model's figures, and they are left out."""
    each, iv, now = market.listed[index], float(market.volatility[index]), stamp(market.now).replace("+00:00", "Z")
    known: dict[str, Any] = {"symbol": symbol, "updated-at": now}
    if not math.isfinite(iv):
        return known
    rank, percentile = _rank(market, symbol, iv, each.iv_rank)
    known |= {
        "implied-volatility-index": f"{iv:.4f}", "implied-volatility-index-rank": rank,
        "tos-implied-volatility-index-rank": rank, "tw-implied-volatility-index-rank": rank,
        "implied-volatility-index-rank-source": "tos", "implied-volatility-percentile": percentile,
        "implied-volatility-updated-at": now, "implied-volatility-30-day": f"{iv * 100:.2f}",
        "beta": str(each.beta), "liquidity-rating": 4, "sector": each.sector, "market-cap": round(each.price * 1e9),
        "listed-market": "SIM", "lendability": "Easy To Borrow", "borrow-rate": "0.0",
        "option-expiration-implied-volatilities": _by_expiration(market, symbol, index),
        **_historical(market, symbol, each.volatility, iv), **_dividends(market, symbol, each.dividend_yield),
    }  # fmt: skip
    return known | _earnings(market, symbol, float(market.spot[index]))


def _rank(market: FollowedMarket, symbol: str, iv: float, usual: float) -> tuple[str, str]:
    """Rank and percentile of the implied volatility in its year, where the market remembers one."""
    history = market.own.history(symbol) if isinstance(market.own, ModelMarket) else None
    if history is None:
        return str(usual), str(usual)
    return f"{history.rank(iv):.4f}", f"{history.percentile(iv):.4f}"


def _by_expiration(market: FollowedMarket, symbol: str, index: int) -> list[dict[str, str]]:
    """Implied volatility at the strike nearest to the price, of every expiration."""
    span = market.rows[symbol]
    nearest: dict[tuple[str, date], tuple[float, int]] = {}
    distance = np.abs(market.strike[span] - market.spot[index])
    for place, option in enumerate(market.options[span]):
        key, found = (option.root_symbol, option.expiration), (float(distance[place]), span.start + place)
        nearest[key] = min(nearest.get(key, found), found)
    return [
        {
            "expiration-date": day.isoformat(), "option-chain-type": "Standard",
            "settlement-type": settlement_of(root, day).value, "implied-volatility": f"{float(market.iv[row]):.6f}",
        }
        for (root, day), (_, row) in sorted(nearest.items(), key=lambda each: each[0][1])
        if math.isfinite(market.iv[row])
    ]  # fmt: skip


def _historical(market: FollowedMarket, symbol: str, usual: float, iv: float) -> dict[str, str]:
    """Volatility of past closes, percent a year; where too few are known, the model's own for thirty days."""
    today = market_date(market.now)
    days = sessions_between(today - timedelta(days=max(_WINDOWS) * 7 // 5 + 10), today - timedelta(days=1))
    closes = [float(close) for day in days[-max(_WINDOWS) - 1 :] if (close := market.settlement(symbol, day))]
    found = {}
    for window in _WINDOWS:
        part = np.array(closes[-window - 1 :])
        if len(part) > max(_LEAST_CLOSES, window * 2 // 3):
            moved = np.diff(np.log(part))
            found[window] = float(np.std(moved, ddof=1) * math.sqrt(_SESSIONS_A_YEAR)) * 100
    found.setdefault(30, usual * 90)
    shown = {f"historical-volatility-{window}-day": f"{value:.2f}" for window, value in sorted(found.items())}
    return shown | {"iv-hv-30-day-difference": f"{iv * 100 - found[30]:.2f}"}


def dividends(market: FollowedMarket, symbol: str) -> list[Dividend]:
    """Every dividend that is known, by its ex-date."""
    today = market_date(market.now)
    found = market.events(today - _PAST, today + _AHEAD).dividends
    return [each for each in found if each.symbol == symbol]


def reports(market: FollowedMarket, symbol: str, first: date, last: date) -> list[Earnings]:
    """Earnings reports of a range of days."""
    return [each for each in market.events(first, last).earnings if each.symbol == symbol]


def earned(price: float) -> Decimal:
    """Earnings per share of a quarter at a price, $."""
    return (Decimal(str(round(price, 2))) * EARNINGS_YIELD / 4).quantize(Decimal("0.01"))


def _dividends(market: FollowedMarket, symbol: str, dividend_yield: float) -> dict[str, str]:
    found, today = dividends(market, symbol), market_date(market.now)
    shown = {"dividend-yield": str(dividend_yield)}
    ahead, past = [each for each in found if each.ex > today], [each for each in found if each.ex <= today]
    newest = past[-1] if past else ahead[0] if ahead else None
    if newest is None:
        return shown
    year = [each.amount for each in past if each.ex > today - timedelta(days=365)]
    shown |= {
        "dividend-rate-per-share": str(newest.amount), "dividend-ex-date": newest.ex.isoformat(),
        "dividend-pay-date": newest.payable.isoformat(),
        "annual-dividend-per-share": str(sum(year, Decimal(0)) or newest.amount * 4),
    }  # fmt: skip
    return shown | ({"dividend-next-date": ahead[0].ex.isoformat()} if ahead else {})


def _earnings(market: FollowedMarket, symbol: str, price: float) -> dict[str, Any]:
    today = market_date(market.now)
    ahead = reports(market, symbol, today, today + _AHEAD)
    if not ahead:
        return {}
    quarter = earned(price)
    return {
        "earnings": {
            "visible": True, "estimated": False, "late-flag": 0, "expected-report-date": ahead[0].day.isoformat(),
            "time-of-day": "BTO" if ahead[0].before_open else "AMC", "consensus-estimate": str(quarter),
            "updated-at": stamp(market.now).replace("+00:00", "Z"),
        },
        "earnings-per-share": str(quarter * 4), "price-earnings-ratio": str(round(1 / EARNINGS_YIELD, 1)),
    }  # fmt: skip

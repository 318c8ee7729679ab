"""Readings: volatility of an underlying, greeks and P&L of a book. Missing inputs give None, never zero. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal

import numpy as np

from schemas.account import Position
from schemas.analytics import ExpirationVolatility, PortfolioReading, PositionPnl, VolatilityReading
from schemas.market import MarketMetrics
from schemas.money import price_from_float, to_cent
from strategies.chain import ChainSnapshot
from strategies.live_chain import LiveMarket
from strategies.scan import smile_of

MULTIPLIER = 100
_GREEKS = ("delta", "gamma", "theta", "vega")


def portfolio(
    account_number: str,
    positions: Iterable[Position],
    market: LiveMarket,
    metrics: Mapping[str, MarketMetrics],
    now: datetime,
) -> PortfolioReading:
    """Open P&L at the mid and greeks per underlying and in total."""
    spy = market.chains.get("SPY")
    spy_price = spy.spot if spy is not None and spy.spot > 0 else None
    found, missing = [], 0
    for position in positions:
        if not position.legs:
            continue
        reading, absent = _position(position, market, metrics.get(position.underlying_symbol), spy_price)
        found.append(reading)
        missing += absent
    return PortfolioReading(
        ts_event=now,
        account_number=account_number,
        positions=tuple(sorted(found, key=lambda each: each.underlying_symbol)),
        open_pnl=_total_money([each.open_pnl for each in found]),
        delta=_total([each.beta_weighted_delta for each in found]),
        theta=_total([each.theta for each in found]),
        vega=_total([each.vega for each in found]),
        gamma=_total([each.gamma for each in found]),
        missing_quotes=missing,
    )


def _position(
    position: Position, market: LiveMarket, metrics: MarketMetrics | None, spy_price: float | None
) -> tuple[PositionPnl, int]:
    marks: dict[str, Decimal] = {}
    totals: dict[str, float | None] = dict.fromkeys(_GREEKS, 0.0)
    missing, pnl = 0, Decimal(0)
    for leg in position.legs:
        quote = market.quote(leg.occ_symbol)
        if quote is None or not quote.usable:
            missing += 1
        else:
            marks[leg.occ_symbol] = quote.mid
            pnl += leg.signed_quantity * leg.multiplier * (quote.mid - leg.average_open_price)
        chain = market.chain_of(leg.occ_symbol)
        for name in _GREEKS:
            value, total = chain.greek(name, leg.occ_symbol) if chain else None, totals[name]
            known = value is not None and total is not None
            totals[name] = total + leg.signed_quantity * leg.multiplier * value if known else None  # type: ignore[operator]
    own = market.chains.get(position.underlying_symbol)
    delta, beta = totals["delta"], metrics.beta if metrics else None
    weighted = None
    if delta is not None and beta is not None and own is not None and own.spot > 0 and spy_price:
        weighted = delta * beta * own.spot / spy_price
    reading = PositionPnl(
        underlying_symbol=position.underlying_symbol,
        open_pnl=None if missing else to_cent(pnl, against_us=False),
        delta=delta,
        beta_weighted_delta=weighted,
        gamma=totals["gamma"],
        theta=totals["theta"],
        vega=totals["vega"],
        marks=marks,
    )
    return reading, missing


def volatility(chain: ChainSnapshot, metrics: MarketMetrics | None, now: datetime) -> VolatilityReading:
    """At-the-money volatility, skew and expected move of every expiration that allows a smile."""
    readings = []
    for expiration in np.unique(chain.expiration):
        rows = np.nonzero(chain.expiration == expiration)[0]
        smile = smile_of(chain, rows)
        if smile is None:
            continue
        years = float(chain.years[rows[0]])
        move = smile.forward * smile.at_the_money * years**0.5
        readings.append(
            ExpirationVolatility(
                expiration=expiration.astype("datetime64[D]").item(),
                dte=int(chain.dte[rows[0]]),
                atm_iv=smile.at_the_money,
                skew_25d=_skew(chain, rows),
                expected_move=price_from_float(move),
                forward=price_from_float(smile.forward),
            )
        )
    index = metrics.iv_index if metrics else None
    realised = metrics.historical_volatility_30d if metrics else None
    return VolatilityReading(
        ts_event=now,
        underlying_symbol=chain.underlying_symbol,
        underlying_price=price_from_float(chain.spot) if chain.spot > 0 else None,
        iv_index=index,
        iv_rank=metrics.iv_rank if metrics else None,
        historical_volatility_30d=realised,
        volatility_risk_premium=index - realised if index is not None and realised is not None else None,
        expirations=tuple(readings),
    )


def _skew(chain: ChainSnapshot, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float | None:
    """IV of the put nearest to -0.25 delta less that of the call nearest to 0.25; None where either is missing."""
    if chain.iv is None:
        return None
    found = []
    for is_call, target in ((False, -0.25), (True, 0.25)):
        own = rows[(chain.is_call[rows] == is_call) & np.isfinite(chain.delta[rows]) & np.isfinite(chain.iv[rows])]
        if not len(own):
            return None
        nearest = own[np.argmin(np.abs(chain.delta[own] - target))]
        if abs(chain.delta[nearest] - target) > 0.1:
            return None
        found.append(float(chain.iv[nearest]))
    return found[0] - found[1]


def _total(values: list[float | None]) -> float | None:
    return None if any(value is None for value in values) else float(sum(value or 0.0 for value in values))


def _total_money(values: list[Decimal | None]) -> Decimal | None:
    if any(value is None for value in values):
        return None
    return sum((value for value in values if value is not None), Decimal(0))

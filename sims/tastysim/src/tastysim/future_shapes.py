"""The shapes of futures, options on futures, coins, warrants and currency pairs, and what they are worth."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

import numpy as np

from optionmath.blackscholes import price as black_scholes
from optionmath.sessions import market_date, previous_session
from tastysim.followers import FollowedMarket
from tastysim.futures import (
    FutureContract,
    FutureOptionContract,
    active,
    contracts,
    every_contract,
    option_expirations,
    plain,
    series,
)
from tastysim.market import RATE, YEAR_SECONDS
from tastysim.orders import stamp
from tastysim.products import COINS, FROM_VOLATILITY, PAIRS, PRODUCTS, WARRANTS, Coin, OptionProduct, Product

_HALF_SPREAD, SIZE = 0.01, 25.0
"""Half a spread of an option on a future, of its value; and the contracts that are shown on each side."""


def _ticks(bands: tuple[tuple[str | None, str], ...]) -> list[dict[str, str]]:
    return [{"value": value} | ({"threshold": below} if below else {}) for below, value in bands]


def product(each: Product, *, options: bool = True) -> dict[str, Any]:
    """A futures product; without its option products where it is itself a part of one."""
    found: dict[str, Any] = {
        "root-symbol": each.root, "code": each.code, "description": each.description, "exchange": each.exchange,
        "product-type": each.kind, "listed-months": list(each.listed), "active-months": list(each.listed),
        "notional-multiplier": _text(each.multiplier), "tick-size": _text(each.tick),
        "display-factor": _text(each.display), "streamer-exchange-code": each.streamer_exchange,
        "small-notional": each.small, "back-month-first-calendar-symbol": True,
        "first-notice": not each.cash_settled, "cash-settled": each.cash_settled, "market-sector": each.sector,
        "clearing-code": each.code, "clearing-exchange-code": "16", "legacy-code": each.code,
        "legacy-exchange-code": each.exchange, "security-group": each.code, "supported": True,
        "roll": {
            "name": each.rule, "active-count": each.contracts, "cash-settled": each.cash_settled,
            "business-days-offset": each.roll_days, "first-notice": not each.cash_settled,
        },
    }  # fmt: skip
    return found | ({"option-products": [option_product(one, each) for one in each.options]} if options else {})


def option_product(each: OptionProduct, of: Product, *, whole: bool = False) -> dict[str, Any]:
    """A product of options on futures; `whole`: with its futures product."""
    found: dict[str, Any] = {
        "root-symbol": each.root, "cash-settled": False, "code": each.root, "display-factor": _text(of.display),
        "exchange": of.exchange, "product-type": of.kind,
        "expiration-type": "End-Of-Month" if each.monthly else "Regular", "settlement-delay-days": 0,
        "market-sector": of.sector, "clearing-code": each.root, "clearing-exchange-code": "16",
        "clearing-price-multiplier": "1.0", "is-rollover": False, "is-am-settled": False, "supported": True,
        "legacy-code": each.root,
    }  # fmt: skip
    return found | ({"future-product": product(of, options=False)} if whole else {})


def option_products() -> dict[str, tuple[OptionProduct, Product]]:
    """Products of options on futures by their roots."""
    return {option.root: (option, each) for each in PRODUCTS for option in each.options}


def future(market: FollowedMarket, each: FutureContract) -> dict[str, Any]:
    """One future."""
    today, of = market_date(market.now), each.product
    listed, first = contracts(of, today), active(of, today)
    place = listed.index(each)
    following = listed[place + 1] if place + 1 < len(listed) else None
    ends = stamp(each.ends_at)
    found: dict[str, Any] = {
        "symbol": each.symbol, "instrument-type": "Future", "product-code": of.code, "active": True,
        "active-month": place == first, "next-active-month": place == first + 1, "is-closing-only": False,
        "back-month-first-calendar-symbol": True, "closing-only-date": previous_session(each.last_day).isoformat(),
        "contract-size": _text(of.multiplier), "display-factor": _text(of.display), "exchange": of.exchange,
        "exchange-symbol": each.code, "expiration-date": each.last_day.isoformat(), "expires-at": ends,
        "is-tradeable": False, "last-trade-date": each.last_day.isoformat(), "main-fraction": "0.0",
        "sub-fraction": "0.0", "notional-multiplier": _text(of.multiplier),
        "product-group": f"{of.exchange}_{of.code}", "security-id": str(_identity(each)), "stops-trading-at": ends,
        "streamer-exchange-code": of.streamer_exchange, "streamer-symbol": each.streamer, "tick-size": _text(of.tick),
        "tick-sizes": [{"value": _text(of.tick)}],
        "option-tick-sizes": _ticks(of.options[0].ticks) if of.options else [],
        "spread-tick-sizes": [{"value": _text(of.tick), "symbol": following.symbol}] if following else [],
        "future-product": product(of),
    }  # fmt: skip
    if following is not None:
        found["roll-target-symbol"] = following.symbol
    if of.etf_shares is not None:
        found["future-etf-equivalent"] = {"symbol": of.source, "share-quantity": of.etf_shares}
    return found


def _identity(each: FutureContract) -> int:
    return PRODUCTS.index(each.product) * 10_000 + each.month.year % 100 * 100 + each.month.month


def listed_futures(market: FollowedMarket) -> dict[str, FutureContract]:
    """Futures that this market prices, by symbol."""
    today = market_date(market.now)
    return {name: each for name, each in every_contract(today).items() if market.follower(name) is not None}


def chain(market: FollowedMarket, of: Product) -> list[FutureOptionContract]:
    """Every listed option on the futures of a product."""
    today, found = market_date(market.now), []
    for option in of.options:
        for contract, day in option_expirations(of, option, today):
            found += _series(market, option, contract, day)
    return found


def _series(
    market: FollowedMarket, option: OptionProduct, contract: FutureContract, day: date
) -> list[FutureOptionContract]:
    """One expiration. Strikes are listed around the close before, so that they stay all day."""
    place = market.index_of(contract.symbol)
    price = float("nan") if place is None else float(market.previous_close[place])
    if place is not None and not math.isfinite(price):
        price = float(market.spot[place])
    return series(option, contract, day, price) if math.isfinite(price) else []


def find_option(market: FollowedMarket, symbol: str) -> FutureOptionContract | None:
    """A listed option on a future by its symbol."""
    code = symbol.removeprefix("./")[:5].rstrip()[:-2]
    of = next((each for each in PRODUCTS if each.code == code), None)
    return next((each for each in chain(market, of) if each.symbol == symbol), None) if of else None


def future_option(market: FollowedMarket, each: FutureOptionContract) -> dict[str, Any]:
    """One option on a future."""
    of, ends, day = each.future.product, stamp(each.ends_at), each.expiration.isoformat()
    return {
        "symbol": each.symbol, "instrument-type": "Future Option", "active": True,
        "days-to-expiration": (each.expiration - market_date(market.now)).days, "display-factor": _text(of.display),
        "exchange": of.exchange, "exchange-symbol": f"{each.contract} {each.side}{plain(each.strike)}",
        "exercise-style": "European" if each.option.monthly else "American", "expiration-date": day, "expires-at": ends,
        "future-price-ratio": "1.0", "is-closing-only": False, "is-confirmed": True, "is-exercisable-weekly": True,
        "is-primary-deliverable": True, "is-vanilla": True, "last-trade-time": "0", "maturity-date": day,
        "multiplier": "1.0", "notional-value": _text(of.multiplier * of.display),
        "option-root-symbol": each.option.root, "option-type": each.side, "product-code": of.code,
        "root-symbol": of.root, "security-exchange": "2", "security-id": each.symbol, "settlement-type": "Future",
        "stops-trading-at": ends, "streamer-symbol": each.streamer, "strike-factor": "1.0",
        "strike-price": _text(each.strike), "sx-id": "0", "underlying-count": "1.0",
        "underlying-symbol": each.future.symbol, "future-option-product": option_product(each.option, of),
    }  # fmt: skip


def nested_chain(market: FollowedMarket, of: Product) -> dict[str, Any]:
    """The futures of a product and the options on them, by expiration."""
    today = market_date(market.now)
    first = active(of, today)
    futures = [
        {
            "symbol": each.symbol, "root-symbol": of.root, "streamer-symbol": each.streamer,
            "maturity-date": each.last_day.isoformat(), "expiration-date": each.last_day.isoformat(),
            "days-to-expiration": (each.last_day - today).days, "active-month": place == first,
            "next-active-month": place == first + 1, "stops-trading-at": stamp(each.ends_at),
            "expires-at": stamp(each.ends_at),
        }
        for place, each in enumerate(contracts(of, today))
    ]  # fmt: skip
    chains = [
        {
            "underlying-symbol": of.root, "root-symbol": of.root,
            "exercise-style": "European" if option.monthly else "American",
            "expirations": [
                found for contract, day in option_expirations(of, option, today)
                if (found := _expiration(market, option, contract, day))
            ],
        }
        for option in of.options
    ]  # fmt: skip
    return {"futures": futures, "option-chains": chains}


def _expiration(
    market: FollowedMarket, option: OptionProduct, contract: FutureContract, day: date
) -> dict[str, Any] | None:
    of, found = contract.product, _series(market, option, contract, day)
    if not found:
        return None
    strikes = [
        {
            "strike-price": _text(call.strike), "call": call.symbol, "call-streamer-symbol": call.streamer,
            "put": put.symbol, "put-streamer-symbol": put.streamer,
        }
        for call, put in zip(found[::2], found[1::2], strict=True)
    ]  # fmt: skip
    return {
        "underlying-symbol": contract.symbol, "root-symbol": of.root, "option-root-symbol": option.root,
        "option-contract-symbol": found[0].contract, "asset": option.root, "expiration-date": day.isoformat(),
        "days-to-expiration": (day - market_date(market.now)).days,
        "expiration-type": "End-Of-Month" if option.monthly else "Regular",
        "settlement-type": "AM" if of.rule == "index" and not option.monthly else "PM",
        "notional-value": _text(of.multiplier * of.display), "display-factor": _text(of.display),
        "strike-factor": "1.0", "stops-trading-at": stamp(found[0].ends_at), "expires-at": stamp(found[0].ends_at),
        "tick-sizes": _ticks(option.ticks), "strikes": strikes,
    }  # fmt: skip


def option_quote(market: FollowedMarket, each: FutureOptionContract) -> tuple[float, float] | None:
    """Bid and ask by Black's formula at the volatility of the future's source; None when it is not known."""
    place = market.index_of(each.future.symbol)
    if place is None or each.future.product.code in FROM_VOLATILITY:
        return None
    price, volatility = float(market.spot[place]), float(market.volatility[place])
    years = max((each.ends_at - market.now).total_seconds(), 0.0) / YEAR_SECONDS
    worth = float(np.asarray(black_scholes(price, each.strike, years, volatility, RATE, RATE, each.call)))
    if not math.isfinite(worth):
        return None
    tick = next(float(tick) for below, tick in each.option.ticks if below is None or worth < float(below))
    half = max(worth * _HALF_SPREAD, tick / 2)
    bid = max(math.floor((worth - half) / tick + 1e-9), 0) * tick
    return round(bid, 6), round(max(math.ceil((worth + half) / tick - 1e-9) * tick, bid + tick), 6)


def coin(each: Coin) -> dict[str, Any]:
    """A coin."""
    venue = {
        "id": each.id, "symbol": each.symbol, "destination-venue": "SIM", "max-price-precision": 2,
        "max-quantity-precision": 8, "routable": False,
    }  # fmt: skip
    return {
        "id": each.id, "symbol": each.symbol, "instrument-type": "Cryptocurrency", "active": True,
        "description": f"{each.name} to USD", "short-description": each.name, "is-closing-only": True,
        "streamer-symbol": each.streamer, "tick-size": "0.01", "destination-venue-symbols": [venue],
    }  # fmt: skip


def coins() -> dict[str, dict[str, Any]]:
    """Coins by symbol."""
    return {each.symbol: coin(each) for each in COINS}


def warrants() -> dict[str, dict[str, Any]]:
    """Warrants by symbol."""
    return {
        symbol: {
            "symbol": symbol, "instrument-type": "Warrant", "listed-market": market, "description": description,
            "is-closing-only": True, "active": False,
        }
        for symbol, market, description in WARRANTS
    }  # fmt: skip


def pairs() -> list[dict[str, Any]]:
    """Currency pairs."""
    return [
        {"id": identity, "symbol": symbol, "dx-symbol": symbol, "instrument-type": "Currency Pair", "description": text}
        for identity, symbol, text in PAIRS
    ]


def precisions() -> list[dict[str, Any]]:
    """Decimals of quantities: five of a share, none of a contract, eight of a coin."""
    found: list[dict[str, Any]] = [
        {"instrument-type": kind, "value": value, "minimum-increment-precision": 0}
        for kind, value in (("Equity", 5), ("Equity Option", 0), ("Future", 0), ("Future Option", 0))
    ]
    return found + [
        {"instrument-type": "Cryptocurrency", "symbol": each.symbol, "value": 8, "minimum-increment-precision": 8}
        for each in COINS
    ]


def _text(value: object) -> str:
    """A decimal with at least one place."""
    text = f"{value}" if not isinstance(value, float) else f"{value:.6f}".rstrip("0")
    return text if "." in text and not text.endswith(".") else text.rstrip(".") + ".0"

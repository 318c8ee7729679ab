"""P9: one risk decision, every control with value at risk by full revaluation, at 20 and at 500 positions.

An iron condor of SPY is proposed to an account that holds as many condors of 17 underlyings and four expirations, all
American, with five open orders beside them. Facts are in hand, as after the ledger was read; nothing is kept between
decisions but what the service keeps. Times are of one thread: best and median, wall and CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from statistics import median

import numpy as np

from ledger.limits import DEFAULTS
from risk.domain.case import Case
from risk.domain.decision import CONTROLS, decide
from risk.domain.facts import Account, Around, Contract, Held, Market, Order, Quotes, option_of
from schemas.account import GateMode
from schemas.symbols import OptionSymbol, OptionType
from schemas.trade import Leg, OrderAction, ProposeTrade, Purpose, SpreadType

D = Decimal
BUY, SELL = OrderAction.BUY_TO_OPEN, OrderAction.SELL_TO_OPEN
NAMES = ("SPY", "QQQ", "IWM", "DIA", "AAPL", "MSFT", "GOOGL", "AMZN", "TSLA", "NVDA", "META", "JPM", "BAC", "XLF",
         "XLE", "GLD", "SLV")  # fmt: skip
NOW, FIRST = datetime(2026, 11, 24, 17, tzinfo=UTC), date(2026, 12, 18)
ROUNDS, TARGET_MS = 15, {20: 3.0, 500: 20.0}


def condor(name: str, number: int, spot: int) -> tuple[tuple[str, int], ...]:
    """Symbol and signed contracts of one unit."""
    day, shift = FIRST + timedelta(days=7 * (number % 4)), number // (4 * len(NAMES))
    sides = ((90, OptionType.PUT, 1), (95, OptionType.PUT, -1), (105, OptionType.CALL, -1), (110, OptionType.CALL, 1))
    return tuple(
        (OptionSymbol(name, day, kind, D(spot * part // 100 + shift)).occ, count) for part, kind, count in sides
    )


def market(symbols: set[str], spots: dict[str, int]) -> Market:
    """Every contract with what it takes to value it."""
    contracts, marks = {}, {}
    for symbol in symbols:
        option = option_of(symbol)
        years = (option.expiration - NOW.date()).days / 365
        contracts[symbol] = Contract(float(spots[option.root_symbol]), 0.22, years, 0.04, 0.01, True)
        marks[symbol] = D("1.20") if abs(option.strike / spots[option.root_symbol] - 1) < D("0.07") else D("0.60")
    return Market(
        contracts, dict.fromkeys(NAMES, 1.1) | {"SPY": 1.0}, dict.fromkeys(NAMES, 0.25) | {"SPY": 0.16},
        dict.fromkeys(symbols, 0.2), dict.fromkeys(symbols, 0.1), {name: float(each) for name, each in spots.items()},
        marks,
    )  # fmt: skip


def case(positions: int) -> Case:
    """A proposal to an account with this many condors."""
    spots = {name: 100 + 30 * number for number, name in enumerate(NAMES)}
    rows = [(name, condor(name, n, spots[name])) for n in range(positions) for name in (NAMES[n % len(NAMES)],)]
    held: dict[tuple[str, str], int] = {}
    for name, legs in rows:
        for symbol, count in legs:
            held[name, symbol] = held.get((name, symbol), 0) + count
    orders = tuple(
        Order(name, condor(name, 3, spots[name]), 1, D("1.20"), max_loss=D(400), buying_power=D(400), delta=1.0,
              vega=-1.0, age_seconds=5.0)
        for name in NAMES[1:6]
    )  # fmt: skip
    own = condor("SPY", 2, spots["SPY"])
    trade = ProposeTrade(
        ts_event=NOW, proposal_id="p", account_number="5WT00001", source="demo", strategy_id="default", signal_id="s",
        purpose=Purpose.OPEN, underlying_symbol="SPY", spread_type=SpreadType.IRON_CONDOR,
        legs=tuple(
            Leg(occ_symbol=symbol, action=BUY if count > 0 else SELL, quantity=1)
            for symbol, count in own
        ),
        quantity=1, start_price=D("1.25"), limit_price=D("1.20"), decision_mid=D("1.25"),
        valid_until=NOW + timedelta(seconds=30),
    )  # fmt: skip
    symbols = {symbol for _, symbol in held} | {symbol for each in orders for symbol, _ in each.legs}
    symbols |= {symbol for symbol, _ in own}
    net_liq = D(100_000) * max(1, positions // 20)
    account = Account(
        net_liq, net_liq, D(0), net_liq, net_liq, net_liq,
        tuple(Held(symbol, name, count, D("1.00"), "ETF") for (name, symbol), count in held.items() if count), orders,
    )  # fmt: skip
    quotes = Quotes(
        True, 120.0, 240.0, False, 0.5, 1.0, 0.5, 0.2, 2.0, 0.1, D("1.25"), D("1.20"), D("1.24"), 0, 0, 4.0, True, 0,
        sector="ETF",
    )  # fmt: skip
    around = Around(GateMode.RUN, True, 0.5, (), 0.1, (), (), D("880"))
    return Case(trade, account, market(symbols, spots), quotes, around, DEFAULTS, NOW)


def _spent(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall milliseconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return 1e3 * (time.process_time() - cpu), 1e3 * (time.perf_counter() - wall)


def _afresh(made: Case) -> object:
    """A replaced case has none of the figures that the one before has made."""
    return decide(replace(made))


def measure() -> dict[str, object]:
    """Median and best of rounds."""
    found: dict[str, dict[str, float]] = {}
    met = True
    for positions, target in TARGET_MS.items():
        made = case(positions)
        decision = decide(replace(made))
        missing = [each.rule for each in decision.controls if each.margin is None]
        assert not missing, missing
        assert sum(control.scope.takes(made) for control in CONTROLS) == len(decision.controls)
        times = np.array([_spent(partial(_afresh, made)) for _ in range(ROUNDS)])
        found[str(positions)] = {
            "legs": len(made.account.held), "cpu_ms": round(median(times[:, 0]), 2),
            "best_cpu_ms": round(float(times[:, 0].min()), 2), "wall_ms": round(median(times[:, 1]), 2),
            "best_wall_ms": round(float(times[:, 1].min()), 2), "controls": len(decision.controls),
        }  # fmt: skip
        met &= found[str(positions)]["best_cpu_ms"] <= target
    return {
        "what": "risk decision with all controls and value at risk by full revaluation, CPU-milliseconds",
        "ours": found["500"]["cpu_ms"],
        "peer": None,
        "peer_name": "none measured",
        "ratio": None,
        "target": {str(positions): limit for positions, limit in TARGET_MS.items()},
        "positions": found,
        "met": met,
    }

"""Builders: a sound proposal in a sound world, of which a test changes what matters."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from ledger.limits import DEFAULTS
from risk.domain.case import Case
from risk.domain.facts import Account, Around, Contract, Held, Market, Order, Quotes, option_of
from schemas.account import GateMode
from schemas.symbols import OptionSymbol, OptionType
from schemas.trade import Candidate, Leg, OrderAction, ProposeTrade, Purpose, SpreadType

D = Decimal
NOW = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
DAY, LATER = date(2027, 1, 15), date(2027, 2, 19)
SHORT, LONG = "SPY   270115P00600000", "SPY   270115P00595000"
SPOTS = {"SPY": 620.0, "QQQ": 520.0, "AAPL": 240.0, "XLF": 50.0}


def occ(root: str, strike: object, kind: OptionType = OptionType.PUT, expiration: date = DAY) -> str:
    return OptionSymbol(root, expiration, kind, D(str(strike))).occ


def leg(symbol: str, action: OrderAction, quantity: int = 1) -> Leg:
    return Leg(occ_symbol=symbol, action=action, quantity=quantity)


SPREAD = (leg(SHORT, OrderAction.SELL_TO_OPEN), leg(LONG, OrderAction.BUY_TO_OPEN))
CLOSING = (leg(SHORT, OrderAction.BUY_TO_CLOSE), leg(LONG, OrderAction.SELL_TO_CLOSE))
HELD_SPREAD = (Held(SHORT, "SPY", -1, D("2.00"), "ETF"), Held(LONG, "SPY", 1, D("1.00"), "ETF"))


def proposal(**changes: Any) -> ProposeTrade:
    values: dict[str, Any] = {
        "ts_event": NOW, "proposal_id": "p1", "account_number": "5WT00001", "source": "demo", "strategy_id": "default",
        "signal_id": "s1", "purpose": Purpose.OPEN, "underlying_symbol": "SPY",
        "spread_type": SpreadType.PUT_CREDIT_SPREAD, "legs": SPREAD, "quantity": 1, "start_price": D("1.70"),
        "limit_price": D("1.60"), "decision_mid": D("1.70"), "valid_until": NOW + timedelta(seconds=30),
    }  # fmt: skip
    return ProposeTrade(**values | changes)


def candidate(**changes: Any) -> Candidate:
    values: dict[str, Any] = {
        "ts_event": NOW, "candidate_id": "c1", "cycle_id": "y1", "underlying_symbol": "SPY",
        "spread_type": SpreadType.PUT_CREDIT_SPREAD, "legs": SPREAD, "quantity": 1, "expiration": DAY, "dte": 52,
        "sector": "ETF", "mid_price": D("1.70"), "natural_price": D("1.60"), "expected_fill_price": D("1.66"),
        "limit_price": D("1.60"), "tick_size": D("0.01"), "width": D(5), "max_profit": D(166), "max_loss": D(334),
        "breakevens": (D("598.34"),), "pop": 0.7, "underlying_price": D(620), "passed": True, "rules": (),
    }  # fmt: skip
    return Candidate(**values | changes)


def market(*symbols: str, **changes: Any) -> Market:
    """Contracts 52 days away at 20 % volatility; legs of the spread among them."""
    contracts, deltas, vegas, marks = {}, {}, {}, {}
    for symbol in {SHORT, LONG, *symbols}:
        option = option_of(symbol)
        spot = SPOTS[option.root_symbol]
        contracts[symbol] = Contract(spot, 0.20, 52 / 365, 0.04, 0.0, True)
        deltas[symbol] = -0.30 if symbol != LONG else -0.27
        vegas[symbol] = 0.75 if symbol != LONG else 0.70
        marks[symbol] = D("8.00") if symbol != LONG else D("6.30")
    values: dict[str, Any] = {
        "contracts": contracts, "deltas": deltas, "vegas": vegas, "marks": marks, "spots": dict(SPOTS),
        "betas": dict.fromkeys(SPOTS, 1.0), "volatility": dict.fromkeys(SPOTS, 0.18),
    }  # fmt: skip
    return Market(**values | changes)


QUOTES = Quotes(
    market_open=True, minutes_since_open=120.0, minutes_to_close=240.0, expires_today=False, feed_age_seconds=0.5,
    quote_age_seconds=1.0, leg_skew_seconds=0.4, underlying_age_seconds=0.2, greeks_age_seconds=2.0,
    underlying_move_pct=0.1, mid=D("1.70"), natural=D("1.60"), theoretical=D("1.68"), unsound_legs=0,
    sold_without_bid=0, widest_spread_pct=4.0, listed=True, unlisted_contracts=0, sector="ETF",
)  # fmt: skip
AROUND = Around(
    gate=GateMode.RUN, armed=True, executor_age_seconds=0.4, executor_holds=(), clock_skew_seconds=0.1, strangers=(),
    restrictions=(), broker_effect=D("341.12"), dry_run_required=True,
)  # fmt: skip
ACCOUNT = Account(
    net_liq=D(100_000), buying_power=D(95_000), maintenance_requirement=D(5_000), start_of_day_net_liq=D(100_000),
    start_of_week_net_liq=D(100_000), high_water_mark=D(100_000),
)  # fmt: skip


def order(**changes: Any) -> Order:
    """A put spread of another underlying that works at the broker."""
    values: dict[str, Any] = {
        "underlying_symbol": "QQQ", "legs": ((occ("QQQ", 500), -1), (occ("QQQ", 495), 1)), "quantity": 1,
        "worst_price": D("1.60"), "sector": "ETF", "max_loss": D(340), "buying_power": D(340), "delta": 1.0,
        "vega": -1.0, "age_seconds": 5.0, "strategy_id": "default",
    }  # fmt: skip
    return Order(**values | changes)


def symbols_of(account: Account, trade: ProposeTrade) -> set[str]:
    found = {each.occ_symbol for each in account.held} | {each.occ_symbol for each in trade.legs}
    return found | {symbol for each in account.orders for symbol, _ in each.legs}


def case(
    trade: dict[str, Any] | None = None,
    account: dict[str, Any] | None = None,
    quotes: dict[str, Any] | None = None,
    around: dict[str, Any] | None = None,
    limits: dict[str, str] | None = None,
    seen: dict[str, Any] | None = None,
    **changes: Any,
) -> Case:
    """A case that passes, with changes to its parts; `limits` names new values, `seen` changes the market."""
    proposed = proposal(**(trade or {}))
    holder = replace(ACCOUNT, **(account or {}))
    values = dict(DEFAULTS.values) | {name: D(value) for name, value in (limits or {}).items()}
    found = Case(
        trade=proposed,
        account=holder,
        market=replace(market(*symbols_of(holder, proposed)), **(seen or {})),
        quotes=replace(QUOTES, **(quotes or {})),
        around=replace(AROUND, **(around or {})),
        limits=replace(DEFAULTS, values=values),
        now=NOW,
    )
    return replace(found, **changes)

"""What a decision is made of. None = not known, which denies. Dollars unless said otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import lru_cache

from ledger.throttles import Repeats, Traffic
from schemas.account import GateMode
from schemas.symbols import OptionSymbol, parse_occ
from schemas.trade import Purpose

AUTOMATED = "scanner"
"""Source of the proposals that automation makes."""


@lru_cache(maxsize=65_536)
def option_of(occ_symbol: str) -> OptionSymbol:
    """The contract behind a symbol."""
    return parse_occ(occ_symbol)


@dataclass(frozen=True, slots=True)
class Held:
    """Contracts of one symbol. Short negative; average_open_price unsigned, $ per share."""

    occ_symbol: str
    underlying_symbol: str
    signed_quantity: int
    average_open_price: Decimal
    sector: str = "Unknown"


@dataclass(frozen=True, slots=True)
class Order:
    """An order that may fill: approved, working, unknown, or the one that is judged."""

    underlying_symbol: str
    legs: tuple[tuple[str, int], ...]
    """Symbol and signed contracts of one unit, sold negative."""
    quantity: int
    worst_price: Decimal
    """Net $ per share, credit positive: the least favourable fill."""
    purpose: Purpose = Purpose.OPEN
    strategy_id: str = ""
    sector: str = "Unknown"
    max_loss: Decimal = Decimal(0)
    """What it reserves; a magnitude."""
    buying_power: Decimal = Decimal(0)
    delta: float | None = None
    """Beta-weighted, in SPY shares, of all units."""
    vega: float | None = None
    """$ per volatility point, of all units."""
    unknown: bool = False
    """Its fate at the broker is not known."""
    age_seconds: float = 0.0

    @property
    def expirations(self) -> tuple[date, ...]:
        """Of its legs, ascending."""
        return tuple(sorted({option_of(symbol).expiration for symbol, _ in self.legs}))


@dataclass(frozen=True, slots=True)
class Activity:
    """What the account and the strategy did lately."""

    trades_today: int = 0
    automated_trades_today: int = 0
    unknown_of_strategy: int = 0
    rejects_last_minute: int = 0
    """Of the strategy: orders the broker refused and proposals that were wrong in themselves."""
    rejects_today: int = 0
    slippage_ten_minutes: Decimal = Decimal(0)
    """$ given up against the mid at the decision, all fills of the account."""
    slippage_today: Decimal = Decimal(0)
    repeats: Repeats = field(default_factory=lambda: Repeats(0, 0, 0))
    traffic: Traffic = field(default_factory=lambda: Traffic(Decimal(1), 0, 0, 0))


@dataclass(frozen=True, slots=True)
class Account:
    """What the ledger and the broker know of an account."""

    net_liq: Decimal | None = None
    buying_power: Decimal | None = None
    maintenance_requirement: Decimal | None = None
    start_of_day_net_liq: Decimal | None = None
    start_of_week_net_liq: Decimal | None = None
    high_water_mark: Decimal | None = None
    held: tuple[Held, ...] = ()
    orders: tuple[Order, ...] = ()
    """Everything reserved, openings and closes."""
    frozen: Mapping[str, str] = field(default_factory=dict)
    """Underlying → why nothing opens there."""
    activity: Activity = field(default_factory=Activity)

    @property
    def opens(self) -> tuple[Order, ...]:
        """Opening orders among them."""
        return tuple(each for each in self.orders if each.purpose is Purpose.OPEN)


@dataclass(frozen=True, slots=True)
class Contract:
    """What it takes to value one contract: $ per share, per year, years."""

    spot: float
    sigma: float
    years: float
    rate: float
    dividend_yield: float
    american: bool


@dataclass(frozen=True, slots=True)
class Market:
    """The market around a decision: contracts by symbol, underlyings by symbol. What is not known is absent."""

    contracts: Mapping[str, Contract] = field(default_factory=dict)
    betas: Mapping[str, float] = field(default_factory=dict)
    volatility: Mapping[str, float] = field(default_factory=dict)
    """Of each underlying, a fraction a year."""
    deltas: Mapping[str, float] = field(default_factory=dict)
    """Per share, by contract; likewise vegas, $ per share and volatility point."""
    vegas: Mapping[str, float] = field(default_factory=dict)
    spots: Mapping[str, float] = field(default_factory=dict)
    """$ per share, by underlying; SPY is the market."""
    marks: Mapping[str, Decimal] = field(default_factory=dict)
    """Mid of each contract with a usable quote, $ per share."""

    @property
    def spy_price(self) -> float | None:
        """The market's own price."""
        return self.spots.get("SPY")


@dataclass(frozen=True, slots=True)
class Quotes:
    """The quotes that an order would meet."""

    market_open: bool | None = None
    minutes_since_open: float | None = None
    minutes_to_close: float | None = None
    expires_today: bool | None = None
    """Whether some leg of the order does."""
    feed_age_seconds: float | None = None
    quote_age_seconds: float | None = None
    """Of the oldest leg."""
    leg_skew_seconds: float | None = None
    """Newest less oldest leg."""
    underlying_age_seconds: float | None = None
    greeks_age_seconds: float | None = None
    underlying_move_pct: float | None = None
    """Greatest move of the underlying within 60 seconds, magnitude."""
    mid: Decimal | None = None
    natural: Decimal | None = None
    theoretical: Decimal | None = None
    """Model value of one unit as a net price, credit positive."""
    unsound_legs: int | None = None
    """Legs whose quote is missing, locked, crossed, one-sided, or no number."""
    sold_without_bid: int | None = None
    widest_spread_pct: float | None = None
    """Bid–ask spread of the widest leg, % of its mid."""
    listed: bool | None = None
    """Whether the underlying may be traded at all."""
    unlisted_contracts: int | None = None
    """Legs that are no standard contract of the underlying's chain."""
    tick: Decimal = Decimal("0.01")
    """Of the order's net price."""
    sector: str = "Unknown"


@dataclass(frozen=True, slots=True)
class Around:
    """The system around a decision, and the broker's own word."""

    gate: GateMode = GateMode.CANCEL_WORKING
    armed: bool = False
    executor_age_seconds: float | None = None
    """Since the executor last spoke of this account."""
    executor_holds: tuple[str, ...] | None = None
    """Why the executor would not open."""
    clock_skew_seconds: float | None = None
    """Magnitude: local less broker's time."""
    strangers: tuple[str, ...] | None = None
    """Trading processes of another build, schema or mode."""
    restrictions: tuple[str, ...] | None = None
    """What the broker restricts the account to."""
    broker_effect: Decimal | None = None
    """Buying power the broker's dry run takes for the order, positive."""
    broker_refusal: str = ""
    """Why its dry run refused."""
    dry_run_required: bool = True

"""Trade ideas: candidates with every rule's verdict, scan cycles, and the proposals made of them."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Literal

from pydantic import Field

from schemas.base import Command, Message, UtcDatetime, Value
from schemas.money import Money, Price


class SpreadType(StrEnum):
    """Named structures. A structure not in this list is `CUSTOM`."""

    PUT_CREDIT_SPREAD = "put_credit_spread"
    CALL_CREDIT_SPREAD = "call_credit_spread"
    IRON_CONDOR = "iron_condor"
    CUSTOM = "custom"
    LONG_STOCK = "long_stock"
    SHORT_STOCK = "short_stock"
    LONG_CALL = "long_call"
    SHORT_CALL = "short_call"
    LONG_PUT = "long_put"
    SHORT_PUT = "short_put"
    CASH_SECURED_PUT = "cash_secured_put"
    COVERED_CALL = "covered_call"
    COVERED_PUT = "covered_put"
    PROTECTIVE_PUT = "protective_put"
    PROTECTIVE_CALL = "protective_call"
    COLLAR = "collar"
    SHORT_COLLAR = "short_collar"
    COVERED_STRANGLE = "covered_strangle"
    COVERED_STRADDLE = "covered_straddle"
    CONVERSION = "conversion"
    REVERSAL = "reversal"
    SYNTHETIC_LONG_STOCK = "synthetic_long_stock"
    SYNTHETIC_SHORT_STOCK = "synthetic_short_stock"
    RISK_REVERSAL = "risk_reversal"
    BEARISH_RISK_REVERSAL = "bearish_risk_reversal"
    BULLISH_SEAGULL = "bullish_seagull"
    BEARISH_SEAGULL = "bearish_seagull"
    CALL_DEBIT_SPREAD = "call_debit_spread"
    PUT_DEBIT_SPREAD = "put_debit_spread"
    LONG_CALL_BUTTERFLY = "long_call_butterfly"
    SHORT_CALL_BUTTERFLY = "short_call_butterfly"
    LONG_PUT_BUTTERFLY = "long_put_butterfly"
    SHORT_PUT_BUTTERFLY = "short_put_butterfly"
    BROKEN_WING_CALL_BUTTERFLY = "broken_wing_call_butterfly"
    BROKEN_WING_PUT_BUTTERFLY = "broken_wing_put_butterfly"
    LONG_CALL_CONDOR = "long_call_condor"
    SHORT_CALL_CONDOR = "short_call_condor"
    LONG_PUT_CONDOR = "long_put_condor"
    SHORT_PUT_CONDOR = "short_put_condor"
    BROKEN_WING_CALL_CONDOR = "broken_wing_call_condor"
    BROKEN_WING_PUT_CONDOR = "broken_wing_put_condor"
    CALL_RATIO_SPREAD = "call_ratio_spread"
    PUT_RATIO_SPREAD = "put_ratio_spread"
    CALL_BACK_RATIO = "call_back_ratio"
    PUT_BACK_RATIO = "put_back_ratio"
    CALL_ZEBRA = "call_zebra"
    PUT_ZEBRA = "put_zebra"
    LONG_CALL_LADDER = "long_call_ladder"
    SHORT_CALL_LADDER = "short_call_ladder"
    LONG_PUT_LADDER = "long_put_ladder"
    SHORT_PUT_LADDER = "short_put_ladder"
    CALL_CHRISTMAS_TREE = "call_christmas_tree"
    PUT_CHRISTMAS_TREE = "put_christmas_tree"
    LONG_BOX = "long_box"
    SHORT_BOX = "short_box"
    LONG_STRADDLE = "long_straddle"
    SHORT_STRADDLE = "short_straddle"
    LONG_STRANGLE = "long_strangle"
    SHORT_STRANGLE = "short_strangle"
    LONG_GUTS = "long_guts"
    SHORT_GUTS = "short_guts"
    STRAP = "strap"
    STRIP = "strip"
    IRON_BUTTERFLY = "iron_butterfly"
    REVERSE_IRON_CONDOR = "reverse_iron_condor"
    REVERSE_IRON_BUTTERFLY = "reverse_iron_butterfly"
    JADE_LIZARD = "jade_lizard"
    TWISTED_SISTER = "twisted_sister"
    BIG_LIZARD = "big_lizard"
    REVERSE_BIG_LIZARD = "reverse_big_lizard"
    CALL_CALENDAR = "call_calendar"
    PUT_CALENDAR = "put_calendar"
    SHORT_CALL_CALENDAR = "short_call_calendar"
    SHORT_PUT_CALENDAR = "short_put_calendar"
    DOUBLE_CALENDAR = "double_calendar"
    CALENDAR_STRADDLE = "calendar_straddle"
    CALL_DIAGONAL = "call_diagonal"
    PUT_DIAGONAL = "put_diagonal"
    SHORT_CALL_DIAGONAL = "short_call_diagonal"
    SHORT_PUT_DIAGONAL = "short_put_diagonal"
    DOUBLE_DIAGONAL = "double_diagonal"
    POOR_MANS_COVERED_CALL = "poor_mans_covered_call"
    POOR_MANS_COVERED_PUT = "poor_mans_covered_put"


class OrderAction(StrEnum):
    BUY_TO_OPEN = "Buy to Open"
    SELL_TO_OPEN = "Sell to Open"
    BUY_TO_CLOSE = "Buy to Close"
    SELL_TO_CLOSE = "Sell to Close"

    @property
    def sign(self) -> int:
        """+1 for a purchase, -1 for a sale."""
        return 1 if self in (OrderAction.BUY_TO_OPEN, OrderAction.BUY_TO_CLOSE) else -1

    @property
    def opens(self) -> bool:
        return self in (OrderAction.BUY_TO_OPEN, OrderAction.SELL_TO_OPEN)


class Purpose(StrEnum):
    OPEN = "open"
    CLOSE = "close"


class Leg(Value):
    """One component of a structure or an order."""

    occ_symbol: str
    action: OrderAction
    quantity: int = Field(gt=0)
    """Contracts per unit of the structure, unsigned."""


class RuleResult(Value):
    """What one rule said of one candidate."""

    rule: str
    """Setting name of the rule, as in the rule set."""
    passed: bool
    value: float | None
    """What was measured; None when the fact is missing (then the rule fails)."""
    limit: float | None
    comparison: Literal[">=", "<=", "==", "in"]
    """How value must stand to limit."""
    margin: float | None
    """Distance to the limit in the unit of value; positive = passes with room, negative = misses by that much."""
    unit: str = ""
    detail: str = ""


class ManagedTrade(Value):
    """What a candidate can expect when the exit rules manage it; simulated under the forecast, after costs."""

    pop: float
    """Probability of a profit at the exit, 0-1; not the probability at expiration."""
    pop_error: float
    """One standard error of the simulation."""
    expected_value: float
    """Dollars, for all units."""
    expected_value_error: float
    days: float
    """Mean calendar days held."""
    target_share: float
    """Share of the paths that end at the profit target, 0-1; likewise the stop and the time rule."""
    stop_share: float
    time_share: float


class Candidate(Message):
    """A trade idea with the facts that judge it.

    Per-share prices are credit positive; dollar totals are for all `quantity` units.
    """

    candidate_id: str
    cycle_id: str
    underlying_symbol: str
    spread_type: SpreadType
    legs: tuple[Leg, ...]
    quantity: int = Field(gt=0)
    """Units of the structure."""
    expiration: date
    dte: int
    sector: str
    mid_price: Price
    """Net mid, $ per share, credit positive."""
    natural_price: Price
    expected_fill_price: Price
    """Where the fill model expects to trade, $ per share, credit positive."""
    limit_price: Price
    """Worst net price the walk may reach: every hard filter still passes, and at most 2 ticks past natural."""
    tick_size: Price
    width: Price
    max_profit: Money
    """Magnitude, at the expected fill."""
    max_loss: Money
    """Magnitude, at the expected fill."""
    breakevens: tuple[Price, ...]
    pop: float | None
    """Probability of at least $0.01 at expiration, 0-1."""
    pop_definition: str = "pop_q_skew"
    expected_value: float | None = None
    """Dollars, at the expected fill, under the forecast distribution; None when no forecast exists."""
    expected_value_q: float | None = None
    """Dollars, at the expected fill, under the market's own distribution."""
    score: float | None = None
    score_parts: dict[str, float] = {}
    score_coverage: float | None = None
    """Share of the score's inputs that were present, 0-1."""
    momentum_z: float | None = None
    flow_z: float | None = None
    delta: float | None = None
    """Of `quantity` units, in shares of the underlying."""
    beta_weighted_delta: float | None = None
    """In SPY shares."""
    gamma: float | None = None
    theta: float | None = None
    """Dollars per day."""
    vega: float | None = None
    """Dollars per volatility point."""
    underlying_price: Price
    oldest_quote_at: UtcDatetime | None = None
    managed: ManagedTrade | None = None
    """None where it was not simulated: a near miss, or no volatility of a leg."""
    thesis: str = ""
    passed: bool
    rules: tuple[RuleResult, ...]
    rank: int | None = None
    in_basket: bool = False


class ScanCycle(Message):
    """One full scan: counts, verdicts per rule and the basket."""

    cycle_id: str
    started_at: UtcDatetime
    duration_ms: float
    rule_set: str
    rule_set_version: int = 1
    underlyings: int
    contracts: int
    quotes_usable: int
    evaluated: int
    passed: int
    rejected_by_rule: dict[str, int]
    """Candidates that each rule refused (a candidate may be refused by several)."""
    only_rejected_by_rule: dict[str, int] = {}
    """Candidates that would have passed but for this one rule."""
    data_quality: dict[str, int] = {}
    """Quotes left out: locked, crossed, one_sided, zero, stale, not_a_number."""
    skipped: dict[str, str] = {}
    """Underlyings that could not be scanned, with the reason."""
    candidates: tuple[Candidate, ...] = ()
    """Those that passed, best first (bounded), then near misses."""
    basket: tuple[str, ...] = ()
    """Candidate ids, exactly basket_size of them or none."""
    basket_score: float | None = None
    greedy_basket: tuple[str, ...] = ()
    greedy_score: float | None = None
    basket_delta: float | None = None
    """Beta-weighted, SPY shares."""
    basket_vega: float | None = None
    """Dollars per volatility point."""
    message: str = ""
    executed: bool = False
    """Whether the basket was proposed (automation armed)."""


class ProposeTrade(Command):
    """Ask risk for a decision on one trade. Idempotent by (account, strategy_id, signal_id, purpose)."""

    proposal_id: str
    account_number: str
    source: str
    """`scanner` or the name of the user."""
    strategy_id: str
    signal_id: str
    purpose: Purpose
    underlying_symbol: str
    spread_type: SpreadType
    legs: tuple[Leg, ...] = Field(min_length=1, max_length=4)
    quantity: int = Field(gt=0)
    start_price: Price
    """First limit price, $ per share, credit positive."""
    limit_price: Price
    """Worst acceptable net price."""
    decision_mid: Price
    """Mid when the idea was formed, for slippage."""
    candidate: Candidate | None = None
    """Present for a scanned idea."""
    thesis: str = ""
    valid_until: UtcDatetime

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
    """Worst net price at which every hard filter still passes (on the tick grid): the walk never goes past it."""
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

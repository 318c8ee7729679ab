"""Tables of the schema `ledger`. Prices: $ per share, credit positive; money: dollars, magnitudes where named so."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar

from sqlalchemy import BigInteger, Column, DateTime, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

SCHEMA = "ledger"


def _price(*, nullable: bool = True) -> Any:
    return Field(sa_type=Numeric(12, 4), nullable=nullable)


def _money() -> Any:
    return Field(default=None, sa_type=Numeric(14, 2), nullable=True)


def _instant(*, nullable: bool = True) -> Any:
    if nullable:
        return Field(default=None, sa_type=DateTime(timezone=True), nullable=True)
    return Field(sa_type=DateTime(timezone=True), nullable=False)


class Gate(SQLModel, table=True):
    """What may be sent, per scope. `lock_anchor` exists so that a share lock can be granted without write access."""

    __tablename__ = "gate"
    __table_args__: ClassVar[Any] = {"schema": SCHEMA}
    scope: str = Field(primary_key=True)
    scope_value: str = Field(default="", primary_key=True)
    mode: str
    revision: int = Field(sa_type=BigInteger)
    who: str
    why: str
    changed_at: datetime = _instant(nullable=False)
    lock_anchor: int = 0


class GateClock(SQLModel, table=True):
    """One row: the revision of the newest gate change."""

    __tablename__ = "gate_clock"
    __table_args__: ClassVar[Any] = {"schema": SCHEMA}
    id: int = Field(default=1, primary_key=True)
    revision: int = Field(sa_type=BigInteger)


class Armed(SQLModel, table=True):
    """Whether automation may open positions in an account."""

    __tablename__ = "armed"
    __table_args__: ClassVar[Any] = {"schema": SCHEMA}
    account_number: str = Field(primary_key=True)
    armed: bool
    who: str
    why: str
    changed_at: datetime = _instant(nullable=False)
    lock_anchor: int = 0


class Intent(SQLModel, table=True):
    """One order, sent at most once. A price step is a child with `parent_intent_id` and the next `walk_step`."""

    __tablename__ = "intent"
    __table_args__: ClassVar[Any] = {"schema": SCHEMA}
    intent_id: str = Field(primary_key=True)
    account_number: str
    proposal_id: str
    strategy_id: str
    signal_id: str
    purpose: str
    source: str
    underlying_symbol: str
    spread_type: str
    legs: list[dict[str, Any]] = Field(sa_column=Column(JSONB, nullable=False))
    quantity: int
    limit_price: Decimal = _price(nullable=False)
    worst_price: Decimal = _price(nullable=False)
    decision_mid: Decimal | None = _price()
    tick_size: Decimal = _price(nullable=False)
    state: str
    previous_state: str | None = None
    version: int = 1
    parent_intent_id: str | None = None
    root_intent_id: str
    walk_step: int = 0
    external_identifier: str | None = None
    broker_order_id: str | None = None
    body_hash: str | None = None
    epoch: int | None = Field(default=None, sa_type=BigInteger)
    reason_code: str = ""
    reason: str = ""
    rules: list[dict[str, Any]] = Field(default_factory=list, sa_column=Column(JSONB, nullable=False))
    thesis: str = ""
    candidate_id: str | None = None
    sector: str = "Unknown"
    reserved_max_loss: Decimal | None = _money()
    reserved_buying_power: Decimal | None = _money()
    reserved_delta: float | None = None
    reserved_vega: float | None = None
    filled_quantity: int = 0
    average_fill_price: Decimal | None = _price()
    valid_until: datetime = _instant(nullable=False)
    created_at: datetime = _instant(nullable=False)
    updated_at: datetime = _instant(nullable=False)
    submitting_at: datetime | None = _instant()
    root_submitted_at: datetime | None = _instant()
    observed_at: datetime | None = _instant()
    """Broker's own time of the newest observation applied."""


class FillRow(SQLModel, table=True):
    """One execution of one leg. Insert-only."""

    __tablename__ = "fill"
    __table_args__: ClassVar[Any] = {"schema": SCHEMA}
    account_number: str = Field(primary_key=True)
    broker_order_id: str = Field(primary_key=True)
    occ_symbol: str = Field(primary_key=True)
    fill_id: str = Field(primary_key=True)
    intent_id: str | None = None
    underlying_symbol: str
    action: str
    quantity: int
    signed_quantity: int
    fill_price: Decimal = _price(nullable=False)
    filled_at: datetime = _instant(nullable=False)
    booked_at: datetime = _instant(nullable=False)
    corrects: str | None = None
    """fill_id of the execution that this row takes back."""


class ObservationRow(SQLModel, table=True):
    """One look at an order, kept once; applied = it was the newest when it came."""

    __tablename__ = "observation"
    __table_args__: ClassVar[Any] = {"schema": SCHEMA}
    id: int | None = Field(default=None, sa_type=BigInteger, primary_key=True)
    intent_id: str
    source: str
    state: str
    updated_at: datetime | None = _instant()
    seen_at: datetime = _instant(nullable=False)
    applied: bool = False
    booked_at: datetime = _instant(nullable=False)


class PositionRow(SQLModel, table=True):
    """Holding of one contract, as the fills add up."""

    __tablename__ = "position"
    __table_args__: ClassVar[Any] = {"schema": SCHEMA}
    account_number: str = Field(primary_key=True)
    occ_symbol: str = Field(primary_key=True)
    underlying_symbol: str
    signed_quantity: int
    average_open_price: Decimal = _price(nullable=False)


class Frozen(SQLModel, table=True):
    """An underlying in which ledger and broker disagree; nothing opens there until explained."""

    __tablename__ = "frozen"
    __table_args__: ClassVar[Any] = {"schema": SCHEMA}
    account_number: str = Field(primary_key=True)
    underlying_symbol: str = Field(primary_key=True)
    reason: str
    since: datetime = _instant(nullable=False)


class BalanceRow(SQLModel, table=True):
    """Newest balances of an account, with the day's start and the high-water mark."""

    __tablename__ = "balance"
    __table_args__: ClassVar[Any] = {"schema": SCHEMA}
    account_number: str = Field(primary_key=True)
    net_liq: Decimal | None = _money()
    cash: Decimal | None = _money()
    buying_power: Decimal | None = _money()
    maintenance_requirement: Decimal | None = _money()
    market_date: date
    start_of_day_net_liq: Decimal | None = _money()
    high_water_mark: Decimal | None = _money()
    at: datetime = _instant(nullable=False)


class ExecLease(SQLModel, table=True):
    """Who may send for an account. The epoch never falls."""

    __tablename__ = "exec_lease"
    __table_args__: ClassVar[Any] = {"schema": SCHEMA}
    account_number: str = Field(primary_key=True)
    holder: str
    epoch: int = Field(sa_type=BigInteger)
    expires_at: datetime = _instant(nullable=False)
    lock_anchor: int = 0


class OutboxRow(SQLModel, table=True):
    """A message that a committed transaction promised; published at least once, by its producer, in order."""

    __tablename__ = "outbox"
    __table_args__: ClassVar[Any] = {"schema": SCHEMA}
    id: int | None = Field(default=None, sa_type=BigInteger, primary_key=True)
    producer: str
    subject: str
    message_id: str
    headers: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSONB, nullable=False))
    payload: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = _instant(nullable=False)
    published_at: datetime | None = _instant()


class InboxRow(SQLModel, table=True):
    """A message a consumer has taken; a second delivery changes nothing."""

    __tablename__ = "inbox"
    __table_args__: ClassVar[Any] = {"schema": SCHEMA}
    consumer: str = Field(primary_key=True)
    message_id: str = Field(primary_key=True)
    at: datetime = _instant(nullable=False)


class AuditRow(SQLModel, table=True):
    """What a person or an automatic stop did. Insert-only."""

    __tablename__ = "audit"
    __table_args__: ClassVar[Any] = {"schema": SCHEMA}
    id: int | None = Field(default=None, sa_type=BigInteger, primary_key=True)
    at: datetime = _instant(nullable=False)
    who: str
    action: str
    target: str = ""
    detail: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSONB, nullable=False))
    outcome: str = "ok"

"""Every subject and every stream, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from schemas.columns import ColumnKind
from schemas.symbols import to_token


class Retention(StrEnum):
    LIMITS = "limits"
    WORK_QUEUE = "workqueue"


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What provisioning creates. Services never declare streams."""

    name: str
    subjects: tuple[str, ...]
    retention: Retention = Retention.LIMITS
    max_age: timedelta | None = None
    max_messages: int | None = None
    max_messages_per_subject: int | None = None
    max_bytes: int | None = None
    discard_new: bool = False
    deny_delete: bool = False
    deny_purge: bool = False
    memory: bool = False
    duplicate_window: timedelta = timedelta(minutes=10)


STATE = StreamSpec(
    "STATE",
    (
        "md.chain.*",
        "md.metrics.*",
        "md.feed",
        "md.session",
        "fact.position.*.*",
        "fact.balance.*",
        "fact.gate",
        "risk.state.*",
        "ana.>",
    ),
    max_messages_per_subject=1,
    duplicate_window=timedelta(minutes=2),
)
CANDIDATES = StreamSpec(
    "CANDIDATES",
    ("scan.>",),
    max_age=timedelta(minutes=10),
    max_bytes=256 * 2**20,
    duplicate_window=timedelta(minutes=2),
)
PROPOSE = StreamSpec(
    "PROPOSE",
    ("cmd.propose.*",),
    Retention.WORK_QUEUE,
    max_age=timedelta(seconds=60),
    max_messages=1000,
    discard_new=True,
    duplicate_window=timedelta(seconds=60),
)
EXEC = StreamSpec(
    "EXEC",
    ("cmd.exec.*", "cmd.cancel.*"),
    Retention.WORK_QUEUE,
    max_age=timedelta(minutes=5),
    max_messages=10_000,
    discard_new=True,
    duplicate_window=timedelta(minutes=5),
)
ORDERS = StreamSpec("ORDERS", ("fact.order.*.*",), deny_delete=True, deny_purge=True, discard_new=True)
FILLS = StreamSpec("FILLS", ("fact.fill.*.*",), deny_delete=True, deny_purge=True, discard_new=True)
RISK = StreamSpec("RISK", ("fact.risk.*",), deny_delete=True, deny_purge=True, discard_new=True)
AUDIT = StreamSpec("AUDIT", ("fact.audit.*",), deny_delete=True, deny_purge=True, discard_new=True)
DLQ = StreamSpec("DLQ", ("dlq.*",), max_age=timedelta(days=90), max_bytes=2**30)
ADVISORIES = StreamSpec(
    "ADVISORIES",
    ("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>", "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>"),
    max_age=timedelta(days=30),
    max_bytes=64 * 2**20,
)

ALL_STREAMS: tuple[StreamSpec, ...] = (
    STATE,
    CANDIDATES,
    PROPOSE,
    EXEC,
    ORDERS,
    FILLS,
    RISK,
    AUDIT,
    DLQ,
    ADVISORIES,
)

KILL = "ctl.kill"
KILL_ACK = "ctl.kill.ack"
MD_FEED = "md.feed"
MD_SESSION = "md.session"
SCAN_CYCLE = "scan.cycle"
GATE = "fact.gate"

_COLUMN_NOUNS = {
    ColumnKind.QUOTE: "quote",
    ColumnKind.GREEKS: "greeks",
    ColumnKind.TRADE: "trade",
    ColumnKind.SUMMARY: "summary",
}


def md_columns(kind: ColumnKind, underlying_symbol: str = "*") -> str:
    """Column batches of one underlying; `*` for all. Core NATS, latest wins."""
    return f"md.{_COLUMN_NOUNS[kind]}.{_token(underlying_symbol)}"


def md_chain(underlying_symbol: str = "*") -> str:
    return f"md.chain.{_token(underlying_symbol)}"


def md_metrics(underlying_symbol: str = "*") -> str:
    return f"md.metrics.{_token(underlying_symbol)}"


def scan_candidate(underlying_symbol: str = "*") -> str:
    return f"scan.candidate.{_token(underlying_symbol)}"


def propose(source: str = "*") -> str:
    return f"cmd.propose.{_token(source)}"


def execute(account_number: str = "*") -> str:
    return f"cmd.exec.{_token(account_number)}"


def cancel(account_number: str = "*") -> str:
    return f"cmd.cancel.{_token(account_number)}"


def fact_order(account_number: str = "*", intent_id: str = "*") -> str:
    return f"fact.order.{_token(account_number)}.{_token(intent_id)}"


def fact_fill(account_number: str = "*", intent_id: str = "*") -> str:
    return f"fact.fill.{_token(account_number)}.{_token(intent_id)}"


def fact_risk(account_number: str = "*") -> str:
    return f"fact.risk.{_token(account_number)}"


def fact_audit(source: str = "*") -> str:
    return f"fact.audit.{_token(source)}"


def fact_position(account_number: str = "*", underlying_symbol: str = "*") -> str:
    return f"fact.position.{_token(account_number)}.{_token(underlying_symbol)}"


def fact_balance(account_number: str = "*") -> str:
    return f"fact.balance.{_token(account_number)}"


def risk_state(account_number: str = "*") -> str:
    return f"risk.state.{_token(account_number)}"


def account_standing(account_number: str = "*") -> str:
    """How an account stands at the broker, once a second from the executor. Core NATS."""
    return f"exec.standing.{_token(account_number)}"


def ask_effect(account_number: str = "*") -> str:
    """Question to the executor, answered with the broker's dry run. Core NATS request and reply."""
    return f"ask.effect.{_token(account_number)}"


def ana(kind: str, key: str = "*") -> str:
    """Analytics: `ana.volatility.{und}`, `ana.portfolio.{acct}`."""
    return f"ana.{_token(kind)}.{_token(key)}"


def heartbeat(service: str = "*", instance: str = "*") -> str:
    return f"hb.{_token(service)}.{_token(instance)}"


def dead_letter(service: str = "*") -> str:
    return f"dlq.{_token(service)}"


def columns_cache_key(kind: ColumnKind, underlying_symbol: str) -> str:
    """Key of the last full batch in the cache; the value is the encoded ColumnBatch."""
    return f"md:{_COLUMN_NOUNS[kind]}:{underlying_symbol}"


def _token(value: str) -> str:
    return value if value == "*" else to_token(value)

"""The published contract: AsyncAPI and JSON Schema generated from the messages, and the check that refuses a break.

`python -m schemas.contract write DIR` regenerates the committed documents; it refuses an incompatible change unless
the message's `version` was raised. `check DIR` says whether the documents are current.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas import account, analytics, commands, market, orders, subjects, trade
from schemas.base import Message
from schemas.columns import COLUMNS, ColumnKind

Schema = dict[str, Any]
"""A JSON Schema document: JSON is the one place where values have no narrower type."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One subject with its one producer."""

    subject: str
    message: type[Message]
    producer: str
    stream: subjects.StreamSpec | None
    description: str


CHANNELS: tuple[Channel, ...] = (
    Channel(subjects.md_chain(), market.OptionChain, "marketdata", subjects.STATE, "Contracts of an underlying"),
    Channel(subjects.md_metrics(), market.MarketMetrics, "marketdata", subjects.STATE, "Figures of an underlying"),
    Channel(subjects.MD_FEED, market.FeedStatus, "marketdata", subjects.STATE, "Health of the feed"),
    Channel(subjects.MD_SESSION, market.MarketSession, "marketdata", subjects.STATE, "Market session"),
    Channel(subjects.SCAN_CYCLE, trade.ScanCycle, "scanner", subjects.CANDIDATES, "One full scan with its reasons"),
    Channel(subjects.scan_candidate(), trade.Candidate, "scanner", subjects.CANDIDATES, "A candidate that changed"),
    Channel(subjects.propose(), trade.ProposeTrade, "scanner, gateway", subjects.PROPOSE, "Ask risk for a decision"),
    Channel(subjects.execute(), orders.ExecuteIntent, "risk", subjects.EXEC, "Wake the executor"),
    Channel(subjects.cancel(), orders.CancelOrders, "gateway, operator", subjects.EXEC, "Cancel working orders"),
    Channel(subjects.fact_order(), orders.OrderEvent, "ledger outbox", subjects.ORDERS, "An intent changed"),
    Channel(subjects.fact_fill(), orders.Fill, "ledger outbox", subjects.FILLS, "Contracts traded"),
    Channel(subjects.fact_risk(), orders.RiskDecision, "ledger outbox", subjects.RISK, "A decision with its controls"),
    Channel(subjects.fact_audit(), account.AuditEntry, "ledger outbox", subjects.AUDIT, "Somebody did something"),
    Channel(subjects.fact_position(), account.Position, "ledger outbox", subjects.STATE, "Holdings in an underlying"),
    Channel(subjects.fact_balance(), account.Balance, "ledger outbox", subjects.STATE, "Balances of an account"),
    Channel(subjects.GATE, account.GateState, "ledger outbox", subjects.STATE, "What may be sent"),
    Channel(subjects.risk_state(), orders.RiskState, "risk", subjects.STATE, "Limits as gauges"),
    Channel(subjects.ana("volatility"), analytics.VolatilityReading, "analyzer", subjects.STATE, "Volatility"),
    Channel(subjects.ana("portfolio"), analytics.PortfolioReading, "analyzer", subjects.STATE, "Greeks of the book"),
    Channel(subjects.heartbeat(), account.Heartbeat, "each service", None, "A process is alive, once a second"),
    Channel(subjects.account_standing(), account.AccountStanding, "executor", None, "An account at the broker"),
    Channel(subjects.ask_effect(), account.AskEffect, "risk", None, "Ask for a dry run; the reply is a BrokerEffect"),
    Channel(subjects.KILL, commands.KillCommand, "any operator", None, "Stop trading; an empty message stops all"),
    Channel(subjects.KILL_ACK, commands.KillAck, "each service", None, "A process set its local flag"),
)


def message_schemas() -> dict[str, Schema]:
    """JSON Schema of every message, by type name."""
    types = {channel.message for channel in CHANNELS}
    return {
        message.type_name(): {**message.model_json_schema(), "x-version": message.version}
        for message in sorted(types, key=lambda each: each.type_name())
    }


def asyncapi() -> Schema:
    """The AsyncAPI 3.0 document."""
    channels: Schema = {}
    operations: Schema = {}
    for channel in CHANNELS:
        key = channel.subject.replace("*", "x")
        name = channel.message.type_name()
        channels[key] = {
            "address": channel.subject,
            "description": channel.description,
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
            "x-producer": channel.producer,
            "x-stream": channel.stream.name if channel.stream else None,
        }
        operations[f"publish.{key}"] = {"action": "send", "channel": {"$ref": f"#/channels/{key}"}}
    for kind in ColumnKind:
        address = subjects.md_columns(kind)
        channels[address.replace("*", "x")] = {
            "address": address,
            "description": "Column batch, binary; layout in x-columns",
            "x-producer": "marketdata",
            "x-stream": None,
            "x-columns": [list(column) for column in COLUMNS[kind]],
        }
    messages = {
        name: {"name": name, "contentType": "application/json", "payload": {"$ref": f"./{name}.json"}}
        for name in message_schemas()
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "TastyTrades Option Trader", "version": "0.1.0"},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }


def incompatibilities(old: Schema, new: Schema) -> list[str]:
    """What a reader or writer built on `old` would trip over; empty when the change is compatible or versioned."""
    if new.get("x-version", 1) > old.get("x-version", 1):
        return []
    found: list[str] = []
    _compare_objects(old, new, old.get("title", "message"), found)
    old_definitions, new_definitions = old.get("$defs", {}), new.get("$defs", {})
    for name, definition in old_definitions.items():
        if name in new_definitions:
            _compare_objects(definition, new_definitions[name], name, found)
    return found


def _compare_objects(old: Schema, new: Schema, where: str, found: list[str]) -> None:
    gone = set(old.get("enum", ())) - set(new.get("enum", ()))
    if gone:
        found.append(f"{where}: values {sorted(gone)} were removed")
    old_properties, new_properties = old.get("properties", {}), new.get("properties", {})
    for name, shape in old_properties.items():
        if name not in new_properties:
            found.append(f"{where}.{name} was removed")
        elif _type_of(shape) - _type_of(new_properties[name]):
            found.append(f"{where}.{name} no longer takes {sorted(_type_of(shape) - _type_of(new_properties[name]))}")
    added = set(new.get("required", ())) - set(old.get("required", ()))
    found.extend(f"{where}.{name} became required" for name in sorted(added))


def _type_of(shape: Schema) -> set[str]:
    alternatives = shape.get("anyOf", [shape])
    return {str(each.get("$ref") or each.get("type") or "any") + f"/{each.get('format', '')}" for each in alternatives}


def documents() -> dict[str, Schema]:
    """File name → document."""
    return {"asyncapi.json": asyncapi()} | {f"{name}.json": schema for name, schema in message_schemas().items()}


def render(document: Schema) -> str:
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Entry point of `python -m schemas.contract write|check DIR`; returns the exit code."""
    if len(arguments) != 2 or arguments[0] not in ("write", "check"):
        sys.stderr.write("usage: python -m schemas.contract write|check DIR\n")
        return 2
    action, folder = arguments[0], Path(arguments[1])
    problems: list[str] = []
    for name, document in documents().items():
        path = folder / name
        committed = json.loads(path.read_text()) if path.exists() else None
        if committed is not None and name != "asyncapi.json":
            problems += incompatibilities(committed, document)
        if action == "check" and committed != json.loads(render(document)):
            problems.append(f"{name} is not current: run `make schema`")
    if problems:
        sys.stderr.write("".join(f"{problem}\n" for problem in problems))
        return 1
    if action == "write":
        folder.mkdir(parents=True, exist_ok=True)
        for name, document in documents().items():
            (folder / name).write_text(render(document))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

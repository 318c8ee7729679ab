"""Write `.env.example` from the settings classes: every variable with its default, unit, bounds and meaning.

`python -m tastytrades.env_example > .env.example`; a test refuses a committed file that differs.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping
from enum import Enum
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import UnionType
from typing import Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from chassis.settings import SERVICES, SHARED_FIELDS, ServiceSettings, variables
from tastysim import settings as sim

WIDTH = 120
UNITS = {"_per_second": "a second", "_seconds": "seconds", "_ms": "milliseconds", "_hours": "hours", "_pct": "percent"}
"""Ending of a field's name → its unit."""
MEANINGS = {
    "mode": "What is real: nothing (sim), the quotes (paper), the broker's sandbox (cert), everything (live)",
    "nats_url": "nats://user:password@host:port; `tastytrades up` starts its own server when unset",
    "redis_url": "Cache of the last quotes, redis://host:port/database; without it a restarted service waits longer",
    "broker_refresh_token": "Of the broker's OAuth grant; for marketdata, executor, and a guardian without its own",
    "data_dir": "Folder for what is kept outside the database",
    "log_format": "For programs or for a terminal",
    "instance": "Name of this process among several of the same service",
    "metrics_seconds": "IV rank, liquidity and the other metrics of the underlyings are read again this often",
    "scan_interval_seconds": "Time from scan to scan",
    "strategy_id": "Name under which this scanner proposes",
    "state_seconds": "Limits are measured and published this often",
    "legs_max": "Legs of one order",
    "sector_positions_max": "Positions whose underlyings share a sector",
    "buying_power_used_max_pct": "Buying power used by everything held and worked",
    "underlying_max_pct": "Maximum loss of everything on one underlying",
    "daily_loss_max_pct": "Loss since the start of the day that stops the account",
    "daily_trades_automated_max": "Opening orders of automation in a day",
    "daily_trades_max": "Opening orders in a day, those of people included",
    "quote_max_age_at_submit_seconds": "Nothing opens on a quote that is older",
    "feed_max_age_seconds": "Nothing opens when the feed has been silent for longer",
    "walk_steps": "Price steps of an order",
    "walk_step_seconds": "Time at each price",
    "read_timeout_seconds": "An answer of the broker that takes longer is unknown",
    "lease_seconds": "After the executor has gone, another may send for its accounts this much later",
    "sweep_idle_seconds": "The same while no order is open",
    "requests_per_second": "Long-run average of requests to the broker",
    "portfolio_seconds": "Greeks and P&L of the accounts are read this often",
    "volatility_seconds": "Volatility of the underlyings is read this often",
    "demo_password": "Of the demo user",
    "session_hours": "A login ends after this",
    "host": "Address it listens on",
    "port": "Port of everything it serves",
    "seed": "The same seed gives the same market",
    "client_secret": "What the system logs in with, as TT_BROKER_CLIENT_SECRET",
    "refresh_token": "What the system logs in with, as TT_BROKER_REFRESH_TOKEN",
    "account": "Number of the simulated account",
    "step_ms": "Time between two moves of the market",
}
"""Meaning of fields whose classes leave it to the name."""
COMPOSE = """\
# Variables of TastyTrades Option Trader. Written by `python -m tastytrades.env_example`: do not edit the example.
#
# Docker Compose: `deploy/make-env > .env` copies this file and fills each empty value below with a random secret.
# `tastytrades up` needs none of it; whatever is set in its environment is used instead of what it would start.
# A secret begins with a letter and needs no escaping in a URL (A-Z a-z 0-9 - _).

# ---- what docker-compose.yml needs ----

# sim: the simulator is the broker. Remove it for paper, cert and live, and set the four TT_BROKER_ variables.
# More profiles, comma-separated: traces (OpenTelemetry collector), paging (Alertmanager).
COMPOSE_PROFILES=sim
TT_MODE=sim
TT_BROKER_URL=http://tastysim:8080
TT_BROKER_STREAMER_URL=ws://tastysim:8080/streamer
# The broker's OAuth client secret and refresh token; only marketdata, executor and guardian get them. In mode live the
# guardian wants a grant of its own: TT_GUARDIAN_BROKER_GRANT_SECRET and TT_GUARDIAN_BROKER_GRANT_TOKEN, below.
TT_BROKER_CLIENT_SECRET=
TT_BROKER_REFRESH_TOKEN=
# Bearer token for programs of the operator; acts as admin.
TT_GATEWAY_LOCAL_TOKEN=
# Bearer token of the guardian's own POST /kill.
TT_GUARDIAN_TOKEN=
# Login of the page, in sim mode only.
TT_GATEWAY_DEMO_USER=demo
TT_GATEWAY_DEMO_PASSWORD=
# One user of NATS each (deploy/nats/nats.conf).
{nats}
# One login of PostgreSQL each (deploy/postgres/roles.sql); read when the database is created.
{postgres}
GRAFANA_ADMIN_PASSWORD=
# Address of this machine on which the page (8400), Grafana (3000) and Prometheus (9090) answer; put a TLS proxy before
# any other.
# PUBLISH_ADDRESS=127.0.0.1
# IMAGE=tastytrades:local
# Profile paging: the address that alerts are posted to. Profile traces: an OTLP/HTTP endpoint that keeps them.
# ALERT_WEBHOOK_URL=
# TRACES_UPSTREAM_URL=
"""
NATS_USERS = ("prepare", "operator", "marketdata", "scanner", "risk", "executor", "analyzer", "gateway", "guardian")
DATABASE_LOGINS = ("admin", "prepare", "risk", "executor", "gateway")
COMMAND_LINE = """\
# ---- tests and tools ----

# Folder of recorded market data for tests and benchmarks that use it.
# TT_SHARED_DATA=
# Browser that the page's tests drive; found by itself when unset.
# TT_TEST_CHROMIUM=
# Whole number by which the sizes of seeded tests are multiplied.
# TT_TEST_SCALE=1
"""


def settings_classes() -> dict[str, type[ServiceSettings]]:
    """Service → its settings class, for every service that is installed."""
    found = {}
    for service in SERVICES:
        if service == "tastysim" or find_spec(service) is None:
            continue
        module = import_module(f"{service}.settings")
        found[service] = next(
            each
            for each in vars(module).values()
            if isinstance(each, type) and issubclass(each, ServiceSettings) and each is not ServiceSettings
        )
    return found


def known_variables() -> frozenset[str]:
    """Every variable that some service, or the simulator, reads."""
    own = {name for each in settings_classes().values() for name in variables(each)}
    return frozenset(own | {f"{sim.PREFIX}{field.upper()}" for field in sim.SimSettings.model_fields})


def render() -> str:
    """The text of `.env.example`."""
    parts = [
        COMPOSE.format(
            nats="\n".join(f"NATS_{name.upper()}_PASSWORD=" for name in NATS_USERS),
            postgres="\n".join(f"POSTGRES_{name.upper()}_PASSWORD=" for name in DATABASE_LOGINS),
        )
    ]
    shared = {name: field for name, field in ServiceSettings.model_fields.items() if name in SHARED_FIELDS}
    parts.append(_section("every service", "", "TT_", shared))
    for service, found in settings_classes().items():
        own = {name: field for name, field in found.model_fields.items() if name not in SHARED_FIELDS}
        parts.append(_section(service, _remark(found), f"TT_{service.upper()}_", own))
    parts.append(_section("tastysim, the simulator", "", sim.PREFIX, sim.SimSettings.model_fields))
    return "\n".join([*parts, COMMAND_LINE])


def _remark(settings_type: type[ServiceSettings]) -> str:
    """What the module says about all of its settings, after its first sentence."""
    _, _, remark = (import_module(settings_type.__module__).__doc__ or "").partition(". ")
    return remark.strip()


def _section(title: str, remark: str, prefix: str, fields: Mapping[str, FieldInfo]) -> str:
    lines = [f"# ---- {title} ----", *([f"# {remark}"] if remark else []), ""]
    for name, field in fields.items():
        text = f"{_meaning(name, field)}{_facts(name, field)}."
        lines += textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
        lines.append(f"# {prefix}{name.upper()}={_shown(field.default)}")
    return "\n".join(lines) + "\n"


def _meaning(name: str, field: FieldInfo) -> str:
    words = name.replace("_", " ")
    text = field.description or MEANINGS.get(name) or words[0].upper() + words[1:]
    return " ".join(text.split()).rstrip(".")


def _facts(name: str, field: FieldInfo) -> str:
    """Unit, choices and bounds in parentheses, as far as there are any."""
    unit = next((unit for ending, unit in UNITS.items() if name.endswith(ending)), "")
    facts = [each for each in (unit, _choices(field.annotation), *_bounds(field)) if each]
    return f" ({', '.join(facts)})" if facts else ""


def _choices(annotation: object) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(str(each) for each in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(str(each.value) for each in annotation)
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return "true or false" if annotation is bool else "secret" if SecretStr in kinds else ""


def _bounds(field: FieldInfo) -> Iterator[str]:
    for each in field.metadata:
        for bound, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
            if (value := getattr(each, bound, None)) is not None:
                yield f"{sign} {value}"


def _shown(default: object) -> str:
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, Enum):
        return str(default.value)
    if isinstance(default, float):
        return f"{default:g}"
    return default.as_posix() if isinstance(default, Path) else str(default)


if __name__ == "__main__":
    sys.stdout.write(render())

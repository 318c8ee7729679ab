"""Build the scanner."""

from __future__ import annotations

import json

from pydantic import ValidationError

from chassis.bus import make_broker
from chassis.clock import Clock, SystemClock
from chassis.kill_switch import KillSwitch
from chassis.market_feed import MarketFeed
from chassis.service import Service
from chassis.settings import SettingsError
from scanner.handlers import Scanner
from scanner.settings import ScannerSettings
from strategies.rules import RuleSet


def build(settings: ScannerSettings, clock: Clock | None = None) -> Service:
    """The running parts of the service. Raises SettingsError for rules that cannot be used."""
    broker = make_broker(settings)
    kill_switch = KillSwitch(broker, settings)
    scanner = Scanner(settings, broker, read_rules(settings), clock or SystemClock(), kill_switch)
    feed = MarketFeed(broker, scanner.market, settings.redis_url)
    scanner.subscribe()
    return Service(
        settings=settings,
        broker=broker,
        loops=(scanner.scan_loop,),
        on_start=(kill_switch.start, feed.start),
        on_stop=(feed.stop,),
        probes={"chains": scanner.probe},
        gate_revision=kill_switch.revision,
        killed=kill_switch.is_set,
    )


def read_rules(settings: ScannerSettings) -> RuleSet:
    """The default rule set with the overrides of the file."""
    if settings.rules_file is None:
        return RuleSet()
    try:
        return RuleSet.model_validate(json.loads(settings.rules_file.read_text()))
    except (OSError, json.JSONDecodeError) as error:
        raise SettingsError(f"TT_SCANNER_RULES_FILE {settings.rules_file} cannot be read: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"TT_SCANNER_RULES_FILE {settings.rules_file}: rule {where} is {first['input']!r}: {first['msg']}"
        ) from None

"""Build the scanner."""

from __future__ import annotations

from chassis.bus import make_broker
from chassis.clock import Clock, SystemClock
from chassis.kill_switch import KillSwitch
from chassis.market_feed import MarketFeed
from chassis.service import Service
from chassis.settings import SettingsError
from scanner.handlers import Scanner
from scanner.settings import ScannerSettings
from strategies.rule_file import RuleFileError, find
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
    """The rule set in force. Raises SettingsError that names line, key, value and range."""
    try:
        return find(settings.rules)
    except RuleFileError as error:
        raise SettingsError(f"TT_SCANNER_RULES is {settings.rules!r}: {error}") from None

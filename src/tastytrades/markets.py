"""The simulator's markets as the command line takes them: the model, recorded files, quotes from a bus."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from tastytrades.runtime import RuntimeFault

_FILE = re.compile(r"^(?P<kind>replay|replay-minutes):(?P<path>[^@,]+)(?P<rest>.*)$")
_KNOWN = "`model`, `replay:FILE` for recorded chains, `replay-minutes:FILE` for recorded minutes, or `bus:NATS_URL`"


def check(market: str) -> str:
    """The market as the simulator is told it, a replayed file by its full path. Raises RuntimeFault."""
    if market == "model":
        return market
    if market.startswith("bus:"):
        parts = urlsplit(market.removeprefix("bus:"))
        if parts.scheme not in ("nats", "tls") or not parts.hostname:
            raise RuntimeFault(
                "--market bus: is written bus:nats://host:port, with user:password@ where it asks for a login"
            )
        return market
    found = _FILE.match(market)
    if found is None:
        raise RuntimeFault(f"--market {market!r} is not known: use {_KNOWN}")
    path = Path(found["path"]).expanduser().resolve()
    if not path.is_file():
        raise RuntimeFault(f"--market {market}: there is no file {path}")
    return f"{found['kind']}:{path}{found['rest']}"


def shown(market: str) -> str:
    """For people and logs: without the login of a bus."""
    if not market.startswith("bus:"):
        return market
    parts = urlsplit(market.removeprefix("bus:"))
    return "bus:" + urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def folder(market: str) -> str:
    """Name of the folder of the accounts that trade in it: those of one market mean nothing in another."""
    if market == "model":
        return "tastysim"
    if market.startswith("bus:"):
        return "tastysim-paper"
    found = _FILE.match(market)
    name = Path(found["path"] if found else market).stem
    return f"tastysim-minutes-{name}" if market.startswith("replay-minutes:") else f"tastysim-{name}"

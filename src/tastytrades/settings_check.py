"""Refuse a wrong variable before anything starts, instead of letting one process after the other stumble over it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module

from chassis.settings import PREFIX, ServiceSettings, SettingsError, load, variables
from tastytrades.runtime import RuntimeFault

_QUOTES, _QUOTED = frozenset({"TT_BROKER_URL", "TT_BROKER_STREAMER_URL"}), "marketdata"
SERVICES = ("marketdata", "scanner", "risk", "executor", "analyzer", "gateway", "guardian")


def check(environ: Mapping[str, str]) -> None:
    """Raises RuntimeFault that names the first variable that no process knows, or whose value it cannot use."""
    paper = environ.get("TT_MODE") == "paper"  # the broker's address is then that of the quotes: for marketdata alone
    others = {name: value for name, value in environ.items() if not paper or name not in _QUOTES}
    named = {found for name in environ if (found := _service_of(name))} & set(SERVICES)
    try:
        load(_Shared, {name: value for name, value in others.items() if not _service_of(name)})
        for service in sorted(named | ({_QUOTED} if paper else set())):
            load(_settings(service), environ if service == _QUOTED else others)
    except SettingsError as error:
        raise RuntimeFault(f"{error}{_elsewhere(str(error))}") from None
    if any(_service_of(name) == "tastysim" for name in environ):
        from tastysim.settings import load as load_simulator

        try:
            load_simulator(environ)
        except SystemExit as error:
            raise RuntimeFault(str(error)) from None


class _Shared(ServiceSettings):
    """The variables without a service in their name."""

    service = "all"


def _settings(service: str) -> type[ServiceSettings]:
    found: type[ServiceSettings] = getattr(import_module(f"{service}.settings"), f"{service.capitalize()}Settings")
    return found


def _service_of(name: str) -> str:
    known = (*SERVICES, "tastysim")
    return next((each for each in known if name.startswith(f"{PREFIX}{each.upper()}_")), "")


def _elsewhere(text: str) -> str:
    """Where a variable of no service would belong: TT_APPROVAL_SECONDS is TT_RISK_APPROVAL_SECONDS."""
    name = text.split(" ", 1)[0].removeprefix(PREFIX)
    if "is not a known setting" not in text or _service_of(PREFIX + name):
        return ""
    every = [variable for service in SERVICES for variable in variables(_settings(service))]
    owned = [variable for variable in every if variable.endswith(f"_{name}")]
    close = owned or difflib.get_close_matches(PREFIX + name, every, 1, 0.8)
    return f" (or {close[0]})" if close and close[0] not in text else ""

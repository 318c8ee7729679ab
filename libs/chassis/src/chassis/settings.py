"""Settings from the environment: shared ones as TT_<FIELD>, a service's own as TT_<SERVICE>_<FIELD>.

Unknown variables with the prefix are refused: a typing error must not become a default.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

PREFIX = "TT_"
SERVICES = ("marketdata", "scanner", "risk", "executor", "analyzer", "gateway", "guardian", "backtester", "tastysim")
_PER_SERVICE = frozenset({"health_port", "instance"})
_COMMAND_LINE = frozenset({"TT_SHARED_DATA", "TT_TEST_CHROMIUM", "TT_FAILPOINTS"})


class Mode(StrEnum):
    """What is real: nothing, the quotes, the broker's sandbox, or everything."""

    SIM = "sim"
    PAPER = "paper"
    CERT = "cert"
    LIVE = "live"


BROKER_HOSTS: Mapping[str, frozenset[Mode]] = {
    "api.tastyworks.com": frozenset({Mode.LIVE}),
    "api.tastytrade.com": frozenset({Mode.LIVE}),
    "api.cert.tastyworks.com": frozenset({Mode.CERT}),
}
"""The broker's own addresses and what is real there."""


class SettingsError(ValueError):
    """A variable that cannot be used: which one, its value where it is no secret, and what to do."""


class ServiceSettings(BaseModel):
    """What every service is told. Subclasses set `service` and add their own fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    service: ClassVar[str]

    mode: Mode = Mode.SIM
    nats_url: str = "nats://127.0.0.1:4222"
    database_url: SecretStr | None = None
    """postgresql://user:password@host:port/database"""
    redis_url: str | None = None
    broker_url: str = ""
    """REST base of the broker or the simulator."""
    broker_streamer_url: str = ""
    """WebSocket of the account stream."""
    broker_client_secret: SecretStr | None = None
    """Given to marketdata and executor, and to a guardian without a grant of its own."""
    broker_refresh_token: SecretStr | None = None
    accounts: str = ""
    """Account numbers, comma-separated; empty = all open accounts of the login."""
    data_dir: Path = Path(".data")
    log_format: Literal["console", "json"] = "json"
    otlp_endpoint: str | None = None
    """OTLP/HTTP traces endpoint; empty = traces stay in the process."""
    market_time_offset_seconds: float = 0.0
    """Market time less machine time: not 0 only while recorded chains are replayed."""
    health_host: str = "127.0.0.1"
    """Address that health, metrics and the page listen on; 0.0.0.0 inside a container."""
    instance: str = "0"
    health_port: int = Field(0, ge=0, le=65535)
    """0 = any free port."""

    def market_time(self, now: datetime) -> datetime:
        """The market's own time: what expirations, sessions and events are counted from."""
        return now + timedelta(seconds=self.market_time_offset_seconds)

    @model_validator(mode="after")
    def _real_time_outside_the_simulation(self) -> ServiceSettings:
        if self.market_time_offset_seconds and self.mode is not Mode.SIM:
            raise ValueError("market time can be moved in sim mode only: unset TT_MARKET_TIME_OFFSET_SECONDS")
        return self

    @model_validator(mode="after")
    def _broker_of_this_mode(self) -> ServiceSettings:
        """Real money is never labelled as anything else: the broker's own addresses belong to a mode each."""
        host = (urlsplit(self.broker_url).hostname or "").lower()
        modes = next((modes for name, modes in BROKER_HOSTS.items() if host == name), None)
        if modes is None:
            return self
        # paper trading takes the real market's quotes and sends no order there
        allowed = modes | ({Mode.PAPER} if self.service == "marketdata" and Mode.LIVE in modes else set())
        if self.mode not in allowed:
            raise ValueError(
                f"TT_BROKER_URL is the broker's {modes_word(modes)} address and TT_MODE is {self.mode.value!r}: "
                f"set TT_MODE={modes_word(modes)}, or another TT_BROKER_URL"
            )
        return self


def modes_word(modes: frozenset[Mode]) -> str:
    """The modes in words, for a message."""
    return " or ".join(sorted(mode.value for mode in modes))


SHARED_FIELDS = frozenset(ServiceSettings.model_fields) - _PER_SERVICE
S = TypeVar("S", bound=ServiceSettings)


def load(settings_type: type[S], environ: Mapping[str, str] = os.environ) -> S:
    """Read the settings of one service. Raises SettingsError that names the variable and says what to do."""
    known = variables(settings_type)
    for name in environ:
        if name.startswith(PREFIX) and name not in known and not _of_another_service(name, settings_type.service):
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}?" if close else "remove it; .env.example lists every variable"
            raise SettingsError(f"{name} is not a known setting: {hint}")
    given = {field: environ[name] for name, field in known.items() if environ.get(name, "") != ""}
    try:
        return settings_type.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise SettingsError(str(first["msg"]).removeprefix("Value error, ")) from None
        field = str(first["loc"][0])
        name = next(variable for variable, each in known.items() if each == field)
        text = given.get(field, "")
        secret = any(word in field for word in ("secret", "token", "password")) or "@" in text
        value = "(not shown)" if secret else repr(text)
        raise SettingsError(f"{name} is {value}: {first['msg']}") from None


def variables(settings_type: type[ServiceSettings]) -> dict[str, str]:
    """Variable name → field of a service's settings."""
    own = f"{PREFIX}{settings_type.service.upper()}_"
    return {(PREFIX if field in SHARED_FIELDS else own) + field.upper(): field for field in settings_type.model_fields}


def _of_another_service(name: str, service: str) -> bool:
    others = (f"{PREFIX}{each.upper()}_" for each in SERVICES if each != service)
    return name in _COMMAND_LINE or any(name.startswith(prefix) for prefix in others)

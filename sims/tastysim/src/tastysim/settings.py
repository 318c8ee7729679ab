"""Settings of the simulator: TT_TASTYSIM_<FIELD>."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tastysim.behaviour import Behaviour
from tastysim.listed import Universe
from tastysim.terms import read_terms

PREFIX = "TT_TASTYSIM_"


class SimSettings(BaseModel):
    """Where it listens, what it simulates, who may log in."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    port: int = Field(8420, ge=1, le=65535)
    market: str = Field("model", pattern=r"^(model|replay:.+|replay-minutes:.+|bus:.+)$")
    """`model`; `replay:FILE`, `replay-minutes:FILE`, each with `@YYYY-MM-DD` or `@FIRST..LAST`; or `bus:NATS_URL`."""
    seed: int = 7
    universe: str = "default"
    """What the model lists: `default`, `500` or `500x2000` (underlyings × contracts); `+index` and `+daily` add."""
    hours: Literal["always", "exchange"] = "always"
    """When the model trades: at any hour, or in the exchange's sessions."""
    speed: float = Field(1.0, gt=0, le=100_000)
    """Market seconds per second."""
    paused: bool = False
    """Start with the market's time standing still; `PUT /sim/clock` lets it go."""
    grid_seconds: float = Field(0.0, ge=0, le=3600)
    """Market seconds of every step, whatever the speed, so that runs repeat exactly; 0 = one step each time."""
    skip_closed: bool = False
    """Jump over the hours in which the market is closed."""
    fills: str = "book"
    """How orders fill: book, model, immediate, delayed:SECONDS, partial[:SECONDS], partial:size, never, reject."""
    orders_choose_fills: bool = False
    """Obey the keys behavior, delay and schedule of an order."""
    terms: Path | None = None
    """JSON file that changes fees, interest, margin rates and how holders exercise (`tastysim.terms`)."""
    quote_max_age_seconds: float = Field(15.0, gt=0)
    """No order fills on a quote that is older; quotes of the model are never old."""
    data_dir: Path = Path(".data/tastysim")
    client_secret: str = "demo-client-secret"
    refresh_token: str = "demo-refresh-token"
    account: str = "5WT00001"
    cash: int = Field(100_000, gt=0)
    """Dollars at the first start."""
    step_ms: int = Field(250, ge=20, le=5000)
    scenario: str = ""
    """What goes wrong when: a TOML file, or the name of one that comes with the simulator."""
    requests_per_second: float = Field(0.0, ge=0)
    """What a token may ask; more is answered with 429. 0 = no limit."""
    stream_limits: bool = False
    """Hold DXLink to the broker's limits: 5 sessions, 25,000 subscriptions, 100 candles, 10,000 changes a minute."""
    quote_token_seconds: float = Field(86_400.0, gt=0)
    """How long a token for DXLink lasts; its connection ends with it."""


def load(environ: Mapping[str, str] = os.environ) -> SimSettings:
    """Read the settings; exits with one line that names the variable when one is wrong."""
    given = {name[len(PREFIX) :].lower(): value for name, value in environ.items() if name.startswith(PREFIX) and value}
    try:
        found = SimSettings.model_validate(given)
        Behaviour.parse(found.fills)
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper()
        value = given.get(str(first["loc"][0]), "")
        shown = "(not shown)" if "@" in value and "//" in value else repr(value)
        raise SystemExit(f"{name} is {shown}: {first['msg']}") from None
    except ValueError as error:
        raise SystemExit(f"{PREFIX}FILLS: {error}") from None
    try:
        Universe.parse(found.universe, found.seed)
    except ValueError as error:
        raise SystemExit(f"{PREFIX}UNIVERSE: {error}") from None
    try:
        if found.terms is not None:
            read_terms(found.terms)
    except ValueError as error:
        raise SystemExit(f"{PREFIX}TERMS: {error}") from None
    return found

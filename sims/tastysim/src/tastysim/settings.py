"""Settings of the simulator: TT_TASTYSIM_<FIELD>."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

PREFIX = "TT_TASTYSIM_"


class SimSettings(BaseModel):
    """Where it listens, what it simulates, who may log in."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    port: int = Field(8420, ge=1, le=65535)
    market: str = Field("model", pattern=r"^(model|replay:.+)$")
    """`model`, or `replay:FILE` (`replay:FILE@YYYY-MM-DD` for one of its sessions)."""
    seed: int = 7
    speed: float = Field(1.0, gt=0, le=1000)
    """Market seconds per second."""
    data_dir: Path = Path(".data/tastysim")
    client_secret: str = "demo-client-secret"
    refresh_token: str = "demo-refresh-token"
    account: str = "5WT00001"
    cash: int = Field(100_000, gt=0)
    """Dollars at the first start."""
    step_ms: int = Field(250, ge=20, le=5000)


def load(environ: Mapping[str, str] = os.environ) -> SimSettings:
    """Read the settings; exits with one line that names the variable when one is wrong."""
    given = {name[len(PREFIX) :].lower(): value for name, value in environ.items() if name.startswith(PREFIX)}
    try:
        return SimSettings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper()
        raise SystemExit(f"{name} is {given.get(str(first['loc'][0]))!r}: {first['msg']}") from None

"""Where the broker is and how patient to be."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class Scope(StrEnum):
    """What a login may do. Moving money and orders need `trade`."""

    READ = "read"
    TRADE = "trade"
    OPENID = "openid"


class ClientSettings(BaseModel):
    """Live, certification, paper and the simulator differ by these values only."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    base_url: str
    client_secret: SecretStr
    refresh_token: SecretStr
    client_id: str | None = None
    """Sent with the login where given; the authorization-code grant needs it."""
    scopes: tuple[Scope, ...] = ()
    """What to ask for at the login; empty = whatever the grant has."""
    user_agent: str = Field("tastytrades/0.1.0", pattern=r"^[^/\s]+/[^/\s]+$")
    """`product/version`; the broker answers anything else with 401."""
    accept_version: str | None = Field(None, pattern=r"^\d{8}$")
    """YYYYMMDD; None = the oldest version alive."""
    connect_timeout_seconds: float = Field(2.0, gt=0)
    read_timeout_seconds: float = Field(15.0, gt=0)
    write_timeout_seconds: float = Field(5.0, gt=0)
    requests_per_second: float = Field(2.0, gt=0)
    """Long-run average that the client keeps by itself; the broker publishes no limits."""
    burst: int = Field(10, ge=1)
    reads_max_attempts: int = Field(3, ge=1, le=10)
    """Attempts of a GET; anything with an effect is sent once."""

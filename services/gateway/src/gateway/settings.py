"""Settings of the gateway: TT_GATEWAY_<FIELD>."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field, SecretStr

from chassis.settings import ServiceSettings


class GatewaySettings(ServiceSettings):
    """Where the page is served and who may use it."""

    service: ClassVar[str] = "gateway"

    health_port: int = Field(8400, ge=0, le=65535)
    """Port of the page, the API and the health routes; 0 = any free port."""
    static_dir: Path | None = None
    """Folder of the built web UI; without it only the API is served."""
    local_token: SecretStr | None = None
    """Bearer token of the command line on this machine; acts as admin."""
    demo_user: str = ""
    """Created as admin at start, in the modes sim and paper only."""
    demo_password: SecretStr | None = None
    guardian_url: str = ""
    """Address of the guardian, told of stops that the ledger or the bus may not have taken; empty = not told"""
    guardian_token: SecretStr | None = None
    """The guardian's TT_GUARDIAN_TOKEN"""
    session_hours: float = Field(12.0, gt=0, le=168)
    login_failures_max: int = Field(10, ge=1)
    """Failed logins of one name within five minutes, after which it must wait."""
    secure_cookie: bool = False
    """Send the session cookie over HTTPS only; set it behind a TLS proxy."""
    flush_ms: int = Field(100, ge=20, le=2000)
    """Time over which changes are gathered before they go to the browsers."""

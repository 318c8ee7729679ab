"""Settings of the guardian: TT_GUARDIAN_<FIELD>."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, SecretStr

from chassis.settings import Mode, ServiceSettings, SettingsError


class GuardianSettings(ServiceSettings):
    """Whom it watches, with which grant it cancels, and how it calls for help."""

    service: ClassVar[str] = "guardian"

    broker_grant_secret: SecretStr | None = None
    """OAuth client secret of the guardian's own grant; in live mode there must be one, elsewhere the shared one does"""
    broker_grant_token: SecretStr | None = None
    """OAuth refresh token of the guardian's own grant"""
    token: SecretStr | None = None
    """Bearer token of POST /kill and POST /release; without one both are refused"""
    executor_url: str = ""
    """Address of the executor's health routes; empty = its heartbeats on the bus are all that tells of it"""
    alert_webhook_url: str = ""
    """Pages are posted there as JSON; empty = log and metric only"""
    dead_man_seconds: float = Field(30.0, gt=0)
    """When nothing was heard of the executor for this long, working opening orders are cancelled"""
    sweep_seconds: float = Field(2.0, gt=0)
    """Pause between two sweeps of a stop"""
    watch_seconds: float = Field(5.0, gt=0)
    """The executor is asked, and the broker's list read, this often"""
    unreachable_seconds: float = Field(30.0, gt=0)
    """A broker that has not answered for this long calls a person; during a stop a sixth of it does"""
    request_timeout_seconds: float = Field(5.0, gt=0)
    """An answer of the broker that takes longer is given up"""

    def grant(self) -> tuple[SecretStr, SecretStr]:
        """Client secret and refresh token to cancel with. Raises SettingsError: live mode demands its own."""
        own = self.broker_grant_secret, self.broker_grant_token
        if own[0] is not None and own[1] is not None:
            return own[0], own[1]
        if self.mode is Mode.LIVE or own != (None, None):
            raise SettingsError(
                "guardian needs TT_GUARDIAN_BROKER_GRANT_SECRET and TT_GUARDIAN_BROKER_GRANT_TOKEN: make a second "
                "grant at the broker, so that it can cancel when the executor's grant is gone"
            )
        if self.broker_client_secret is None or self.broker_refresh_token is None:
            raise SettingsError(
                "guardian needs TT_GUARDIAN_BROKER_GRANT_SECRET and TT_GUARDIAN_BROKER_GRANT_TOKEN "
                "(or, outside live mode, TT_BROKER_CLIENT_SECRET and TT_BROKER_REFRESH_TOKEN)"
            )
        return self.broker_client_secret, self.broker_refresh_token

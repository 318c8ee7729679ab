"""Settings of the executor: TT_EXECUTOR_<FIELD>."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chassis.settings import ServiceSettings
from executor.domain import WalkRules


class ExecutorSettings(ServiceSettings):
    """How orders are worked and how often the broker is asked."""

    service: ClassVar[str] = "executor"

    walk_steps: int = Field(5, ge=1, le=50)
    walk_step_seconds: float = Field(12.0, ge=1)
    walk_final_pct_of_spread: float = Field(100.0, gt=0, le=100)
    """How far from mid to natural the walk goes, percent."""
    order_timeout_seconds: float = Field(300.0, gt=0)
    """An order not filled by then is cancelled; counted from the first step."""
    quote_max_age_at_submit_seconds: float = Field(15.0, gt=0)
    send_deadline_seconds: float = Field(2.0, gt=0)
    """A permit not used within this time is given back unsent."""
    read_timeout_seconds: float = Field(15.0, gt=0)
    lease_seconds: float = Field(15.0, ge=3)
    sweep_busy_seconds: float = Field(5.0, gt=0)
    """Broker and ledger are compared this often while an order is open."""
    sweep_idle_seconds: float = Field(15.0, gt=0)
    quarantine_after_seconds: float = Field(60.0, gt=0)
    """An unknown order that the broker does not list for this long is set aside; its risk stays reserved."""
    requests_per_second: float = Field(8.0, gt=0)

    def walk(self) -> WalkRules:
        """The walk as the domain knows it."""
        return WalkRules(self.walk_steps, self.walk_step_seconds, self.walk_final_pct_of_spread)

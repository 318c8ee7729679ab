"""Settings of the executor: TT_EXECUTOR_<FIELD>."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chassis.settings import ServiceSettings
from executor.domain.conditions import Limits
from executor.domain.partials import PartialPolicy
from executor.domain.pricing import Pace, WalkRules


class ExecutorSettings(ServiceSettings):
    """How orders are worked and how often the broker is asked."""

    service: ClassVar[str] = "executor"

    walk_pace: Pace = Pace.NORMAL
    """How an opening order walks from mid towards natural."""
    walk_pace_closing: Pace = Pace.NORMAL
    """The same for a closing order."""
    walk_steps: int = Field(5, ge=1, le=50)
    walk_step_seconds: float = Field(12.0, ge=1)
    walk_final_pct_of_spread: float = Field(100.0, gt=0, le=100)
    """How far from mid to natural the walk goes, percent."""
    walk_speedy_steps: int = Field(3, ge=1, le=50)
    """Price steps at the speedy pace."""
    walk_speedy_step_seconds: float = Field(4.0, ge=1)
    """Time at each price at the speedy pace."""
    walk_speedy_final_pct_of_spread: float = Field(100.0, gt=0, le=100)
    """How far a speedy walk goes, percent."""
    walk_patient_steps: int = Field(9, ge=1, le=50)
    """Price steps at the patient pace."""
    walk_patient_step_seconds: float = Field(28.0, ge=1)
    """Time at each price at the patient pace."""
    walk_patient_final_pct_of_spread: float = Field(75.0, gt=0, le=100)
    """How far a patient walk goes, percent."""
    order_timeout_seconds: float = Field(300.0, gt=0)
    """An order not filled by then is cancelled; counted from the first step."""
    partial_fill_min_pct: float = Field(50.0, ge=0, le=100)
    """A fill of at least this much of the intended size is accepted when the time is over."""
    partial_fill_policy: PartialPolicy = PartialPolicy.WORK
    """A smaller fill: `work` the rest for as long again, or `unwind` what has filled."""
    slippage_max_pct: float = Field(2.0, gt=0)
    """Fills worse than the decision's mid by more than this much of the maximum profit are reported."""
    quote_max_age_at_submit_seconds: float = Field(15.0, gt=0)
    send_deadline_seconds: float = Field(2.0, gt=0)
    """A permit not used within this time is given back unsent."""
    read_timeout_seconds: float = Field(15.0, gt=0)
    retry_max_attempts: int = Field(3, ge=0, le=10)
    """New intents for a send that was proved not to be accepted; an unknown outcome is never sent again."""
    retry_base_seconds: float = Field(0.5, gt=0)
    """Pause before the first of them; it doubles with each."""
    lease_seconds: float = Field(10.0, ge=4)
    sweep_busy_seconds: float = Field(5.0, gt=0)
    """Broker and ledger are compared this often while an order is open."""
    sweep_idle_seconds: float = Field(15.0, gt=0)
    second_sweep_seconds: float = Field(5.0, ge=0)
    """After a start or a gap of the stream nothing opens until a second reading this much later agrees."""
    transactions_seconds: float = Field(60.0, gt=0)
    """The account's history is read this often, for trades that were broken and contracts that were delivered."""
    quarantine_after_seconds: float = Field(60.0, gt=0)
    """An unknown order that the broker does not list for this long is set aside; its risk stays reserved."""
    cancel_again_seconds: float = Field(10.0, gt=0)
    """A cancellation that has not come through is asked for again this often."""
    cancel_alarm_seconds: float = Field(30.0, gt=0)
    """One that has not come through for this long calls a person."""
    hung_leg_seconds: float = Field(30.0, gt=0)
    """Legs that have filled unevenly for this long freeze the underlying and call a person."""
    hung_repair_seconds: float = Field(120.0, gt=0)
    """After this long a close of the excess leg is proposed."""
    mismatch_halt_seconds: float = Field(60.0, gt=0)
    """A difference between broker and ledger that lasts this long stops all opening orders."""
    requests_per_second: float = Field(8.0, gt=0)

    def walk(self, pace: Pace = Pace.NORMAL) -> WalkRules:
        """A pace as the domain knows it."""
        if pace is Pace.SPEEDY:
            return WalkRules(
                self.walk_speedy_steps, self.walk_speedy_step_seconds, self.walk_speedy_final_pct_of_spread
            )
        if pace is Pace.PATIENT:
            return WalkRules(
                self.walk_patient_steps, self.walk_patient_step_seconds, self.walk_patient_final_pct_of_spread
            )
        return WalkRules(self.walk_steps, self.walk_step_seconds, self.walk_final_pct_of_spread)

    def limits(self) -> Limits:
        """Longest silences before nothing opens."""
        return Limits()

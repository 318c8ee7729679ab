"""Judge a proposal: every control of its scope is evaluated, none is skipped."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from risk.domain import controls_order, controls_portfolio, controls_system, controls_traffic
from risk.domain.case import Case
from risk.domain.control import Breach, Control
from schemas.trade import RuleResult

CONTROLS: tuple[Control, ...] = tuple(
    sorted(
        controls_order.CONTROLS + controls_portfolio.CONTROLS + controls_traffic.CONTROLS + controls_system.CONTROLS,
        key=lambda control: control.number,
    )
)
"""Every control, in the order of the product's checklist."""
BREACH_OF = {control.rule: control.breach for control in CONTROLS}


@dataclass(frozen=True, slots=True)
class Decision:
    """Every control's verdict, and what an approval reserves. Magnitudes in dollars."""

    controls: tuple[RuleResult, ...]
    max_loss: Decimal | None
    buying_power: Decimal | None
    delta: float | None
    vega: float | None

    @property
    def approved(self) -> bool:
        """Whether every control passed."""
        return all(control.passed for control in self.controls)

    @property
    def denials(self) -> tuple[str, ...]:
        """The rules that denied."""
        return tuple(control.rule for control in self.controls if not control.passed)

    @property
    def stops_strategy(self) -> str | None:
        """Why the strategy must stop; None while it need not. A missing fact stops nothing."""
        for result in self.controls:
            beyond = not result.passed and result.margin is not None
            if beyond and BREACH_OF[result.rule] is Breach.STOP_STRATEGY:
                return f"{result.rule}: {result.value:g} {result.unit}, limit {result.limit:g}"
        return None

    @property
    def was_wrong(self) -> bool:
        """Whether a control says that the proposal is wrong in itself."""
        return any(
            not result.passed and result.margin is not None and BREACH_OF[result.rule] is Breach.WRONG
            for result in self.controls
        )


def decide(case: Case) -> Decision:
    """The verdict on a proposal, with what an approval reserves."""
    found = tuple(control.judge(case) for control in CONTROLS if control.scope.takes(case))
    if not case.opens:
        return Decision(found, Decimal(0), Decimal(0), None, None)
    return Decision(found, case.max_loss, case.buying_power, case.order.delta, case.order.vega)

"""The size that the hard limits allow, by the same arithmetic that sizes a scanned trade."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from risk.domain.case import Case
from strategies.rules import RuleSet
from strategies.sizing import Sized, SizeRequest, size


def allowed_units(case: Case) -> int | None:
    """Units that loss, buying power and room in the underlying allow, 0 when not even one fits; None without a fact.

    What may be expected of the trade is for the strategy's own rules to judge, and its fraction of Kelly with it.
    """
    net_liq, loss, power = case.account.net_liq, case.max_loss, case.buying_power
    names = ("trade_risk_max_pct", "trade_size_max_pct", "underlying_max_pct", "quantity_max")
    limits = [case.limit(name) for name in names]
    if net_liq is None or net_liq <= 0 or loss is None or power is None or case.account.buying_power is None:
        return None
    if any(each is None for each in limits):
        return None
    units = case.trade.quantity
    here = case.worst.of_underlying.get(case.trade.underlying_symbol)
    if here is None:
        return None
    reserved = sum((each.buying_power for each in case.account.opens), Decimal(0))
    request = SizeRequest(
        max_loss=loss / units,
        max_profit=None,
        buying_power=power / units,
        fees=Decimal(0),
        expected_value=None,
        net_liq=net_liq,
        buying_power_free=case.account.buying_power - reserved,
        underlying_exposure=max(Decimal(0), here - loss),
    )
    found = size(request, _rules(*(Decimal(each or 0) for each in limits)))
    return found.units if isinstance(found, Sized) else 0


@lru_cache(maxsize=16)
def _rules(risk: Decimal, trade: Decimal, underlying: Decimal, quantity: Decimal) -> RuleSet:
    """Hard limits as a rule set: outer guards, which a strategy's own rules stay within."""
    return RuleSet(
        name="hard limits",
        max_loss_pct_of_net_liq=float(risk),
        trade_size_max_pct=float(trade),
        underlying_max_pct=float(underlying),
        quantity_max=int(quantity),
        kelly_fraction=1.0,
        expected_value_required=False,
        fees_pct_of_max_profit_max=100.0,
    )

"""The shapes of accounts, balances and positions, complete as the interface sends them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optionmath.margin import GroupKind, MarginGroup, MarginOption, Phase
from optionmath.sessions import market_date
from tastysim import valuation
from tastysim.orders import stamp
from tastysim.requirements import EQUITY_RATE, gross

if TYPE_CHECKING:
    from tastysim.broker import Broker

_OPENED = "2024-01-02T00:00:00.000+00:00"
_ADDRESS = {
    "street-one": "1 Simulator Way", "city": "Chicago", "state-region": "IL", "postal-code": "60601", "country": "USA",
    "is-domestic": True, "is-foreign": False,
}  # fmt: skip


def customer() -> dict[str, Any]:
    """The one customer of the simulator."""
    kinds = [{"name": "Margin", "is_margin": True}, {"name": "Cash", "is_margin": False}]
    return {
        "id": "me", "first-name": "Simulated", "last-name": "Customer", "email": "customer@example.com",
        "address": _ADDRESS, "mailing-address": _ADDRESS, "birth-date": "1990-01-01", "created-at": _OPENED,
        "external-id": "SIM", "user-id": "1", "is-foreign": False, "usa-citizenship-type": "Citizen",
        "mobile-phone-number": "+13125550100", "tax-number-type": "SSN", "subject-to-tax-withholding": False,
        "has-industry-affiliation": False, "has-listed-affiliation": False, "has-political-affiliation": False,
        "has-delayed-quotes": False, "has-pending-or-approved-application": True, "is-professional": False,
        "permitted-account-types": [
            {
                "name": "Individual", "description": "Individual", "is_tax_advantaged": False,
                "is_publicly_available": True, "has_multiple_owners": False, "margin_types": kinds,
            }
        ],
    }  # fmt: skip


def account(broker: Broker) -> dict[str, Any]:
    """An account."""
    return {
        "account-number": broker.account, "account-type-name": "Individual", "created-at": _OPENED,
        "opened-at": _OPENED, "day-trader-status": False, "investment-objective": "SPECULATION",
        "is-closed": broker.flags["is-closed"], "is-firm-error": False, "is-firm-proprietary": False,
        "is-foreign": False, "is-futures-approved": False, "margin-or-cash": broker.margin_or_cash,
        "nickname": "Simulated", "suitable-options-level": broker.options_level, "external-id": f"SIM-{broker.account}",
    }  # fmt: skip


_FALSE = (
    "has-intraday-equities-margin", "is-aggregated-at-clearing", "is-cryptocurrency-closing-only",
    "is-cryptocurrency-enabled", "is-full-equity-margin-required", "is-futures-closing-only",
    "is-futures-intra-day-enabled", "is-futures-enabled", "is-in-day-trade-equity-maintenance-call",
    "is-in-margin-call", "is-pattern-day-trader", "is-small-notional-futures-intra-day-enabled",
    "is-roll-the-day-forward-enabled", "are-far-otm-net-options-restricted", "is-equity-offering-enabled",
    "is-equity-offering-closing-only", "is-portfolio-margin-enabled",
)  # fmt: skip
"""What is not simulated is not switched on."""


def trading_status(broker: Broker) -> dict[str, Any]:
    """What the account may do."""
    return {
        **dict.fromkeys(_FALSE, False), **broker.flags, "account-number": broker.account, "day-trade-count": 0,
        "equities-margin-calculation-type": "Reg T" if broker.margin_or_cash == "Margin" else "Cash",
        "fee-schedule-name": "default", "futures-margin-rate-multiplier": "0.0", "id": 1,
        "options-level": broker.options_level, "short-calls-enabled": True,
        "small-notional-futures-margin-rate-multiplier": "0.0", "updated-at": stamp(broker.market.now),
    }  # fmt: skip


_BALANCE_ZEROS = (
    "long-equity-value",
    "short-equity-value",
    "long-futures-value",
    "short-futures-value",
    "long-futures-derivative-value",
    "short-futures-derivative-value",
    "long-margineable-value",
    "short-margineable-value",
    "futures-margin-requirement",
    "reg-t-call-value",
    "day-trading-call-value",
    "day-equity-call-value",
    "pending-cash",
    "long-cryptocurrency-value",
    "short-cryptocurrency-value",
    "cryptocurrency-margin-requirement",
    "bond-margin-requirement",
    "unsettled-cryptocurrency-fiat-amount",
    "closed-loop-available-balance",
    "equity-offering-margin-requirement",
    "long-bond-value",
    "futures-overnight-margin-requirement",
    "futures-intraday-margin-requirement",
    "effective-cryptocurrency-buying-power",
)
"""What this account never has: only options, shares and cash are simulated."""


def balance(broker: Broker) -> dict[str, Any]:
    """Balances now."""
    power, tied_up, value = broker.buying_power(), broker.tied_up(), broker.net_liq()
    margin = broker.margin_or_cash != "Cash"
    excess = value - broker.tied_up(Phase.MAINTENANCE)
    settled = broker.cash - broker.holdings.unsettled
    shares = str(max(power, Decimal(0)) / EQUITY_RATE if margin else power)
    sides = {(option, long): Decimal(0) for option in (True, False) for long in (True, False)}
    for symbol in broker.positions:
        worth = broker.value(symbol)
        sides[valuation.is_option(symbol), worth >= 0] += abs(worth)
    return {
        **dict.fromkeys(_BALANCE_ZEROS, "0.0"),
        "account-number": broker.account, "currency": "USD", "cash-balance": str(broker.cash),
        "net-liquidating-value": str(value), "margin-equity": str(value),
        "long-derivative-value": str(sides[True, True]), "short-derivative-value": str(sides[True, False]),
        "long-equity-value": str(sides[False, True]), "short-equity-value": str(sides[False, False]),
        "long-margineable-value": str(sides[False, True]), "short-margineable-value": str(sides[False, False]),
        "equity-buying-power": shares, "derivative-buying-power": str(power), "day-trading-buying-power": shares,
        "available-trading-funds": str(power),
        "maintenance-requirement": str(broker.requirement(Phase.MAINTENANCE)),
        "reg-t-margin-requirement": str(broker.requirement()), "used-derivative-buying-power": str(tied_up),
        "maintenance-excess": str(excess), "maintenance-call-value": str(max(-excess, Decimal(0))),
        "cash-available-to-withdraw": str(max(min(power, settled), Decimal(0))), "day-trade-excess": str(excess),
        "pending-margin-interest": str(broker.pending_interest()), "pending-cash-effect": "None",
        "unsettled-cryptocurrency-fiat-effect": "None", "buying-power-adjustment": "0.0",
        "buying-power-adjustment-effect": "None", "snapshot-date": market_date(broker.market.now).isoformat(),
        "updated-at": stamp(broker.market.now),
    }  # fmt: skip


def position(broker: Broker, symbol: str, *, marks: bool = True) -> dict[str, Any]:
    """A position; one that was closed today has the quantity zero."""
    quantity, average = broker.positions.get(symbol, (0, Decimal(0)))
    mark, at = broker.mark(symbol), stamp(broker.market.now)
    times = broker.multiplier(symbol)
    close = broker.holdings.closes.get(symbol)
    opened, changed = broker.times.get(symbol, (at, at))
    gain, today = Decimal(broker.realized.get(symbol, "0")), market_date(broker.market.now).isoformat()
    found = {
        "account-number": broker.account, "symbol": symbol,
        "instrument-type": "Equity Option" if valuation.is_option(symbol) else "Equity",
        "underlying-symbol": broker.underlying_of(symbol),
        "quantity": abs(quantity) if isinstance(quantity, int) else str(abs(quantity)),
        "quantity-direction": "Long" if quantity > 0 else "Short" if quantity < 0 else "Zero",
        "close-price": close or str(mark), "average-open-price": str(average), "multiplier": int(times),
        "average-yearly-market-close-price": str(average),
        "average-daily-market-close-price": close or str(average if quantity else mark),
        "cost-effect": "Credit" if quantity > 0 else "Debit" if quantity < 0 else "None", "is-suppressed": False,
        "is-frozen": False, "restricted-quantity": 0, **valuation.signed("realized-day-gain", gain),
        "realized-day-gain-date": today, **valuation.signed("realized-today", gain), "realized-today-date": today,
        "created-at": opened, "updated-at": changed,
    }  # fmt: skip
    if marks:
        found |= {"mark-price": str(mark), "mark": str(abs(mark * quantity * times))}
    return found


_GROUPS = {
    GroupKind.SPREAD: "SPREAD", GroupKind.NAKED: "NAKED", GroupKind.STRANGLE: "STRANGLE", GroupKind.COVERED: "COVERED",
    GroupKind.PROTECTED_SHARES: "PROTECTED_UNDERLYING", GroupKind.COLLAR: "COLLAR", GroupKind.LONG: "LONG_OPTIONS",
}  # fmt: skip


def margin_report(broker: Broker) -> dict[str, Any]:
    """Margin in total, per underlying and per group of legs that are margined together."""
    signed = valuation.signed
    maintained = broker.margins(Phase.MAINTENANCE)
    groups = []
    for name, each in broker.margins().items():
        both = _both(each.required, maintained[name].required) | signed("buying-power", each.tied_up)
        both["margin-calculation-type"] = "Reg T"
        parts = [_group(broker, name, part, each.price) for part in each.found.groups]
        groups.append(
            {"description": name, "code": name, "underlying-symbol": name, "underlying-type": "Equity", **both,
             "groups": parts}
        )  # fmt: skip
    power, excess = broker.buying_power(), broker.net_liq() - broker.tied_up(Phase.MAINTENANCE)
    return {
        "account-number": broker.account, "description": "Total", "margin-calculation-type": "Reg T",
        "option-level": broker.options_level, **_both(broker.requirement(), broker.requirement(Phase.MAINTENANCE)),
        **signed("margin-equity", broker.net_liq()), **signed("option-buying-power", power),
        **signed("reg-t-margin-requirement", -broker.requirement()), **signed("reg-t-option-buying-power", power),
        **signed("maintenance-excess", excess), "groups": groups,
        "last-state-timestamp": int(broker.market.now.timestamp() * 1000),
    }  # fmt: skip


def _both(required: Decimal, maintained: Decimal) -> dict[str, str]:
    return valuation.signed("margin-requirement", -required) | valuation.signed("maintenance-requirement", -maintained)


def _group(broker: Broker, name: str, part: MarginGroup, price: Decimal) -> dict[str, Any]:
    """Legs that are margined together; a group's own maintenance is that of the whole name."""
    shares = "LONG_UNDERLYING" if part.shares > 0 else "SHORT_UNDERLYING"
    entries = [(option_symbol(broker, name, each), "Equity Option", each.signed_quantity) for each in part.options] + (
        [(name, "Equity", part.shares)] if part.shares else []
    )
    need = gross(part, price)
    return {
        "description": _GROUPS.get(part.kind, shares), "includes-working-order": False, **_both(need, need),
        **valuation.signed("buying-power", need),
        "position-entries": [
            {"instrument-symbol": symbol, "instrument-type": kind, "quantity": f"{quantity}.0",
             "close-price": str(broker.mark(symbol)), "fixing-price": "NaN"}
            for symbol, kind, quantity in entries
        ],
    }  # fmt: skip


def option_symbol(broker: Broker, name: str, option: MarginOption) -> str:
    """Symbol of a held contract by its terms."""
    for symbol in broker.positions:
        if valuation.is_option(symbol) and broker.underlying_of(symbol) == name:
            its = broker.contracts.of(symbol)
            same = its.is_call == option.is_call and its.option.strike == option.strike
            if same and its.option.expiration == option.expiration and int(its.shares) == option.delivered:
                return symbol
    return name

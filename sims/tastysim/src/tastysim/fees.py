"""What trading costs: every rate in one schedule. $ and Decimals, magnitudes.

Source: the broker's published commissions and fees, and those of the exchanges, FINRA and the SEC. Rates of
the regulators change every year, so all of them may be given in a file (`terms`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from optionmath.calendar import CASH_INDEX_ROOTS
from schemas.symbols import parse_occ

ZERO = Decimal(0)
MILL = Decimal("0.001")
"""Fees are kept to the tenth of a cent, as the interface shows them."""


def _proprietary() -> dict[str, Decimal]:
    return {
        "SPX": Decimal("0.65"), "SPXW": Decimal("0.65"), "XSP": Decimal("0.07"), "NDX": Decimal("0.65"),
        "NDXP": Decimal("0.65"), "XND": Decimal("0.10"), "RUT": Decimal("0.25"), "RUTW": Decimal("0.25"),
        "MRUT": Decimal("0.05"), "VIX": Decimal("0.60"), "VIXW": Decimal("0.60"), "DJX": Decimal("0.18"),
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class FeeSchedule:
    """Every rate. Per contract or share unless it says otherwise."""

    option_open: Decimal = Decimal("1.00")
    option_open_cap: Decimal = Decimal("10.00")
    """Most commission of one leg of one order, however many fills it takes; index options have no cap."""
    option_close: Decimal = ZERO
    index_option_open: Decimal = Decimal("1.00")
    equity_commission: Decimal = ZERO
    option_clearing: Decimal = Decimal("0.10")
    equity_clearing: Decimal = Decimal("0.0008")
    fractional_clearing: Decimal = Decimal("0.10")
    """Per fill of a quantity that is not whole, in place of the equity clearing."""
    orf: Decimal = Decimal("0.02")
    """Options regulatory fee, bought or sold."""
    option_taf: Decimal = Decimal("0.0028")
    """FINRA's trading activity fee, sales only."""
    equity_taf: Decimal = Decimal("0.000166")
    equity_taf_cap: Decimal = Decimal("8.30")
    sec_rate: Decimal = Decimal("0.0000206")
    """Of the proceeds of a sale."""
    exercise: Decimal = ZERO
    assignment: Decimal = ZERO
    """Per exercise or assignment, not per contract."""
    proprietary: Mapping[str, Decimal] = field(default_factory=_proprietary)
    """By root of a cash-settled index."""


NAMES = ("commission", "clearing-fees", "regulatory-fees", "proprietary-index-option-fees")


@dataclass(frozen=True, slots=True)
class Costs:
    """What one fill, leg or order costs, $ and positive."""

    commission: Decimal = ZERO
    clearing: Decimal = ZERO
    orf: Decimal = ZERO
    sec: Decimal = ZERO
    taf: Decimal = ZERO
    proprietary: Decimal = ZERO

    @property
    def regulatory(self) -> Decimal:
        """What regulators get."""
        return self.orf + self.sec + self.taf

    @property
    def total(self) -> Decimal:
        """All of it."""
        return self.commission + self.clearing + self.regulatory + self.proprietary

    def by_name(self) -> dict[str, Decimal]:
        """As a transaction names them."""
        return dict(zip(NAMES, (self.commission, self.clearing, self.regulatory, self.proprietary), strict=True))

    def __add__(self, other: Costs) -> Costs:
        return Costs(
            self.commission + other.commission, self.clearing + other.clearing, self.orf + other.orf,
            self.sec + other.sec, self.taf + other.taf, self.proprietary + other.proprietary,
        )  # fmt: skip


def fill_costs(
    schedule: FeeSchedule, leg: Mapping[str, Any], quantity: Decimal | int, price: Decimal, before: Decimal | int = 0
) -> Costs:
    """Costs of filling `quantity` of a leg at `price` after `before` of it were filled.

    What has a cap per order is the difference of two totals, so that partial fills cost together what one fill would.
    """
    sells, opens = leg["action"].startswith("Sell"), leg["action"].endswith("Open")
    if leg["instrument-type"] == "Equity":
        return _equity(schedule, Decimal(quantity), price, Decimal(before), sells=sells)
    root = parse_occ(leg["symbol"]).root_symbol
    index = root in CASH_INDEX_ROOTS
    rate = (schedule.index_option_open if index else schedule.option_open) if opens else schedule.option_close

    def commission(count: Decimal | int) -> Decimal:
        return rate * count if index or not opens else min(rate * count, schedule.option_open_cap)

    return Costs(
        commission=mills(commission(before + quantity)) - mills(commission(before)),
        clearing=mills(schedule.option_clearing * quantity), orf=mills(schedule.orf * quantity),
        sec=mills(schedule.sec_rate * price * quantity * 100) if sells else ZERO,
        taf=mills(schedule.option_taf * quantity) if sells else ZERO,
        proprietary=mills(schedule.proprietary.get(root, ZERO) * quantity) if index else ZERO,
    )  # fmt: skip


def _equity(schedule: FeeSchedule, quantity: Decimal, price: Decimal, before: Decimal, *, sells: bool) -> Costs:
    whole = quantity == quantity.to_integral_value()

    def taf(count: Decimal) -> Decimal:
        return mills(min(schedule.equity_taf * count, schedule.equity_taf_cap))

    return Costs(
        commission=mills(schedule.equity_commission * quantity),
        clearing=mills(schedule.equity_clearing * quantity) if whole else schedule.fractional_clearing,
        sec=mills(schedule.sec_rate * price * quantity) if sells else ZERO,
        taf=taf(before + quantity) - taf(before) if sells else ZERO,
    )


def mills(amount: Decimal) -> Decimal:
    """To the tenth of a cent, halves up."""
    return amount.quantize(MILL, ROUND_HALF_UP)


def calculation(costs: Costs) -> dict[str, Any]:
    """Costs of an order as the interface shows them."""

    def item(name: str, amount: Decimal) -> dict[str, str]:
        return {"name": name, "value": plain(amount), "effect": "Debit" if amount else "None"}

    parts = {"exchange": ZERO, "nfa": ZERO, "orf": costs.orf, "sec": costs.sec, "taf": costs.taf}
    found: dict[str, Any] = {
        "regulatory-fees-breakdown": [item(name, amount) for name, amount in parts.items()],
        "clearing-fees-breakdown": [item("clearing", costs.clearing)],
        "commission-breakdown": [item("brokerage", costs.commission)],
        "proprietary-fees-breakdown": [item("proprietary", costs.proprietary)],
        "rebates": "0.0", "rebates-effect": "None", "rebates-breakdown": [item("rebate", ZERO)], "per-quantity": False,
    }  # fmt: skip
    for name, amount in {**costs.by_name(), "total-fees": costs.total}.items():
        found |= {name: plain(amount), f"{name}-effect": "Debit" if amount else "None"}
    return found


def plain(amount: Decimal) -> str:
    """A magnitude with at least one decimal place and no needless zeros."""
    text = f"{abs(amount):f}".rstrip("0") if "." in f"{amount:f}" else f"{abs(amount):f}."
    return f"{text}0" if text.endswith(".") else text

"""Adjustments of option contracts to corporate actions, as the Options Clearing Corporation makes them. Exact: Decimal.

Splits, reverse splits, stock and special cash dividends, spin-offs, mergers; and how to recognise an adjusted contract.
The clearing corporation decides each case in a memo, which wins over these general rules.
Sources: Characteristics and Risks of Standardized Options, chapter III (adjustments, strikes in decimals) and its
supplements; OCC By-Laws, article VI, section 11A; OCC interpretative guidance on cash dividends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from enum import StrEnum

_CENT, _HUNDRED = Decimal("0.01"), Decimal(100)
SPECIAL_DIVIDEND_MIN_PER_CONTRACT = Decimal("12.50")
"""Dollars per contract below which a special cash dividend adjusts nothing ($0.125 a share on 100 shares)."""
INDEX_ROOTS: Mapping[str, frozenset[str]] = {
    "SPX": frozenset(("SPX", "SPXW")),
    "NDX": frozenset(("NDX", "NDXP")),
    "RUT": frozenset(("RUT", "RUTW")),
    "VIX": frozenset(("VIX", "VIXW")),
}
"""Underlyings whose standard contracts have roots beside the underlying's own symbol."""
_ADJUSTED_ROOT = re.compile(r"^[A-Z]+[0-9]$")


@dataclass(frozen=True, slots=True)
class Deliverable:
    """What one contract delivers: shares by symbol, and cash in dollars."""

    shares: Mapping[str, Decimal]
    cash: Decimal = Decimal(0)

    def value(self, prices: Mapping[str, Decimal]) -> Decimal:
        """Dollars at these share prices. Raises KeyError for a share without a price."""
        return self.cash + sum((count * prices[symbol] for symbol, count in self.shares.items()), Decimal(0))


@dataclass(frozen=True, slots=True)
class Contract:
    """Terms of an option series that a corporate action can change.

    strike: $ per share of the strike multiplier; multiplier: dollars per point of strike and of premium;
    signed_quantity: contracts held, short negative.
    """

    root: str
    strike: Decimal
    deliverable: Deliverable
    multiplier: Decimal = _HUNDRED
    signed_quantity: int = 1

    def intrinsic(self, prices: Mapping[str, Decimal], *, is_call: bool) -> Decimal:
        """Exercise value of one contract, dollars, never negative."""
        difference = self.deliverable.value(prices) - self.strike * self.multiplier
        return max(difference if is_call else -difference, Decimal(0))


class Deviation(StrEnum):
    """Why a contract is not a standard one."""

    ROOT = "root"
    """Its root is neither the underlying's symbol nor one of its index roots."""
    ROOT_DIGIT = "root_digit"
    """Its root ends in a digit, as adjusted series do."""
    SHARES = "shares"
    """It is not for 100 shares."""
    CASH = "cash"
    """It delivers cash beside or instead of the shares."""
    OTHER_SHARES = "other_shares"
    """It delivers another company's shares."""


def standard(symbol: str, strike: Decimal, signed_quantity: int = 1) -> Contract:
    """Unadjusted contract for 100 shares of a symbol."""
    return Contract(symbol, strike, Deliverable({symbol: _HUNDRED}), signed_quantity=signed_quantity)


def split(contract: Contract, symbol: str, *, new: int, old: int = 1) -> Contract:
    """Terms after a split of `new` shares for `old`. Raises ValueError for counts below 1.

    n for 1: n times the contracts at 1/n of the strike. Any other increase (3 for 2, stock dividends): the shares and
    the multiplier grow, the strike shrinks, the root gets a digit. Reverse: fewer shares, strike and multiplier stay;
    a fraction of a share is delivered as its price in cash, so it stays in the deliverable as a fraction here.
    Strikes go to the nearest cent.
    """
    if new < 1 or old < 1:
        raise ValueError(f"a split of {new} for {old} does not exist: both counts must be at least 1")
    ratio = Decimal(new) / Decimal(old)
    if new == old:
        return contract
    if new % old == 0 and _is_plain(contract, symbol):
        whole = new // old
        return replace(
            contract, strike=_cent(contract.strike / whole), signed_quantity=contract.signed_quantity * whole
        )
    shares = {**contract.deliverable.shares, symbol: contract.deliverable.shares[symbol] * new / old}
    changed = replace(
        contract, root=_next_root(contract.root), deliverable=replace(contract.deliverable, shares=shares)
    )
    if new < old or not _is_plain(contract, symbol):
        return changed
    return replace(changed, strike=_cent(contract.strike / ratio), multiplier=contract.multiplier * new / old)


def whole_shares(contract: Contract, symbol: str) -> tuple[int, Decimal]:
    """Shares of a symbol that one contract delivers as shares, and the fraction that is paid in cash."""
    count = contract.deliverable.shares[symbol]
    whole = count.to_integral_value(ROUND_DOWN)
    return int(whole), count - whole


def cash_dividend(contract: Contract, symbol: str, dollars_per_share: Decimal, *, ordinary: bool) -> Contract:
    """Terms after a cash dividend goes ex. Raises ValueError for a dividend that is not positive.

    Ordinary dividends change nothing. Special ones of at least $12.50 a contract lower the strike by the dividend per
    point of the multiplier; strike never below zero.
    """
    if dollars_per_share <= 0:
        raise ValueError(f"a cash dividend of {dollars_per_share} a share is not one: it must be positive")
    per_contract = dollars_per_share * contract.deliverable.shares[symbol]
    if ordinary or per_contract < SPECIAL_DIVIDEND_MIN_PER_CONTRACT:
        return contract
    return replace(contract, strike=max(_cent(contract.strike - per_contract / contract.multiplier), Decimal(0)))


def stock_dividend(contract: Contract, symbol: str, percent: Decimal) -> Contract:
    """Terms after a stock dividend, percent of the shares held: a fractional split. Raises ValueError if not > 0."""
    if percent <= 0:
        raise ValueError(f"a stock dividend of {percent} % is not one: it must be positive")
    new, old = (1 + percent / 100).as_integer_ratio()
    return split(contract, symbol, new=new, old=old)


def spin_off(contract: Contract, symbol: str, child: str, shares_per_share: Decimal) -> Contract:
    """Terms after each share of `symbol` received shares of `child`: they join the deliverable, the strike stays."""
    held = contract.deliverable.shares
    shares = {**held, child: held.get(child, Decimal(0)) + held[symbol] * shares_per_share}
    return replace(contract, root=_next_root(contract.root), deliverable=replace(contract.deliverable, shares=shares))


def merger(contract: Contract, symbol: str, *, acquirer: str, shares_per_share: Decimal, cash: Decimal) -> Contract:
    """Terms after each share of `symbol` became shares of `acquirer` and cash, dollars per share.

    A pure share exchange of one for one only renames the root; any other deliverable gets an adjusted root.
    """
    held = dict(contract.deliverable.shares)
    count = held.pop(symbol)
    if shares_per_share:
        held[acquirer] = held.get(acquirer, Decimal(0)) + count * shares_per_share
    deliverable = Deliverable(held, contract.deliverable.cash + count * cash)
    renamed = replace(contract, root=acquirer, deliverable=deliverable)
    return renamed if _is_plain(renamed, acquirer) else replace(renamed, root=_next_root(acquirer))


def deviations(
    underlying: str, root: str, shares_per_contract: Decimal, deliverable: Deliverable | None = None
) -> tuple[Deviation, ...]:
    """Why a contract is non-standard, from what the broker's chain says; empty for a standard one.

    A standard contract is for 100 shares of its own symbol (or an index root) and nothing else. Class letters may be
    written with a dot, a slash or a space (BRK.B, BRK/B, BRKB).
    """
    plain = re.sub(r"[./ ]", "", underlying)
    found = []
    if _ADJUSTED_ROOT.match(root) and root != plain:
        found.append(Deviation.ROOT_DIGIT)
    elif root not in INDEX_ROOTS.get(plain, frozenset((plain,))):
        found.append(Deviation.ROOT)
    shares = dict(deliverable.shares) if deliverable is not None else {}
    own = sum((shares.pop(name) for name in (underlying, plain) if name in shares), Decimal(0))
    if shares_per_contract != _HUNDRED or (deliverable is not None and own and own != _HUNDRED):
        found.append(Deviation.SHARES)
    if deliverable is not None and deliverable.cash:
        found.append(Deviation.CASH)
    if shares:
        found.append(Deviation.OTHER_SHARES)
    return tuple(found)


def _is_plain(contract: Contract, symbol: str) -> bool:
    deliverable = contract.deliverable
    return deliverable == Deliverable({symbol: _HUNDRED}) and contract.multiplier == _HUNDRED


def _next_root(root: str) -> str:
    """AAPL becomes AAPL1, AAPL1 becomes AAPL2; after 9 it stays: the memo then names another root."""
    if not root[-1].isdigit():
        return f"{root}1"
    return root if root[-1] == "9" else f"{root[:-1]}{int(root[-1]) + 1}"


def _cent(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, ROUND_HALF_UP)

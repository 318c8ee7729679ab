"""Strategy-based margin (Regulation T, Cboe Rule 10.3, FINRA Rule 4210) and the buying-power effect of an order.

The requirement of all legs of one underlying is the least over every permitted pairing, exact (`margin_pairing`):

- a short option is covered by shares, by a long option of its type that expires no earlier, or is naked;
- all covered options of one expiration, with the longs that cover them, need their greatest loss at that expiration: a
  vertical its width, a condor the wider side only, a long butterfly or box nothing, a diagonal the strike difference;
- naked: premium + max(rate · underlying − out-of-the-money amount, minimum rate · strike or underlying); a naked call
  and a naked put together: the greater side's requirement plus the other side's premium;
- long options are paid in full (more than nine months: `MarginRules.long_dated_loan` of their value may be borrowed);
- shares: initial or maintenance rate; an option that covers or protects them changes that as Cboe's manual says.

Sources: Cboe, Margin Manual (April 2000) and Strategy-Based Margin; FINRA Rule 4210(f)(2). A broker's house rules may
ask for more (concentration, low-priced stock, earnings): its own dry run decides.

All money is Decimal dollars, requirements rounded up to the cent. Prices are $ per share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum

ZERO = Decimal(0)
CENT = Decimal("0.01")
_LONG_DATED_MONTHS = 9


class UnderlyingKind(StrEnum):
    """What the rates depend on. Funds on a broad index count as BROAD_INDEX; the caller knows which are."""

    EQUITY = "equity"
    NARROW_INDEX = "narrow_index"
    BROAD_INDEX = "broad_index"


class AccountKind(StrEnum):
    """MARGIN: all rules; CASH: shares and short puts in full, no naked calls, spreads at their greatest loss."""

    MARGIN = "margin"
    CASH = "cash"


class Phase(StrEnum):
    """INITIAL: to open (Regulation T); MAINTENANCE: to keep. Only shares differ."""

    INITIAL = "initial"
    MAINTENANCE = "maintenance"


@dataclass(frozen=True, slots=True)
class Underlying:
    """price: $ per share; leverage: of a leveraged fund, multiplies the naked-option rates."""

    price: Decimal
    kind: UnderlyingKind = UnderlyingKind.EQUITY
    leverage: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True)
class MarginOption:
    """Contracts of one option. price: its current value, $ per share, not negative; signed_quantity: short negative.

    An adjusted contract pays strike and premium times `multiplier` and delivers `shares` (default: as many).
    am_settled: stops trading the evening before its expiration date, so a PM option of that date outlives it.
    """

    is_call: bool
    strike: Decimal
    expiration: date
    signed_quantity: int
    price: Decimal
    multiplier: int = 100
    shares: int | None = None
    am_settled: bool = False

    @property
    def delivered(self) -> int:
        """Shares that one contract delivers."""
        return self.multiplier if self.shares is None else self.shares

    @property
    def ends(self) -> tuple[date, bool]:
        """Sorts by the moment the option stops living."""
        return (self.expiration, not self.am_settled)

    @property
    def premium(self) -> Decimal:
        """$ value of one contract."""
        return self.price * self.multiplier

    def exercise_value(self, price: Decimal) -> Decimal:
        """$ that exercise of one long contract is worth at this price of the underlying, never negative."""
        worth = price * self.delivered - self.strike * self.multiplier
        return max(worth if self.is_call else -worth, ZERO)


@dataclass(frozen=True, slots=True)
class MarginRules:
    """Rates as fractions. Defaults are the exchange minimums; a broker's house rates go here."""

    account: AccountKind = AccountKind.MARGIN
    phase: Phase = Phase.INITIAL
    naked_rate: Mapping[UnderlyingKind, Decimal] = field(
        default_factory=lambda: {
            UnderlyingKind.EQUITY: Decimal("0.20"),
            UnderlyingKind.NARROW_INDEX: Decimal("0.20"),
            UnderlyingKind.BROAD_INDEX: Decimal("0.15"),
        }
    )
    naked_minimum_rate: Decimal = Decimal("0.10")
    naked_minimum: Decimal = ZERO
    """$ a naked contract needs at least beyond its premium; 0 = no house minimum."""
    shares_initial: Decimal = Decimal("0.50")
    long_shares_maintenance: Decimal = Decimal("0.25")
    short_shares_maintenance: Decimal = Decimal("0.30")
    hedged_strike_rate: Decimal = Decimal("0.10")
    """Maintenance of shares with a protective option: this of the strike plus what it is out of the money."""
    long_dated_loan: Decimal = ZERO
    """Fraction of a long option's value that may be borrowed beyond nine months (0.25 by rule, 0 where a broker lends
    nothing)."""


class GroupKind(StrEnum):
    """Why a part of the position needs what it needs."""

    SPREAD = "spread"
    NAKED = "naked"
    STRANGLE = "strangle"
    COVERED = "covered"
    PROTECTED_SHARES = "protected_shares"
    COLLAR = "collar"
    SHARES = "shares"
    LONG = "long"


@dataclass(frozen=True, slots=True)
class MarginGroup:
    """Legs that are margined together; `options` carry the quantity of this group."""

    kind: GroupKind
    options: tuple[MarginOption, ...]
    shares: int
    deposit: Decimal
    """$ needed beyond what long options cost, proceeds of short options not yet deducted."""


@dataclass(frozen=True, slots=True)
class MarginRequirement:
    """What a position in one underlying needs, $, and why."""

    groups: tuple[MarginGroup, ...]
    long_value: Decimal
    """Market value of long options."""
    short_value: Decimal
    """Market value of short options, a positive number."""
    prohibited: tuple[MarginOption, ...] = ()
    """Short calls that a cash account may not hold uncovered."""

    @property
    def deposit(self) -> Decimal:
        """The groups' sum: shorts and shares, long options not counted."""
        return sum((group.deposit for group in self.groups), ZERO)

    @property
    def requirement(self) -> Decimal:
        """As Cboe's manual states it: deposit plus long options in full; proceeds of shorts may pay for it."""
        return self.deposit + self.long_value

    @property
    def buying_power_used(self) -> Decimal:
        """Part of net liquidating value that is tied up: the requirement less the market value of the shorts.

        A credit spread: width less what it costs to close; a debit spread: its value; a naked option: its margin
        without the premium. Net liquidating value less this, over all underlyings, is the buying power.
        """
        return self.requirement - self.short_value


@dataclass(frozen=True, slots=True)
class BuyingPowerEffect:
    """What an order does to buying power, $."""

    before: MarginRequirement
    after: MarginRequirement
    cash: Decimal
    """Received for the order, paid negative, fees not deducted."""
    fees: Decimal
    share_value: Decimal
    """Market value of the shares it buys (sold: negative)."""

    @property
    def reduction(self) -> Decimal:
        """Buying power that the order takes; negative when it frees some."""
        return self.after.deposit - self.before.deposit - self.cash + self.fees - self.share_value


def netted(options: Iterable[MarginOption]) -> tuple[MarginOption, ...]:
    """Same contracts added up, the last price given for each kept; what nets to nothing is gone."""
    found: dict[tuple[object, ...], MarginOption] = {}
    for each in options:
        key = (each.is_call, each.strike, each.ends, each.multiplier, each.delivered)
        held = found[key].signed_quantity if key in found else 0
        found[key] = replace(each, signed_quantity=held + each.signed_quantity)
    ordered = sorted(found.values(), key=lambda each: (each.ends, each.strike, each.is_call, each.delivered))
    return tuple(each for each in ordered if each.signed_quantity)


def requirement(
    options: Sequence[MarginOption],
    underlying: Underlying,
    *,
    shares: int = 0,
    rules: MarginRules | None = None,
    as_of: date | None = None,
) -> MarginRequirement:
    """Least requirement of all options and shares of one underlying; the order of the options does not matter.

    shares: held, short negative. as_of: today, needed only to lend on long-dated options.
    Raises ValueError for a price that is not positive, an option value below zero, or a contract that delivers nothing.
    """
    from optionmath.margin_pairing import pair

    if not (underlying.price.is_finite() and underlying.price > 0 and underlying.leverage > 0):
        raise ValueError("the underlying needs a positive price and leverage")
    legs = netted(options)
    if any(not each.price.is_finite() or each.price < 0 or each.strike <= 0 or each.delivered <= 0 for each in legs):
        raise ValueError("an option needs a value of 0 or more, a positive strike, and something to deliver")
    chosen = rules or MarginRules()
    groups, prohibited = pair(legs, shares, underlying, chosen, _long_dated(legs, chosen, as_of))
    return MarginRequirement(
        tuple(replace(group, deposit=group.deposit.quantize(CENT, ROUND_CEILING)) for group in groups),
        sum((each.premium * each.signed_quantity for each in legs if each.signed_quantity > 0), ZERO),
        sum((-each.premium * each.signed_quantity for each in legs if each.signed_quantity < 0), ZERO),
        prohibited,
    )


def _long_dated(legs: Sequence[MarginOption], rules: MarginRules, as_of: date | None) -> frozenset[MarginOption]:
    if as_of is None or not rules.long_dated_loan or rules.account is AccountKind.CASH:
        return frozenset()
    month = as_of.year * 12 + as_of.month - 1 + _LONG_DATED_MONTHS
    limit = (month // 12, month % 12 + 1, as_of.day)
    return frozenset(
        each
        for each in legs
        if each.signed_quantity > 0 and (each.expiration.year, each.expiration.month, each.expiration.day) > limit
    )


def buying_power_effect(
    held: Sequence[MarginOption],
    order: Sequence[MarginOption],
    underlying: Underlying,
    *,
    cash: Decimal,
    fees: Decimal = ZERO,
    held_shares: int = 0,
    order_shares: int = 0,
    rules: MarginRules | None = None,
    as_of: date | None = None,
) -> BuyingPowerEffect:
    """What an order takes from buying power, given everything held in the underlying: requirement after less before.

    order: what is bought (+) and sold (−), at current option values; closing trades net against `held`.
    cash: $ received for the order at its limit (a debit is negative), for options and shares together.
    """
    before = requirement(held, underlying, shares=held_shares, rules=rules, as_of=as_of)
    after = requirement([*held, *order], underlying, shares=held_shares + order_shares, rules=rules, as_of=as_of)
    return BuyingPowerEffect(before, after, cash, fees, order_shares * underlying.price)

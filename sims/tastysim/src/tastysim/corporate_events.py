"""What companies do to their shares, as a market knows it: dividends, splits, earnings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Dividend:
    """A cash dividend. amount: $ per share. Who holds at the close before `ex` receives it on `payable`."""

    symbol: str
    amount: Decimal
    declared: date
    ex: date
    record: date
    payable: date


@dataclass(frozen=True, slots=True)
class Split:
    """`new` shares for `old` ones, from the open of `effective`."""

    symbol: str
    effective: date
    new: int
    old: int


@dataclass(frozen=True, slots=True)
class Earnings:
    """An earnings report, before the open or after the close of `day`."""

    symbol: str
    day: date
    before_open: bool


@dataclass(frozen=True, slots=True)
class CorporateEvents:
    """Everything a market knows in a range of days, each kind in the order of its days."""

    dividends: tuple[Dividend, ...] = ()
    splits: tuple[Split, ...] = ()
    earnings: tuple[Earnings, ...] = ()

"""Option symbols: OCC ⇄ streamer ⇄ subject token. Every conversion is exact or raises SymbolError.

OCC: root padded to 6, YYMMDD, C or P, strike × 1000 in 8 digits (`SPY   260804C00500000`).
Streamer: `.SPY260804C500`, the strike without trailing zeros. Sources: OCC option symbology initiative; dxFeed.
Subject token: NATS tokens hold no space, dot, `*` or `>`; what is not A-Z a-z 0-9 `-` becomes `_xx` (hex of the byte).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

_STREAMER = re.compile(r"^\.([A-Z][A-Z0-9]{0,5}?)(\d{6})([CP])(\d{1,5}(?:\.\d{1,3})?)$")
_OCC = re.compile(r"^([A-Z][A-Z0-9]{0,5}) {0,5}(\d{6})([CP])(\d{8})$")
_PLAIN = re.compile(r"[A-Za-z0-9-]")


class SymbolError(ValueError):
    """A symbol that cannot be read; says which and what shape was expected."""

    def __init__(self, symbol: str, expected: str) -> None:
        self.symbol = symbol
        self.expected = expected
        super().__init__(f"symbol {symbol!r} cannot be read: expected {expected}")


class OptionType(StrEnum):
    CALL = "C"
    PUT = "P"


@dataclass(frozen=True, slots=True, order=True)
class OptionSymbol:
    """The four facts an option symbol holds."""

    root_symbol: str
    expiration: date
    option_type: OptionType
    strike: Decimal
    """Dollars per share, up to three decimals, below 100,000."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Z][A-Z0-9]{0,5}", self.root_symbol):
            raise SymbolError(self.root_symbol, "a root of 1-6 capitals or digits that starts with a capital")
        scaled = self.strike * 1000
        if scaled != scaled.to_integral_value() or not 0 < scaled < 10**8:
            raise SymbolError(str(self.strike), "a strike above 0 and below 100000 with at most three decimals")
        if not 2000 <= self.expiration.year < 2100:
            raise SymbolError(self.expiration.isoformat(), "an expiration from 2000 to 2099")

    @property
    def occ(self) -> str:
        """The 21-character OCC symbol."""
        return f"{self.root_symbol:<6}{self.expiration:%y%m%d}{self.option_type}{int(self.strike * 1000):08d}"

    @property
    def streamer(self) -> str:
        """The feed's symbol."""
        strike = f"{self.strike:f}"
        if "." in strike:
            strike = strike.rstrip("0").rstrip(".")
        return f".{self.root_symbol}{self.expiration:%y%m%d}{self.option_type}{strike}"


def _expiration(text: str, symbol: str, expected: str) -> date:
    try:
        return date(2000 + int(text[:2]), int(text[2:4]), int(text[4:]))
    except ValueError as error:
        raise SymbolError(symbol, expected) from error


def parse_occ(symbol: str) -> OptionSymbol:
    """Read a 21-character OCC symbol; raises SymbolError."""
    expected = "21 characters: root padded to 6, YYMMDD, C or P, strike × 1000 in 8 digits"
    match = _OCC.match(symbol) if len(symbol) == 21 else None
    if match is None or symbol[6:12] != match[2]:
        raise SymbolError(symbol, expected)
    return OptionSymbol(
        match[1],
        _expiration(match[2], symbol, expected),
        OptionType(match[3]),
        Decimal(int(match[4])).scaleb(-3).normalize() + 0,
    )


def parse_streamer(symbol: str) -> OptionSymbol:
    """Read a streamer option symbol such as `.SPY260804C480.5`; raises SymbolError."""
    expected = "'.', root, YYMMDD, C or P, strike, as in .SPY260804C480.5"
    match = _STREAMER.match(symbol)
    if match is None:
        raise SymbolError(symbol, expected)
    return OptionSymbol(
        match[1],
        _expiration(match[2], symbol, expected),
        OptionType(match[3]),
        Decimal(match[4]).normalize() + 0,
    )


def to_token(symbol: str) -> str:
    """Encode any symbol or account number as one subject token. Raises SymbolError for an empty one."""
    if not symbol:
        raise SymbolError(symbol, "at least one character")
    return "".join(c if _PLAIN.match(c) else "".join(f"_{b:02x}" for b in c.encode()) for c in symbol)


def from_token(token: str) -> str:
    """Decode what `to_token` made; raises SymbolError for anything else."""
    try:
        raw = re.sub(rb"_([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), token.encode("ascii"))
        symbol = raw.decode()
    except UnicodeError as error:
        raise SymbolError(token, "a subject token made by to_token") from error
    if not token or to_token(symbol) != token:
        raise SymbolError(token, "a subject token made by to_token")
    return symbol

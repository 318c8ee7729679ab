"""What option contracts deliver, when they end and how they settle; adjusted ones are remembered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache

from optionmath import adjustments
from optionmath.calendar import CASH_INDEX_ROOTS, Settlement, settlement_of, settles_at, stops_trading_at
from schemas.symbols import OptionSymbol, OptionType, parse_occ
from tastysim.corporate_events import Split
from tastysim.market import Market
from tastysim.store import Store

_KEY = "adjusted-contracts"
_AMERICAN_INDEX = frozenset(("OEX",))
_INDEX_OF = {root: name for name, roots in adjustments.INDEX_ROOTS.items() for root in roots}


@dataclass(frozen=True, slots=True)
class Contract:
    """One series. shares: of the underlying for one contract; multiplier: $ for each $1 of strike and of price."""

    symbol: str
    option: OptionSymbol
    underlying: str
    shares: Decimal = Decimal(100)
    multiplier: Decimal = Decimal(100)

    @property
    def is_call(self) -> bool:
        return self.option.option_type is OptionType.CALL

    @property
    def is_standard(self) -> bool:
        """For 100 shares and nothing else."""
        return self.shares == self.multiplier == 100

    @property
    def is_cash_settled(self) -> bool:
        """Pays its intrinsic value and delivers nothing."""
        return self.option.root_symbol in CASH_INDEX_ROOTS

    @property
    def is_american(self) -> bool:
        """May be exercised before it expires."""
        return not self.is_cash_settled or self.option.root_symbol in _AMERICAN_INDEX

    @property
    def settlement(self) -> Settlement:
        """At the open or at the close of its last day."""
        return settlement_of(self.option.root_symbol, self.option.expiration)

    @property
    def stops_trading_at(self) -> datetime:
        return _ends(self.option.root_symbol, self.option.expiration)[0]

    @property
    def ends_at(self) -> datetime:
        """When it is over: it neither trades nor waits for its settlement."""
        return max(_ends(self.option.root_symbol, self.option.expiration))

    def intrinsic(self, price: Decimal) -> Decimal:
        """$ that exercise of one contract is worth at a price of the underlying, never negative."""
        worth = price * self.shares - self.option.strike * self.multiplier
        return max(worth if self.is_call else -worth, Decimal(0))


@lru_cache(maxsize=4096)
def _ends(root: str, expiration: date) -> tuple[datetime, datetime]:
    return stops_trading_at(root, expiration), settles_at(expiration, settlement_of(root, expiration))


@lru_cache(maxsize=65_536)
def _parsed(symbol: str) -> OptionSymbol:
    return parse_occ(symbol)


class Contracts:
    """Every contract by its symbol."""

    def __init__(self, market: Market, store: Store) -> None:
        self._market, self._store = market, store
        self._adjusted: dict[str, list[str]] = json.loads(store.kept(_KEY) or "{}")
        self._known: dict[str, Contract] = {}

    def of(self, symbol: str) -> Contract:
        """A contract, listed or not. Raises SymbolError for what is no option symbol."""
        found = self._known.get(symbol)
        if found is None:
            found = self._known[symbol] = self._read(symbol)
        return found

    def _read(self, symbol: str) -> Contract:
        option = _parsed(symbol)
        if symbol in self._adjusted:
            underlying, shares, multiplier = self._adjusted[symbol]
            return Contract(symbol, option, underlying, Decimal(shares), Decimal(multiplier))
        root = option.root_symbol
        return Contract(symbol, option, root if self._market.index_of(root) is not None else _INDEX_OF.get(root, root))

    def split(self, symbol: str, split: Split) -> tuple[Contract, int]:
        """The contract that takes the place of one, and how many there are of it for each old one."""
        old = self.of(symbol)
        terms = adjustments.Contract(
            old.option.root_symbol, old.option.strike,
            adjustments.Deliverable({split.symbol: old.shares}), old.multiplier,
        )  # fmt: skip
        new = adjustments.split(terms, split.symbol, new=split.new, old=split.old)
        option = OptionSymbol(new.root, old.option.expiration, old.option.option_type, new.strike)
        shares = new.deliverable.shares[split.symbol]
        if shares != 100 or new.multiplier != 100:
            self._adjusted[option.occ] = [split.symbol, str(shares), str(new.multiplier)]
            self._store.keep({_KEY: json.dumps(self._adjusted)})
        found = Contract(option.occ, option, split.symbol, shares, new.multiplier)
        self._known[option.occ] = found
        return found, new.signed_quantity

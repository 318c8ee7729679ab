"""What an account holds, what that is worth and needs, and how it is kept. $ and Decimals."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from optionmath.margin import Phase
from tastysim import interest, requirements, valuation
from tastysim.contracts import Contracts
from tastysim.fees import Costs, calculation, fill_costs
from tastysim.market import Market
from tastysim.orders import Order, Quantity
from tastysim.positions import Holdings
from tastysim.store import Store
from tastysim.terms import Terms
from tastysim.transactions import signed_amount

FLAGS = ("is-closed", "is-closing-only", "is-frozen", "is-risk-reducing-only")


class Account:
    """Cash and positions of one account at a market. `first`: the one whose values an older file keeps unnumbered."""

    def __init__(
        self, market: Market, store: Store, account: str, cash: int, margin_or_cash: str = "Margin", *,
        first: bool = False, terms: Terms | None = None, contracts: Contracts | None = None,
    ) -> None:  # fmt: skip
        self.terms, self.contracts = terms or Terms(), contracts or Contracts(market, store)
        self.market, self.store, self.account, self._first = market, store, account, first
        self.is_new = self._kept("cash") is None
        self.holdings = Holdings.read(self._kept, Decimal(cash))
        self.margin_or_cash = self._kept("margin-or-cash") or margin_or_cash
        self.options_level = self._kept("options-level") or requirements.LEVELS[-1]
        self.flags: dict[str, bool] = dict.fromkeys(FLAGS, False) | json.loads(self._kept("flags") or "{}")
        self.margin_cache = requirements.MarginCache()

    @property
    def cash(self) -> Decimal:
        """$, negative when borrowed."""
        return self.holdings.cash

    @cash.setter
    def cash(self, amount: Decimal) -> None:
        self.holdings.cash = amount

    @property
    def positions(self) -> dict[str, tuple[Quantity, Decimal]]:
        """Signed quantity and average price by symbol."""
        return self.holdings.positions

    @property
    def times(self) -> dict[str, list[str]]:
        """When positions were opened and last changed."""
        return self.holdings.times

    @property
    def realized(self) -> dict[str, str]:
        """$ gained today by symbol, and the `day`."""
        return self.holdings.realized

    def quantities(self) -> dict[str, Quantity]:
        """Signed quantity by symbol."""
        return {symbol: quantity for symbol, (quantity, _) in self.positions.items()}

    def _kept(self, name: str) -> str | None:
        """A value of this account; an older file has those of its only account without its number."""
        found = self.store.kept(f"{self.account}/{name}")
        return self.store.kept(name) if found is None and self._first else found

    def mark(self, symbol: str) -> Decimal:
        """Mid of what is listed, $ per share; what a contract that is not listed is worth."""
        if valuation.is_option(symbol) and symbol not in self.market.row_of:
            return valuation.unlisted_mark(self.market, self.contracts.of(symbol))
        return valuation.mark(self.market, symbol)

    def multiplier(self, symbol: str) -> Decimal:
        """$ of one unit for $1 of price."""
        return self.contracts.of(symbol).multiplier if valuation.is_option(symbol) else Decimal(1)

    def net_liq(self) -> Decimal:
        """Cash and the marks of everything held."""
        return self.cash + sum((self.value(symbol) for symbol in self.positions), Decimal(0))

    def value(self, symbol: str) -> Decimal:
        """$ at the mark, short negative."""
        return self.mark(symbol) * self.positions[symbol][0] * self.multiplier(symbol)

    def margins(self, phase: Phase = Phase.INITIAL) -> dict[str, requirements.NameMargin]:
        """What each underlying's positions need, at this step's prices."""
        return requirements.by_underlying(self, self.quantities(), phase)

    def requirement(self, phase: Phase = Phase.INITIAL) -> Decimal:
        """Margin of everything held."""
        return sum((each.required for each in self.margins(phase).values()), Decimal(0))

    def tied_up(self, phase: Phase = Phase.INITIAL) -> Decimal:
        """Part of net liquidating value that the positions need."""
        return sum((each.tied_up for each in self.margins(phase).values()), Decimal(0))

    def buying_power(self) -> Decimal:
        """What is left for options, $; shares take their margin rate of it."""
        return self.net_liq() - self.tied_up()

    def note_closes(self) -> None:
        """Keep the marks of what is held at the close: prices of positions are compared with them next day."""
        self.holdings.closes = {symbol: str(self.mark(symbol)) for symbol in self.positions}
        self.write([])

    def pending_interest(self) -> Decimal:
        """Debit interest that is not posted yet, $."""
        return interest.pending(self)

    def buying_power_effect(self, order: Order) -> dict[str, Any]:
        """What an order changes, magnitudes with effects."""
        return requirements.buying_power_effect(self, order)

    def order_costs(self, order: Order) -> Costs:
        """Fees of a whole order at its legs' marks."""
        found = Costs()
        for leg in order.legs:
            found += fill_costs(self.terms.fees, leg, leg["quantity"], self.mark(leg["symbol"]))
        return found

    def fee_calculation(self, order: Order) -> dict[str, Any]:
        """Fees as the interface shows them."""
        return calculation(self.order_costs(order))

    def take(self, transactions: Iterable[dict[str, Any]]) -> None:
        """Let the cash follow transactions; what a sale brings in settles with the next session."""
        for row in transactions:
            amount = signed_amount(row)
            self.cash += amount
            if amount > 0 and row["transaction-type"] == "Trade":
                self.holdings.unsettled += amount

    def move(self, symbol: str, quantity: Quantity, price: Decimal, now: datetime) -> None:
        """Change a position by a signed quantity at a price; what that closes is realized."""
        self.holdings.move(symbol, quantity, price, self.multiplier(symbol), now)

    def write(self, transactions: Iterable[dict[str, Any]], **rows: Any) -> None:
        """Write the account and what belongs with it in one transaction."""
        state = self.holdings.as_kept() | {
            "margin-or-cash": self.margin_or_cash, "flags": json.dumps(self.flags), "options-level": self.options_level,
        }  # fmt: skip
        kept = {f"{self.account}/{name}": value for name, value in state.items()}
        self.store.keep(kept, account=self.account, transactions=transactions, **rows)

    def underlying_of(self, symbol: str) -> str:
        """Underlying of a contract or an equity."""
        return self.contracts.of(symbol).underlying if valuation.is_option(symbol) else symbol

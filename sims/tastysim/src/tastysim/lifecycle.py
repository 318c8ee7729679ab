"""What happens to accounts by the calendar, whatever the size of a step: the moments of a day, each once, in order.

Midnight in New York: splits, where the market trades at night; where it has hours, in the morning. Morning (9:30,
every day): dividends that are payable, interest, contracts settled at the open. Close, and a quarter of an hour later:
contracts that end then; closing marks. Evening (an hour and a half after the close): early assignments, and who will
receive the next session's dividends. What was missed while the simulator did not run, or in one long step, is done in
the order of its moments.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from optionmath.calendar import Settlement, last_session
from optionmath.sessions import NEW_YORK, OPEN, closes_at, market_date, next_session
from tastysim import corporate_actions, expirations, interest, valuation
from tastysim.contracts import Contract
from tastysim.corporate_events import Dividend
from tastysim.orders import Refusal

if TYPE_CHECKING:
    from tastysim.broker import Broker
    from tastysim.brokerage import Brokerage

_LATE, _EVENING = timedelta(minutes=15), timedelta(minutes=90)
_THROUGH, _SPLITS = "lifecycle/through", "lifecycle/splits"


class Moment(StrEnum):
    MIDNIGHT = "midnight"
    MORNING = "morning"
    CLOSE = "close"
    LATE = "late"
    EVENING = "evening"


def moments(day: date) -> list[tuple[datetime, Moment]]:
    """Moments of a day, aware UTC, in order; days without a session have no close and no evening."""
    found = [
        (datetime.combine(day, time(), NEW_YORK).astimezone(UTC), Moment.MIDNIGHT),
        (datetime.combine(day, OPEN, NEW_YORK).astimezone(UTC), Moment.MORNING),
    ]
    if (closing := closes_at(day)) is not None:
        found += [(closing, Moment.CLOSE), (closing + _LATE, Moment.LATE), (closing + _EVENING, Moment.EVENING)]
    return found


class Lifecycle:
    """Brings all accounts through the moments that have passed."""

    def __init__(self, brokerage: Brokerage) -> None:
        self._brokerage = brokerage
        self.market, self.store = brokerage.market, brokerage.store
        kept = self.store.kept(_THROUGH)
        self._splits: list[str] = json.loads(self.store.kept(_SPLITS) or "[]")
        self._through = self.market.now if kept is None else min(datetime.fromisoformat(kept), self.market.now)
        self._next = self._following()
        if kept is None:
            self.store.keep({_THROUGH: self._through.isoformat()})

    def _following(self) -> tuple[datetime, Moment]:
        return next(each for each in _from(market_date(self._through)) if each[0] > self._through)

    def run(self, now: datetime) -> None:
        """Do what is due. A clock that goes back meets the same moments again; what counts once, counts once."""
        if now < self._through - timedelta(seconds=1):
            self._through = now
            self._next = self._following()
        if self._next[0] > now:
            return
        with self.store.batch():
            while self._next[0] <= now:
                at, moment = self._next
                self._do(at, moment)
                self._through = at
                self._next = self._following()
            self.store.keep({_THROUGH: self._through.isoformat()})

    def _do(self, at: datetime, moment: Moment) -> None:
        day = market_date(at)
        if moment is Moment.MORNING or (moment is Moment.MIDNIGHT and self.market.is_open):
            self._split(day, at)
        if moment is Moment.MIDNIGHT:
            return
        if moment is Moment.MORNING:
            self._morning(day, at)
        brokers = self._brokerage.brokers.values()
        for broker in brokers:
            if moment is not Moment.EVENING:
                expirations.expire(broker, at, self._settlement)
            if moment is Moment.LATE:
                broker.note_closes()
        if moment is Moment.EVENING:
            ex = next_session(day)
            dividends = self.market.events(ex, ex).dividends
            for broker in brokers:
                self._early(broker, day, at, {each.symbol: each for each in dividends if each.ex == ex})
                for dividend in dividends:
                    corporate_actions.entitle(broker, dividend, at)

    def _split(self, day: date, at: datetime) -> None:
        for split in self.market.events(day, day).splits:
            key = f"{split.symbol} {split.effective.isoformat()}"
            if key in self._splits:
                continue
            self._splits.append(key)
            self.store.keep({_SPLITS: json.dumps(self._splits)})
            for broker in self._brokerage.brokers.values():
                corporate_actions.split(broker, split, at)

    def _morning(self, day: date, at: datetime) -> None:
        for broker in self._brokerage.brokers.values():
            broker.holdings.roll(day.isoformat())
            corporate_actions.pay_dividends(broker, day, at)
            interest.accrue(broker, day, at)

    def _settlement(self, contract: Contract) -> Decimal | None:
        """Official close of the last session, or the price now where the market does not know it or at the open."""
        if contract.settlement is Settlement.PM:
            known = self.market.settlement(contract.underlying, last_session(contract.option.expiration))
            if known is not None:
                return known
        return self._price(contract)

    def _price(self, contract: Contract) -> Decimal | None:
        """Price of the underlying now; None where this market does not know it."""
        try:
            return valuation.spot(self.market, contract.underlying)
        except Refusal:
            return None

    def _early(self, broker: Broker, day: date, at: datetime, dividends: dict[str, Dividend]) -> None:
        """Assign short options whose holders exercise this evening."""
        rules = broker.terms.assignment
        for symbol, (quantity, _) in list(broker.positions.items()):
            if quantity >= 0 or not valuation.is_option(symbol):
                continue
            contract = broker.contracts.of(symbol)
            if contract.ends_at <= at or not contract.is_american or not contract.is_standard:
                continue
            quote = valuation.quote(self.market, symbol)
            price = self._price(contract)
            gain = Decimal(0) if price is None else contract.intrinsic(price) / contract.multiplier
            if quote is None or gain <= 0:
                continue
            left = sum(quote, Decimal(0)) / 2 - gain
            dividend = dividends.get(contract.underlying)
            if contract.is_call and dividend is not None and left < dividend.amount:
                share, why = rules.dividend_share, "assigned for the dividend"
            elif left <= rules.parity_value and gain >= rules.parity_depth * contract.option.strike:
                share, why = rules.parity_share, "assigned at parity"
            else:
                continue
            count = sum(drawn(rules.seed, broker.account, symbol, day, n) < share for n in range(-int(quantity)))
            if count:
                expirations.assign(broker, symbol, count, at, why)


def _from(day: date) -> Iterator[tuple[datetime, Moment]]:
    while True:
        yield from moments(day)
        day += timedelta(days=1)


def drawn(seed: int, account: str, symbol: str, day: date, number: int) -> float:
    """The draw in [0, 1) that decides about one contract on one evening; it depends on nothing else."""
    key = f"{seed}/{account}/{symbol}/{day.isoformat()}/{number}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big") / 2**56

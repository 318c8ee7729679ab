"""An account's books once more, from a broker's history alone: cash, positions, averages, gains, fees, interest.

It reads events one after the other and shares no code with whoever wrote them; where an event states a result, the
result is computed again and a difference raises `Disagreement`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
ZERO, CENT, MILL = Decimal(0), Decimal("0.01"), Decimal("0.001")
_INDEX = {"XSP": Decimal("0.07"), "SPX": Decimal("0.65"), "SPXW": Decimal("0.65")}
Event = Mapping[str, Any]
Close = Callable[[str, date], Decimal | None]


class Disagreement(AssertionError):
    """The history says something else than these books."""


def _agree(what: str, told: object, own: object) -> None:
    if told != own:
        raise Disagreement(f"{what}: the history says {told}, the books {own}")


@dataclass(frozen=True, slots=True)
class Option:
    """What an option symbol says, and what one contract is for."""

    root: str
    expiration: date
    is_call: bool
    strike: Decimal
    shares: Decimal = Decimal(100)
    multiplier: Decimal = Decimal(100)

    @classmethod
    def read(cls, symbol: str) -> Option:
        """From the 21 characters of the symbol."""
        year, month, day = (int(symbol[n : n + 2]) for n in (6, 8, 10))
        return cls(symbol[:6].strip(), date(2000 + year, month, day), symbol[12] == "C", Decimal(symbol[13:]) / 1000)

    def worth(self, price: Decimal) -> Decimal:
        """$ of exercising one contract at a price."""
        found = price * self.shares - self.strike * self.multiplier
        return max(found if self.is_call else -found, ZERO)


def is_option(symbol: str) -> bool:
    """Contracts have 21 characters."""
    return len(symbol) == 21


@dataclass(frozen=True, slots=True)
class Rates:
    """Interest a year."""

    credit: Decimal
    debit: Decimal
    days: int = 360


@dataclass(slots=True)
class Books:
    """One account. close: official closes, to check what contracts were settled at."""

    account: str
    rates: Rates
    close: Close
    started: datetime
    cash: Decimal = ZERO
    fees: Decimal = ZERO
    gains: Decimal = ZERO
    positions: dict[str, tuple[int, Decimal]] = field(default_factory=dict)
    adjusted: dict[str, tuple[str, Decimal, Decimal]] = field(default_factory=dict)
    entitled: dict[tuple[str, str], tuple[int, Decimal]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _filled: dict[tuple[int, str], int] = field(default_factory=dict)
    _interest: dict[str, Decimal] = field(default_factory=dict)
    _morning: date | None = None

    def option(self, symbol: str) -> Option:
        """What a contract is for."""
        found = Option.read(symbol)
        if symbol in self.adjusted:
            _, shares, multiplier = self.adjusted[symbol]
            return Option(found.root, found.expiration, found.is_call, found.strike, shares, multiplier)
        return found

    def name(self, symbol: str) -> str:
        """Underlying of a contract, or the shares themselves."""
        if symbol in self.adjusted:
            return self.adjusted[symbol][0]
        return Option.read(symbol).root if is_option(symbol) else symbol

    def read(self, event: Event) -> None:
        """Take the next event of the history; those of other accounts are passed over. Raises Disagreement."""
        if event["account-number"] != self.account:
            return
        what = str(event["what"])
        self.accrue(moment_of(event), before_morning=what in ("interest", "dividend", "split"))
        readers: dict[str, Callable[[Event], None]] = {
            "deposit": self._deposit, "filled": self._fills, "partially filled": self._fills, "split": self._split,
            "dividend entitled": self._entitled, "dividend": self._dividend, "interest": self._posted,
        }  # fmt: skip
        words = ("expiration", "exercise", "assignment", "cash settled exercise", "cash settled assignment")
        readers |= dict.fromkeys(words, self._ended)
        if what in readers:
            self.counts[what] = self.counts.get(what, 0) + 1
            readers[what](event)

    def accrue(self, now: datetime, *, before_morning: bool = False) -> None:
        """Add interest for every morning (9:30 in New York) that has passed, on the balance of that morning."""
        day = self.started.astimezone(NEW_YORK).date() if self._morning is None else self._morning
        if self._morning is None and _morning(day) > self.started:
            day -= timedelta(days=1)
        while (moment := _morning(day + timedelta(days=1))) < now or (moment == now and not before_morning):
            day += timedelta(days=1)
            for kind, base, rate in (
                ("credit", max(self.cash, ZERO), self.rates.credit), ("debit", max(-self.cash, ZERO), self.rates.debit)
            ):  # fmt: skip
                fine = (base * rate / self.rates.days).quantize(Decimal("0.000001"), ROUND_HALF_EVEN)
                self._interest[kind] = self._interest.get(kind, ZERO) + fine
        self._morning = day

    def _deposit(self, event: Event) -> None:
        self.cash += Decimal(event["amount"])

    def _fills(self, event: Event) -> None:
        legs = {leg["symbol"]: leg for leg in event["legs"]}
        for fill in event["fills"]:
            if fill["fill-id"] in self._seen:
                continue
            self._seen.add(fill["fill-id"])
            symbol, quantity, price = fill["symbol"], int(fill["quantity"]), Decimal(fill["fill-price"])
            action = str(legs[symbol]["action"])
            key = (int(event["order-id"]), symbol)
            before = self._filled.get(key, 0)
            self._filled[key] = before + quantity
            fees = fees_of(action, symbol, quantity, price, before)
            signed = quantity if action.startswith("Buy") else -quantity
            self.cash -= signed * price * (100 if is_option(symbol) else 1) + fees
            self.fees += fees
            self._move(symbol, signed, price)

    def _move(self, symbol: str, quantity: int, price: Decimal) -> None:
        held, average = self.positions.get(symbol, (0, ZERO))
        factor = self.option(symbol).multiplier if is_option(symbol) else Decimal(1)
        if held and (held > 0) != (quantity > 0):
            closed = min(abs(held), abs(quantity))
            self.gains += closed * factor * ((price - average) if held > 0 else (average - price))
        after = held + quantity
        if not after:
            self.positions.pop(symbol, None)
        elif not held or (held > 0) == (quantity > 0):
            paid = average * abs(held) + price * abs(quantity)
            self.positions[symbol] = (after, paid / abs(after))
        else:
            self.positions[symbol] = (after, average if (held > 0) == (after > 0) else price)

    def _ended(self, event: Event) -> None:
        symbol, quantity, price = event["symbol"], int(event["quantity"]), Decimal(event["settlement"])
        option, what = self.option(symbol), str(event["what"])
        held = self.positions.get(symbol, (0, ZERO))[0]
        if not 0 < quantity * (1 if held > 0 else -1) <= abs(held):
            raise Disagreement(f"{quantity} of {symbol} ended, the books hold {held}")
        early = event["why"] != "expired"
        if not early:
            _agree(f"end of {symbol}", quantity, held)
            known = self.close(self.name(symbol), option.expiration)
            _agree(f"settlement of {symbol}", price, price if known is None else known)
        taken = early or option.worth(price) >= Decimal("0.01") * option.shares
        word = ("exercise" if held > 0 else "assignment") if taken else "expiration"
        cash = option.root in _INDEX and taken
        _agree(f"what became of {symbol}", what, f"cash settled {word}" if cash else word)
        if cash:
            self.cash += (option.worth(price) * quantity).quantize(CENT)
            self._move(symbol, -quantity, option.worth(price) / option.multiplier)
            return
        self._move(symbol, -quantity, ZERO)
        if taken:
            whole = int(option.shares)
            signed = whole * quantity * (1 if option.is_call else -1)
            due = option.strike * option.multiplier - (option.shares - whole) * price
            self.cash -= (due * quantity * (1 if option.is_call else -1)).quantize(CENT)
            self._move(self.name(symbol), signed, due / whole)

    def _split(self, event: Event) -> None:
        symbol, new, old = event["symbol"], int(event["new"]), int(event["old"])
        held, average = self.positions.pop(symbol)
        _agree(f"split of {symbol}", int(event["quantity"]), held)
        if not is_option(symbol):
            after = int(Decimal(held) * new / old)
            becomes, price = symbol, average * old / new
        else:
            option = self.option(symbol)
            plain = option.shares == option.multiplier == 100
            tail = f"{option.expiration:%y%m%d}{'C' if option.is_call else 'P'}"
            if new % old == 0 and plain:
                strike = (option.strike * old / new).quantize(CENT, ROUND_HALF_UP)
                becomes, after = f"{option.root:<6}{tail}{int(strike * 1000):08d}", held * new // old
                price = average * old / new
            elif new < old and plain:
                becomes, after, price = f"{option.root + '1':<6}{tail}{int(option.strike * 1000):08d}", held, average
                self.adjusted[becomes] = (event["underlying"], option.shares * new / old, option.multiplier)
            else:
                raise Disagreement(f"a split of {new} for {old} is not in these books")
        _agree(f"split of {symbol}", (event["becomes"], int(event["shares-or-contracts"])), (becomes, after))
        if after:
            other, mean = self.positions.get(becomes, (0, ZERO))
            total = mean * abs(other) + price * abs(after)
            self.positions[becomes] = (after + other, total / (abs(after) + abs(other)))
        self.cash += sum((Decimal(each) * (1 if held > 0 else -1) for each in event["cash-in-lieu"]), ZERO)

    def _entitled(self, event: Event) -> None:
        symbol, shares = event["symbol"], int(event["shares"])
        _agree(f"shares of {symbol} before {event['ex']}", shares, self.positions.get(symbol, (0, ZERO))[0])
        self.entitled[symbol, event["ex"]] = (shares, Decimal(event["amount"]))

    def _dividend(self, event: Event) -> None:
        shares, each = self.entitled[event["symbol"], event["ex"]]
        amount = (shares * each).quantize(CENT, ROUND_HALF_UP)
        _agree(f"dividend of {event['symbol']}", Decimal(event["amount"]), amount)
        self.cash += amount

    def _posted(self, event: Event) -> None:
        kind = str(event["kind"])
        amount = self._interest.pop(kind).quantize(CENT, ROUND_HALF_EVEN) * (1 if kind == "credit" else -1)
        _agree(f"{kind} interest", Decimal(event["amount"]), amount)
        self.cash += amount


def fees_of(action: str, symbol: str, quantity: int, price: Decimal, before: int) -> Decimal:
    """Fees of a fill by the published rates; `before`: filled of the leg already.

    Options: $1 to open, at most $10 a leg and order (indices: no cap, a fee of their own), 0.10 clearing, 0.02 ORF;
    sales 0.0028 TAF and the SEC's rate. Shares: 0.0008 clearing; sales 0.000166 TAF, at most 8.30, and the SEC's rate.
    """
    sells = action.startswith("Sell")
    sec = Decimal("0.0000206") * price * quantity
    if not is_option(symbol):
        taf = [_mills(min(Decimal("0.000166") * count, Decimal("8.30"))) for count in (before, before + quantity)]
        return _mills(Decimal("0.0008") * quantity) + (taf[1] - taf[0] + _mills(sec) if sells else ZERO)
    root = symbol[:6].strip()
    paid = [Decimal(count) if root in _INDEX else Decimal(min(count, 10)) for count in (before, before + quantity)]
    found = (paid[1] - paid[0] if action.endswith("Open") else ZERO) + Decimal("0.12") * quantity
    found += _INDEX.get(root, ZERO) * quantity
    return found + (_mills(Decimal("0.0028") * quantity) + _mills(sec * 100) if sells else ZERO)


def _mills(amount: Decimal) -> Decimal:
    return amount.quantize(MILL, ROUND_HALF_UP)


def _morning(day: date) -> datetime:
    return datetime.combine(day, time(9, 30), NEW_YORK)


def moment_of(event: Event) -> datetime:
    """When an event happened; one of an order: its newest fill, else its last change."""
    if "at" in event:
        return datetime.fromisoformat(event["at"])
    times = [datetime.fromisoformat(each["filled-at"]) for each in event.get("fills", ())]
    return max(times, default=datetime.fromtimestamp(int(event["at-ms"]) / 1000, NEW_YORK))

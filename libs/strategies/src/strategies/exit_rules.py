"""The exit rules at one look at the market: value, limit and distance of each.

P&L is marked at mid, $ per share and unit, credit positive. Sources: the product's trading rules, section 6; early
assignment of short calls before the ex-date when their time value is less than the dividend (Cboe, OIC).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from optionmath.sessions import closes_at, days_to_expiration, expires_at, is_session, market_date
from schemas.symbols import OptionSymbol, OptionType, parse_occ
from schemas.trade import RuleResult
from strategies.rules import RuleSet
from strategies.structures.template import Holding


class ExitRule(StrEnum):
    """In order of urgency."""

    EXPIRATION = "expiration_day"
    """Assignment or pin risk on expiration day."""
    STOP = "stop"
    DIVIDEND = "ex_dividend"
    EARNINGS = "earnings"
    MANAGE = "manage_dte"
    """Close, or roll when `rolls` finds something better."""
    PROFIT = "profit_target"


@dataclass(frozen=True, slots=True)
class OpenPosition:
    """A structure as it was opened. Legs are of one unit; a stock leg is in shares under the underlying's symbol."""

    underlying_symbol: str
    legs: tuple[Holding, ...]
    entry_price: Decimal
    """Net price of the option legs when opened, $ per share, credit positive."""
    entry_dte: int
    """Calendar days to the nearest expiration when it was opened."""
    max_profit: Decimal | None
    """$ per share at expiration; None when it is not limited or not known (two expirations)."""
    european: bool = False
    """Cash-settled index options: no early exercise, no shares on expiration."""


@dataclass(frozen=True, slots=True)
class Book:
    """Best bid and ask of one contract, $ per share."""

    bid: Decimal
    ask: Decimal
    at: datetime

    @property
    def mid(self) -> Decimal:
        return (self.bid + self.ask) / 2

    @property
    def two_sided(self) -> bool:
        """Not crossed or locked. A worthless option may be bid at nothing, so a bid of zero counts."""
        return 0 <= self.bid < self.ask


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the market. None = not known."""

    now: datetime
    books: Mapping[str, Book]
    """OCC symbol → book."""
    spot: Decimal | None
    spot_at: datetime | None
    earnings_date: date | None = None
    ex_dividend_date: date | None = None
    dividend: Decimal | None = None
    """$ per share."""
    market_open: bool = True
    """Looks while the market is closed judge nothing."""


@dataclass(frozen=True, slots=True)
class ExitCheck:
    """One rule at one look. distance: how far from triggering, in the rule's unit; 0 or less = triggered."""

    rule: ExitRule
    value: float | None
    """None when the rule does not apply or the fact is missing; then it cannot trigger."""
    limit: float | None
    distance: float | None
    unit: str
    detail: str = ""
    warned: bool = False

    @property
    def triggered(self) -> bool:
        return self.distance is not None and self.distance <= 0

    def result(self) -> RuleResult:
        """As rules are shown and stored; passed = nothing to do."""
        below = self.rule in _TRIGGERED_BELOW
        return RuleResult(
            rule=self.rule.value, passed=not self.triggered, value=self.value, limit=self.limit,
            comparison=">=" if below else "<=", margin=self.distance, unit=self.unit, detail=self.detail,
        )  # fmt: skip


_TRIGGERED_BELOW = {ExitRule.EXPIRATION, ExitRule.DIVIDEND, ExitRule.EARNINGS, ExitRule.MANAGE}


def unusable(position: OpenPosition, look: Look, rules: RuleSet) -> tuple[str, ...]:
    """Why this look cannot judge the position; empty when it can."""
    return tuple(_problems(position, look, rules))


def assess(position: OpenPosition, look: Look, rules: RuleSet) -> tuple[ExitCheck, ...]:
    """Every rule at one look, most urgent first. Raises KeyError when a leg has no book: ask `unusable` first."""
    return (
        _expiration(position, look, rules),
        _stop(position, look, rules),
        _dividend(position, look, rules),
        _earnings(position, look, rules),
        _manage(position, look, rules),
        _profit(position, look, rules),
    )


def option_legs(position: OpenPosition) -> Iterator[Holding]:
    return (each for each in position.legs if each.symbol != position.underlying_symbol)


def _shorts(position: OpenPosition) -> Iterator[tuple[str, OptionSymbol]]:
    return ((each.symbol, parse_occ(each.symbol)) for each in option_legs(position) if each.signed_quantity < 0)


def _nearest_expiration(position: OpenPosition) -> date | None:
    return min((parse_occ(each.symbol).expiration for each in option_legs(position)), default=None)


def _problems(position: OpenPosition, look: Look, rules: RuleSet) -> Iterator[str]:
    if not look.market_open:
        yield "the market is closed"
    for each in option_legs(position):
        book = look.books.get(each.symbol)
        if book is None:
            yield f"{each.symbol} has no quote"
        elif not book.two_sided:
            yield f"{each.symbol} is quoted {book.bid} by {book.ask}"
        elif (age := _seconds(look.now, book.at)) > rules.exit_quote_max_age_seconds:
            yield f"the quote of {each.symbol} is {age} s old, {rules.exit_quote_max_age_seconds:g} at most"
    if look.spot is None or look.spot_at is None or look.spot <= 0:
        yield f"the price of {position.underlying_symbol} is not known"
    elif (age := _seconds(look.now, look.spot_at)) > rules.exit_spot_max_age_seconds:
        yield f"the price of {position.underlying_symbol} is {age} s old, {rules.exit_spot_max_age_seconds:g} at most"


def _seconds(now: datetime, then: datetime) -> float:
    return round((now - then).total_seconds(), 3)


def liquidation(position: OpenPosition, look: Look) -> tuple[Decimal, Decimal]:
    """(at mid, at natural): what closing the option legs of one unit brings, $ per share, negative when it costs."""
    mid, natural = Decimal(0), Decimal(0)
    for each in option_legs(position):
        book = look.books[each.symbol]
        mid += each.signed_quantity * book.mid
        natural += each.signed_quantity * (book.bid if each.signed_quantity > 0 else book.ask)
    return mid, natural


def _too_wide(position: OpenPosition, look: Look, rules: RuleSet) -> str:
    """Why price rules cannot be judged, or an empty string."""
    mid, natural = liquidation(position, look)
    price = max(abs(position.entry_price), abs(mid))
    share = float(100 * (mid - natural) / price) if price else float("inf")
    if share <= rules.exit_spread_pct_max:
        return ""
    return f"mid to natural is {share:.0f} % of the price, {rules.exit_spread_pct_max:g} at most"


def _over(rule: ExitRule, value: Decimal, limit: Decimal, unit: str, detail: str = "") -> ExitCheck:
    """A rule that triggers at its limit or above."""
    return ExitCheck(rule, float(value), float(limit), float(limit - value), unit, detail)


def _under(
    rule: ExitRule, value: float, limit: float, unit: str, detail: str = "", *, warned: bool = False
) -> ExitCheck:
    """A rule that triggers at its limit or below."""
    return ExitCheck(rule, value, limit, value - limit, unit, detail, warned)


def _silent(rule: ExitRule, unit: str, why: str, limit: float | None = None, value: float | None = None) -> ExitCheck:
    """A rule with nothing to object to."""
    return ExitCheck(rule, value, limit, None, unit, why)


def _profit(position: OpenPosition, look: Look, rules: RuleSet) -> ExitCheck:
    if wide := _too_wide(position, look, rules):
        return _silent(ExitRule.PROFIT, "% of max profit", wide, rules.profit_target_pct)
    pnl = position.entry_price + liquidation(position, look)[0]
    basis, unit = position.max_profit, "% of max profit"
    if basis is None:
        basis, unit = abs(position.entry_price), "% of the opening price"
    if basis <= 0:
        return _silent(ExitRule.PROFIT, unit, "there is no profit to take", rules.profit_target_pct)
    return _over(ExitRule.PROFIT, 100 * pnl / basis, Decimal(str(rules.profit_target_pct)), unit)


def _stop(position: OpenPosition, look: Look, rules: RuleSet) -> ExitCheck:
    credit = position.entry_price
    unit = "% of the debit lost" if credit < 0 else "x the credit"
    limit = rules.stop_debit_pct if credit < 0 else rules.stop_multiple
    if why := _too_wide(position, look, rules) or ("" if credit else "opened at no price"):
        return _silent(ExitRule.STOP, unit, why, limit)
    worth = liquidation(position, look)[0]
    if credit < 0:
        return _over(ExitRule.STOP, 100 * (credit + worth) / credit, Decimal(str(limit)), unit)
    by_price = rules.stop_basis == "price_multiple"
    multiple = (-worth if by_price else -worth - credit) / credit
    detail = "price of buying back" if by_price else "loss"
    return _over(ExitRule.STOP, multiple, Decimal(str(limit)), unit, detail)


def _manage(position: OpenPosition, look: Look, rules: RuleSet) -> ExitCheck:
    nearest = _nearest_expiration(position)
    if nearest is None:
        return _silent(ExitRule.MANAGE, "days", "no option leg")
    left = days_to_expiration(look.now, nearest)
    if position.entry_dte <= rules.manage_dte:
        why = f"opened with {position.entry_dte} days, so it is held past {rules.manage_dte}"
        return _silent(ExitRule.MANAGE, "days", why, rules.manage_dte, left)
    return _under(ExitRule.MANAGE, left, rules.manage_dte, "days")


def sessions_between(today: date, day: date) -> int:
    """Sessions after today up to and including the day; 0 when it is today or past."""
    days = (today + timedelta(days=each) for each in range(1, (day - today).days + 1))
    return sum(1 for each in days if is_session(each))


def _earnings(position: OpenPosition, look: Look, rules: RuleSet) -> ExitCheck:
    today, day, nearest = market_date(look.now), look.earnings_date, _nearest_expiration(position)
    if not rules.event_exit_sessions:
        return _silent(ExitRule.EARNINGS, "sessions", "held through by rule")
    if day is None or day < today:
        return _silent(ExitRule.EARNINGS, "sessions", "no report is scheduled", rules.event_exit_sessions)
    if nearest is not None and all(parse_occ(each.symbol).expiration < day for each in option_legs(position)):
        return _silent(ExitRule.EARNINGS, "sessions", f"expires before the report of {day}", rules.event_exit_sessions)
    return _under(
        ExitRule.EARNINGS, sessions_between(today, day), rules.event_exit_sessions, "sessions", f"report {day}"
    )


def _dividend(position: OpenPosition, look: Look, rules: RuleSet) -> ExitCheck:
    unit, limit = "x the dividend", rules.dividend_cover_min
    today, day, spot = market_date(look.now), look.ex_dividend_date, look.spot or Decimal(0)
    if position.european:
        return _silent(ExitRule.DIVIDEND, unit, "European options are not exercised early", limit)
    if day is None or day <= today:
        return _silent(ExitRule.DIVIDEND, unit, "no ex-date is ahead", limit)
    calls = [
        (look.books[symbol].mid - (spot - option.strike), option)
        for symbol, option in _shorts(position)
        if option.option_type is OptionType.CALL and option.strike < spot and option.expiration >= day
    ]
    if not calls:
        return _silent(ExitRule.DIVIDEND, unit, "no short call in the money lives to the ex-date", limit)
    if look.dividend is None or look.dividend <= 0:
        return _silent(ExitRule.DIVIDEND, unit, "the dividend is not known", limit)
    least, option = min(calls)
    cover = float(max(least, Decimal(0)) / look.dividend)
    detail = f"time value of the {option.strike.normalize():f} call, ex-date {day}"
    warned = cover < rules.dividend_cover_watch
    if sessions_between(today, day) > 1:
        return ExitCheck(ExitRule.DIVIDEND, cover, limit, None, unit, f"{detail}: not yet the session before", warned)
    return _under(ExitRule.DIVIDEND, cover, limit, unit, detail, warned=warned)


def _expiration(position: OpenPosition, look: Look, rules: RuleSet) -> ExitCheck:
    """Distance of the price from the strike that expires today and is nearest to trouble, in percent.

    Below 0 in the money: a short leg would be assigned, a long one exercised. Long legs out of the money are harmless.
    """
    unit, limit = "% from the strike", rules.pin_band_pct
    if position.european:
        return _silent(ExitRule.EXPIRATION, unit, "settles in cash", limit)
    today, spot = market_date(look.now), look.spot or Decimal(0)
    expiring = [
        (room, each.signed_quantity, option)
        for each in option_legs(position)
        if market_date(expires_at((option := parse_occ(each.symbol)).expiration)) == today
        and ((room := _room(option, spot)) < 0 or each.signed_quantity < 0)
    ]
    if not expiring or not rules.expiration_exit_minutes:
        return _silent(ExitRule.EXPIRATION, unit, "no leg at risk expires today", limit)
    room, quantity, option = min(expiring)
    kind = "call" if option.option_type is OptionType.CALL else "put"
    detail = f"{'short' if quantity < 0 else 'long'} {option.strike.normalize():f} {kind}"
    closing = closes_at(today)
    start = closing - timedelta(minutes=rules.expiration_exit_minutes) if closing else look.now
    if look.now < start:
        why = f"{detail}: judged from {start:%H:%M} UTC"
        return ExitCheck(ExitRule.EXPIRATION, room, limit, None, unit, why, warned=room <= limit)
    return _under(ExitRule.EXPIRATION, room, limit, unit, detail, warned=True)


def _room(option: OptionSymbol, spot: Decimal) -> float:
    away = option.strike - spot if option.option_type is OptionType.CALL else spot - option.strike
    return float(100 * away / option.strike)

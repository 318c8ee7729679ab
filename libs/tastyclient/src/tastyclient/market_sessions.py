"""Trading sessions and holidays."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal

from pydantic import Field

from tastyclient.http import Transport
from tastyclient.wire import Record, items, read

FuturesExchange = Literal["CME", "CFE"]


class SessionTimes(Record):
    """One session: `start_at` to `close_at_ext` with extended hours, `open_at` to `close_at` without."""

    instrument_collection: str = ""
    session_date: date | None = None
    start_at: datetime | None = None
    open_at: datetime | None = None
    close_at: datetime | None = None
    close_at_ext: datetime | None = None


class EquitySession(SessionTimes):
    """The session now. State is Open, Closed, Pre-market or Extended; times may be absent while closed."""

    state: str
    next_session: SessionTimes | None = None
    previous_session: SessionTimes | None = None


class MarketCalendar(Record):
    """Days without a session, and days that end early."""

    holidays: tuple[date, ...] = Field(alias="market-holidays")
    half_days: tuple[date, ...] = Field(alias="market-half-days")


class SessionsApi:
    """Endpoints of trading hours. Every method raises a BrokerError."""

    transport: Transport

    async def market_session(self) -> EquitySession:
        """The equities session that runs now, and the next one."""
        return read(EquitySession, await self.transport.get("/market-time/equities/sessions/current"))

    async def next_session(self, day: date | None = None) -> SessionTimes:
        """The equities session after a day (today by default)."""
        return read(SessionTimes, await self.transport.get("/market-time/equities/sessions/next", {"date": day}))

    async def previous_session(self, day: date | None = None) -> SessionTimes:
        """The equities session before a day (today by default)."""
        return read(SessionTimes, await self.transport.get("/market-time/equities/sessions/previous", {"date": day}))

    async def sessions(
        self, to_date: date, from_date: date | None = None, instrument_collection: str = "Equity"
    ) -> list[SessionTimes]:
        """Sessions of a range of days."""
        asked = {"to-date": to_date, "from-date": from_date, "instrument-collection": instrument_collection}
        return items(SessionTimes, await self.transport.get("/market-time/sessions", asked))

    async def current_sessions(self, collections: Sequence[str] = ("Equity", "CME", "CFE")) -> list[EquitySession]:
        """The sessions now of several collections of instruments."""
        asked = {"instrument-collections": list(collections)}
        return items(EquitySession, await self.transport.get("/market-time/sessions/current", asked))

    async def holidays(self) -> MarketCalendar:
        """Holidays and half days of equities."""
        return read(MarketCalendar, await self.transport.get("/market-time/equities/holidays"))

    async def futures_sessions(self) -> list[EquitySession]:
        """The futures sessions now, of every exchange."""
        return items(EquitySession, await self.transport.get("/market-time/futures/sessions/current"))

    async def next_futures_session(self, exchange: FuturesExchange, day: date | None = None) -> SessionTimes:
        """The futures session after a day (today by default)."""
        path = f"/market-time/futures/sessions/next/{exchange}"
        return read(SessionTimes, await self.transport.get(path, {"date": day}))

    async def previous_futures_session(self, exchange: FuturesExchange, day: date | None = None) -> SessionTimes:
        """The futures session before a day (today by default)."""
        path = f"/market-time/futures/sessions/previous/{exchange}"
        return read(SessionTimes, await self.transport.get(path, {"date": day}))

    async def futures_session(self, exchange: FuturesExchange) -> EquitySession:
        """The futures session now."""
        return read(EquitySession, await self.transport.get(f"/market-time/futures/sessions/current/{exchange}"))

    async def futures_holidays(self, exchange: FuturesExchange) -> MarketCalendar:
        """Holidays and half days of a futures exchange."""
        return read(MarketCalendar, await self.transport.get(f"/market-time/futures/holidays/{exchange}"))

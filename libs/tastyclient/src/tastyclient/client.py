"""The endpoints, typed."""

from __future__ import annotations

from types import TracebackType

from tastyclient.accounts import AccountsApi
from tastyclient.chains import ChainsApi
from tastyclient.complex_orders import ComplexOrdersApi
from tastyclient.http import Transport
from tastyclient.instruments import InstrumentsApi
from tastyclient.margin import MarginApi
from tastyclient.market_data import MarketDataApi
from tastyclient.market_sessions import SessionsApi
from tastyclient.orders import OrdersApi
from tastyclient.settings import ClientSettings
from tastyclient.transactions import TransactionsApi
from tastyclient.watchlists import WatchlistsApi


class TastyClient(
    AccountsApi, TransactionsApi, MarginApi, InstrumentsApi, ChainsApi, MarketDataApi, SessionsApi, OrdersApi,
    ComplexOrdersApi, WatchlistsApi,
):  # fmt: skip
    """One login at the broker. Use as an async context manager.

    Every method raises a `BrokerError`; for those with an effect its `outcome` says whether the effect is ruled out.
    Reads are tried again after passing faults; what has an effect is sent once. Amounts are signed Decimals: what
    leaves the account is negative.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self.transport = Transport(settings)

    async def __aenter__(self) -> TastyClient:
        return self

    async def __aexit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.transport.__aexit__(*error)

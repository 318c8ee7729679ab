"""Typed async client of the tastytrade Open API and DXLink."""

from tastyclient.account_stream import AccountStream, Notification
from tastyclient.client import TastyClient
from tastyclient.dxlink import Columns, DXLink, ProtocolError
from tastyclient.errors import (
    AuthenticationError,
    BrokerError,
    MalformedReplyError,
    NotFoundError,
    NotSentError,
    Outcome,
    Reason,
    RejectedError,
    ThrottledError,
    UnknownOutcomeError,
)
from tastyclient.models import (
    Account,
    Balance,
    EquitySession,
    NestedChain,
    NewLeg,
    NewOrder,
    OrderStatus,
    PlacedLeg,
    PlacedOrder,
    Position,
    QuoteToken,
)
from tastyclient.settings import ClientSettings
from tastyclient.stream import MarketStream

__all__ = [
    "Account",
    "AccountStream",
    "AuthenticationError",
    "Balance",
    "BrokerError",
    "ClientSettings",
    "Columns",
    "DXLink",
    "EquitySession",
    "MalformedReplyError",
    "MarketStream",
    "NestedChain",
    "NewLeg",
    "NewOrder",
    "NotFoundError",
    "NotSentError",
    "Notification",
    "OrderStatus",
    "Outcome",
    "PlacedLeg",
    "PlacedOrder",
    "Position",
    "ProtocolError",
    "QuoteToken",
    "Reason",
    "RejectedError",
    "TastyClient",
    "ThrottledError",
    "UnknownOutcomeError",
]

"""Typed async client of the tastytrade Open API and DXLink."""

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
from tastyclient.models import NewLeg, NewOrder, OrderStatus, PlacedOrder
from tastyclient.settings import ClientSettings
from tastyclient.stream import MarketStream

__all__ = [
    "AuthenticationError",
    "BrokerError",
    "ClientSettings",
    "Columns",
    "DXLink",
    "MalformedReplyError",
    "MarketStream",
    "NewLeg",
    "NewOrder",
    "NotFoundError",
    "NotSentError",
    "OrderStatus",
    "Outcome",
    "PlacedOrder",
    "ProtocolError",
    "Reason",
    "RejectedError",
    "TastyClient",
    "ThrottledError",
    "UnknownOutcomeError",
]

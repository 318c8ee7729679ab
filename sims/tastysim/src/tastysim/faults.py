"""What can be made to go wrong, as values: each fault says where it applies, when, how often, and what it does.

A fault waits for occasions: a request, a frame of a stream, an order that is taken, a step of the market. When it is
open (`begins` to `ends`), lets no more pass (`skip`), has strikes left (`times`) and its chance comes up
(`probability`, from its `seed`), it strikes. Build one in Python and post `fault.body()`, or write it as JSON or TOML.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

ORDERS_PATH = "/accounts/*/orders"
ORDER_PATH = "/accounts/*/orders/*"


class FaultError(ValueError):
    """A fault that cannot be read: which field, what it is, what is allowed."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field, self.value, self.allowed = field, value, allowed
        super().__init__(f"{field} is {value!r}: {allowed}")


@dataclass(frozen=True, slots=True)
class Occasion:
    """Something that a fault may strike. Empty where it does not apply."""

    account: str | None = None
    method: str = ""
    path: str = ""
    stream: str = ""
    frame: str = ""
    """Type of a frame, or the action that it answers."""
    status: str = ""
    """Status of the order in a frame or notification."""
    order_id: int | None = None
    external_identifier: str | None = None
    token: str = ""


def _moment(value: float | datetime) -> float | datetime:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


Moment = Annotated[float | datetime, Field(union_mode="left_to_right"), AfterValidator(_moment)]
"""Seconds since the fault was installed, or a date-time (without zone: UTC)."""
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class FaultBase(BaseModel):
    """When a fault strikes. By default always: every occasion, from now on."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: str
    name: str | None = Field(None, pattern=r"^[A-Za-z0-9_.-]{1,60}$")
    """To find and remove it by; made up when not given."""
    account: str | None = None
    """Only of this account; None = of any."""
    skip: int = Field(0, ge=0)
    """Occasions to let pass first."""
    times: int | None = Field(None, ge=1)
    """Strikes; None = no end."""
    probability: float = Field(1.0, gt=0, le=1)
    seed: int = 0
    begins: Moment = 0.0
    ends: Moment | None = None
    clock: Literal["market", "wall"] = "market"
    """Which time `begins`, `ends` and delays inside the broker count in."""
    chatty: ClassVar[bool] = True
    """Every strike is logged; a fault that is a state logs its first one only, and counts all."""

    def fits(self, occasion: Occasion) -> bool:
        """Whether an occasion is one of this fault's."""
        return self.account is None or occasion.account in (None, self.account)

    def opens(self, installed: datetime) -> datetime:
        """When it begins."""
        return self.begins if isinstance(self.begins, datetime) else installed + timedelta(seconds=self.begins)

    def closes(self, installed: datetime) -> datetime | None:
        """When it ends; None = never."""
        if self.ends is None or isinstance(self.ends, datetime):
            return self.ends
        return installed + timedelta(seconds=self.ends)

    def body(self) -> dict[str, Any]:
        """As JSON, to post to `/sim/faults`: what differs from the defaults, and the kind."""
        return {"kind": self.kind} | self.model_dump(mode="json", exclude_defaults=True)


class RequestFault(FaultBase):
    """A fault of REST requests. By default of those that send an order."""

    method: str = Field("POST", pattern=r"^(\*|GET|POST|PUT|PATCH|DELETE)$")
    path: str = ORDERS_PATH
    """Pattern: `*` stands for anything, slashes included."""

    def fits(self, occasion: Occasion) -> bool:
        return (
            self.method in ("*", occasion.method)
            and fnmatchcase(occasion.path, self.path)
            and (self.account is None or self.account == occasion.account)
        )


class FrameFault(FaultBase):
    """A fault of frames that the simulator sends. By default of every frame of both streams."""

    stream: Literal["account", "dxlink"] | None = None
    frames: tuple[str, ...] = ()
    """Types (`Order`, `AccountBalance`, `FEED_DATA`, `KEEPALIVE`, …) or answered actions (`heartbeat`); () = all."""
    statuses: tuple[str, ...] = ()
    """Only of orders with such a status."""

    def fits(self, occasion: Occasion) -> bool:
        return (
            self.stream in (None, occasion.stream)
            and (not self.frames or occasion.frame in self.frames)
            and (not self.statuses or occasion.status in self.statuses)
            and (self.account is None or self.account == occasion.account)
        )


class HoldRequest(RequestFault):
    """The request is held before the broker sees it, then taken whether or not the client waits: a late order."""

    kind: Literal["hold_request"] = "hold_request"
    seconds: Seconds
    """Of the wall."""


class HoldResponse(RequestFault):
    """Taken and on disk; the answer comes late or never, until the client gives up."""

    kind: Literal["hold_response"] = "hold_response"
    seconds: Seconds | None = None
    """Of the wall; None = the answer is never sent."""


class ErrorBefore(RequestFault):
    """A server error; the broker has not seen the request."""

    kind: Literal["error_before"] = "error_before"
    status: int = Field(503, ge=400, le=599)
    content: Literal["html", "json", "empty"] = "html"


class ErrorAfter(RequestFault):
    """Taken and on disk; the answer is a server error."""

    kind: Literal["error_after"] = "error_after"
    status: int = Field(502, ge=400, le=599)
    content: Literal["html", "json", "empty"] = "html"


class ResetBefore(RequestFault):
    """The connection is reset; the broker has not seen the request."""

    kind: Literal["reset_before"] = "reset_before"


class ResetAfter(RequestFault):
    """Taken and on disk; the connection is reset instead of an answer."""

    kind: Literal["reset_after"] = "reset_after"


class GarbledReply(RequestFault):
    """Taken and on disk; the answer has the status of success and half of its content."""

    kind: Literal["garbled_reply"] = "garbled_reply"


class Throttle(RequestFault):
    """429 without Retry-After: for every request, or for those beyond a rate that each token has for itself."""

    kind: Literal["throttle"] = "throttle"
    method: str = Field("*", pattern=r"^(\*|GET|POST|PUT|PATCH|DELETE)$")
    path: str = "*"
    requests_per_second: float | None = Field(None, gt=0)
    """None = every request is refused."""
    burst: int = Field(10, ge=1)


class ExpireToken(RequestFault):
    """The access token of a request ends: before it is looked at (401), or once the request is done."""

    kind: Literal["expire_token"] = "expire_token"
    method: str = Field("*", pattern=r"^(\*|GET|POST|PUT|PATCH|DELETE)$")
    path: str = "*"
    moment: Literal["before", "after"] = "before"


class RefuseLogin(RequestFault):
    """The refresh token is revoked or the client unknown: 401 in the shape of OAuth."""

    kind: Literal["refuse_login"] = "refuse_login"
    path: str = "/oauth/token"
    code: Literal["invalid_grant", "invalid_client", "invalid_request"] = "invalid_grant"


class FillBeforeCancel(RequestFault):
    """The order fills in the very moment in which it is cancelled or replaced: the request is refused."""

    kind: Literal["fill_before_cancel"] = "fill_before_cancel"
    method: str = Field("DELETE", pattern=r"^(\*|PUT|PATCH|DELETE)$")
    path: str = ORDER_PATH


class CancelRace(RequestFault):
    """A cancellation is taken (Cancel Requested); what becomes of it is decided later, or never."""

    kind: Literal["cancel_race"] = "cancel_race"
    method: str = Field("DELETE", pattern=r"^DELETE$")
    path: str = ORDER_PATH
    becomes: Literal["Filled", "Live", "Cancelled", "stuck"] = "stuck"
    seconds: Seconds = 0.0


class HideOrders(FaultBase):
    """An order that was taken is not shown by any read until so many seconds later."""

    kind: Literal["hide_orders"] = "hide_orders"
    seconds: Seconds = 5.0


class LateLegFills(FaultBase):
    """An order of several legs is Filled, and shows the fills of its first leg only; the others' come later."""

    kind: Literal["late_leg_fills"] = "late_leg_fills"
    seconds: Seconds = 2.0


class LagAccount(FaultBase):
    """Positions and balances are those of so many seconds ago, read or pushed; orders and fills are not late."""

    kind: Literal["lag_account"] = "lag_account"
    seconds: Seconds = 3.0


class RejectOrder(FaultBase):
    """An order that was taken is rejected by the venue, before it can fill."""

    kind: Literal["reject_order"] = "reject_order"
    seconds: Seconds = 0.0
    reason: str = "Rejected by the venue"


class SkewClock(FaultBase):
    """The broker's clock is wrong: `Date` and every time in answers and notifications; its books are not."""

    kind: Literal["skew_clock"] = "skew_clock"
    seconds: float = Field(allow_inf_nan=False)
    """Ahead (positive) or behind."""
    chatty: ClassVar[bool] = False


class DropFrames(FrameFault):
    """Frames are lost while the connection lives."""

    kind: Literal["drop_frames"] = "drop_frames"


class DuplicateFrames(FrameFault):
    """Frames arrive more than once."""

    kind: Literal["duplicate_frames"] = "duplicate_frames"
    copies: int = Field(1, ge=1, le=100)
    """How many more."""


class ReorderFrames(FrameFault):
    """A frame arrives after those that follow it."""

    kind: Literal["reorder_frames"] = "reorder_frames"
    behind: int = Field(1, ge=1, le=1000)
    """How many overtake it."""
    seconds: Seconds = 1.0
    """Of the wall: it comes then at the latest."""


class DelayFrames(FrameFault):
    """A frame arrives late; others do not wait for it."""

    kind: Literal["delay_frames"] = "delay_frames"
    seconds: Seconds
    """Of the wall."""


class StaleOrders(FrameFault):
    """After a message about an order, an earlier one about the same order comes again, with its older `updated-at`."""

    kind: Literal["stale_orders"] = "stale_orders"
    stream: Literal["account"] = "account"
    frames: tuple[Literal["Order"]] = ("Order",)


class FreezeStream(FrameFault):
    """The connection is open and nothing comes, from the next frame on; then everything."""

    kind: Literal["freeze_stream"] = "freeze_stream"
    seconds: Seconds | None = None
    """Of the wall; None = until the fault is removed or the connection ends."""
    pongs: bool = True
    """Whether pings are answered: False = nothing is read from the connection either."""


class SlowStream(FrameFault):
    """The line takes so many bytes a second."""

    kind: Literal["slow_stream"] = "slow_stream"
    bytes_per_second: float = Field(gt=0)
    chatty: ClassVar[bool] = False


class Disconnect(FrameFault):
    """A connection ends: one that is open now, or, where frames or statuses are given, in the place of such a frame."""

    kind: Literal["disconnect"] = "disconnect"
    times: int | None = Field(1, ge=1)
    code: int = Field(1012, ge=1000, le=4999)
    abrupt: bool = False
    """Reset, without a closing handshake: the client sees 1006."""

    @property
    def at_frame(self) -> bool:
        return bool(self.frames or self.statuses)


class RefuseConnection(FrameFault):
    """A stream cannot be connected: the handshake is answered with an error."""

    kind: Literal["refuse_connection"] = "refuse_connection"
    status: int = Field(502, ge=400, le=599)


class RefuseQuoteToken(FrameFault):
    """DXLink does not take the quote token: UNAUTHORIZED, and the connection ends."""

    kind: Literal["refuse_quote_token"] = "refuse_quote_token"
    stream: Literal["dxlink"] = "dxlink"


class ActionFault(FaultBase):
    """Something that happens at the broker, at the next step of the market."""

    times: int | None = Field(1, ge=1)


class ForeignOrder(ActionFault):
    """Somebody else sends an order in this account: buys, or sells, a contract; it rests, fills or is cancelled."""

    kind: Literal["foreign_order"] = "foreign_order"
    symbol: str | None = None
    """OCC symbol; None = a put of the first underlying."""
    action: Literal["Buy to Open", "Sell to Open", "Buy to Close", "Sell to Close"] = "Buy to Open"
    quantity: int = Field(1, ge=1)
    price: Decimal | None = Field(None, gt=0)
    """$ per share; None = one at which it rests."""
    becomes: Literal["Live", "Filled", "Cancelled"] = "Live"
    seconds: Seconds = 0.0
    """How long it rests before it fills or is cancelled."""


class BustTrade(ActionFault):
    """The fills of an order are taken back; at another price they are booked anew: cash and positions follow."""

    kind: Literal["bust_trade"] = "bust_trade"
    order_id: int | None = None
    """None = the newest one with fills."""
    price: Decimal | None = Field(None, ge=0)
    """$ per share at which the first leg is booked anew, the others as before; None = nothing is booked anew."""


class WipeAccount(ActionFault):
    """As the certification environment every 24 hours: orders, transactions, positions and balances are gone."""

    kind: Literal["wipe_account"] = "wipe_account"


AnyFault = (
    HoldRequest | HoldResponse | ErrorBefore | ErrorAfter | ResetBefore | ResetAfter | GarbledReply | Throttle
    | ExpireToken | RefuseLogin | FillBeforeCancel | CancelRace | HideOrders | LateLegFills | LagAccount | RejectOrder
    | SkewClock | DropFrames | DuplicateFrames | ReorderFrames | DelayFrames | StaleOrders | FreezeStream | SlowStream
    | Disconnect | RefuseConnection | RefuseQuoteToken | ForeignOrder | BustTrade | WipeAccount
)  # fmt: skip
_READER: TypeAdapter[AnyFault] = TypeAdapter(Annotated[AnyFault, Field(discriminator="kind")])
KINDS: dict[str, type[FaultBase]] = {str(each.model_fields["kind"].default): each for each in AnyFault.__args__}
"""Every kind by its name."""


def read_fault(content: object) -> AnyFault:
    """A fault from decoded JSON or TOML. Raises FaultError."""
    if not isinstance(content, dict):
        raise FaultError("fault", content, "an object with a `kind` is needed")
    try:
        return _READER.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise FaultError("kind", kind, f"one of {', '.join(sorted(KINDS))} is allowed")
    field = str(first["loc"][1]) if len(first["loc"]) > 1 else "fault"
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(KINDS[kind].model_fields))
        raise FaultError(field, content.get(field), f"{kind} has no such field; allowed are {known}")
    raise FaultError(field, content.get(field), str(first["msg"]))

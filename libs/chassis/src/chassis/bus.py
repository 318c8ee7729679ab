"""NATS through FastStream with two consumer presets, and durable publishing that demands an acknowledgement.

The framework's defaults lose a message whose handler raised and redeliver without a pause. Here a handled message is
acknowledged after the handler, a failed one comes back after a growing delay, and a poison one goes to the dead-letter
stream, once.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import nats
from faststream import AckPolicy, BaseMiddleware
from faststream.message import StreamMessage
from faststream.nats import JStream, NatsBroker, PullSub
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import (
    AckPolicy as ConsumerAckPolicy,
)
from nats.js.api import (
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NotFoundError
from opentelemetry import propagate, trace
from prometheus_client import Counter
from pydantic import ValidationError

from chassis.failpoints import failpoint
from chassis.settings import ServiceSettings
from chassis.telemetry import get_logger
from schemas import subjects
from schemas.base import Message
from schemas.subjects import ALL_STREAMS, Retention, StreamSpec

TYPE, VERSION, VALID_UNTIL = "tt-type", "tt-version", "tt-valid-until"
ACK_WAIT_SECONDS, DELAY_SECONDS_MAX = 15.0, 60.0
EXIT_CONNECTION_CLOSED = 70
_STATE_STREAMS = frozenset({subjects.STATE.name, subjects.CANDIDATES.name})

handled = Counter("tt_messages_total", "Messages by what became of them", ["service", "outcome"])
log = get_logger("chassis.bus")


class PoisonMessage(ValueError):
    """Raised by a handler for a message that can never be handled: it goes to the dead letters, once."""


class PublishError(RuntimeError):
    """A durable message was not acknowledged: it may or may not be stored; publish it again with the same id."""


def make_broker(settings: ServiceSettings, *, on_reconnect: Callable[[], Awaitable[None]] | None = None) -> NatsBroker:
    """A broker with every trap's setting. A connection that is closed for good ends the process with code 70."""

    async def closed() -> None:
        if not getattr(broker, "_stopping_on_purpose", False):
            log.error("bus.closed", advice="the supervisor starts this process again")
            os._exit(EXIT_CONNECTION_CLOSED)

    async def reconnected() -> None:
        log.warning("bus.reconnected")
        if on_reconnect is not None:
            await on_reconnect()

    async def failed(error: Exception) -> None:
        log.warning("bus.error", error=f"{type(error).__name__}: {error}")

    broker = NatsBroker(
        settings.nats_url,
        name=f"{settings.service}-{settings.instance}",
        ack_policy=AckPolicy.MANUAL,
        middlewares=[_settle(settings.service)],
        max_reconnect_attempts=-1,
        reconnect_time_wait=1,
        ping_interval=2,
        max_outstanding_pings=2,
        pending_size=0,
        closed_cb=closed,
        reconnected_cb=reconnected,
        error_cb=failed,
        logger=None,
    )
    return broker


def ordered(subject: str, stream: StreamSpec, durable: str, *, max_deliver: int = 5) -> dict[str, Any]:
    """Arguments of `subscriber` for anything about orders: in order, one at a time, redelivered in place.

    A handler may see a message again (a lost acknowledgement, a killed server): it must be idempotent.
    """
    if stream.name in _STATE_STREAMS:
        raise ValueError(f"stream {stream.name} holds state: read it with latest()")
    return {
        "subject": subject,
        "stream": JStream(stream.name, declare=False),
        "durable": durable,
        "pull_sub": PullSub(batch_size=1, timeout=5.0),
        "config": ConsumerConfig(max_ack_pending=1, max_deliver=max_deliver, ack_wait=ACK_WAIT_SECONDS),
    }


def latest(subject: str, stream: StreamSpec) -> dict[str, Any]:
    """Arguments of `subscriber` for state: the last value of every subject, then each change; never acknowledged."""
    if stream.name not in _STATE_STREAMS:
        raise ValueError(f"stream {stream.name} holds commands or facts: read it with ordered()")
    return {
        "subject": subject,
        "stream": JStream(stream.name, declare=False),
        "ordered_consumer": False,
        "config": ConsumerConfig(
            deliver_policy=DeliverPolicy.LAST_PER_SUBJECT,
            ack_policy=ConsumerAckPolicy.NONE,
            inactive_threshold=3600.0,
        ),
    }


def raw_client(broker: NatsBroker) -> Client:
    """The connected plain client, for column batches and control messages."""
    return broker.connection


async def missing_consumers(broker: NatsBroker) -> list[str]:
    """Subjects whose consumer the server no longer has: their reader would wait for ever without a sign of it."""
    gone = []
    for subscriber in broker.subscribers:
        subscription = getattr(subscriber, "subscription", None)
        if subscription is None or not hasattr(subscription, "consumer_info"):
            continue
        try:
            await subscription.consumer_info()
        except NotFoundError:
            subject = getattr(subscriber, "subject", subscription)
            gone.append(str(getattr(subject, "broker_address", subject)))
        except (nats.errors.Error, OSError):
            continue  # away is not gone
    return gone


async def publish(broker: NatsBroker, subject: str, message: Message) -> None:
    """Publish on core NATS: may be lost, and raises at once while disconnected."""
    await raw_client(broker).publish(subject, message.model_dump_json().encode(), headers=_headers(message))


async def publish_durable(
    broker: NatsBroker,
    subject: str,
    message: Message | bytes,
    *,
    message_id: str,
    headers: Mapping[str, str] | None = None,
    valid_until: datetime | None = None,
    timeout: float = 5.0,
) -> bool:
    """Publish to a stream and await its acknowledgement; returns False when the stream already had this message id.

    Raises PublishError otherwise, the subject that no stream catches included; the outcome is then unknown.
    """
    own = {} if isinstance(message, bytes) else _headers(message)
    own |= {"Nats-Msg-Id": message_id, **(headers or {})}
    if valid_until is not None:
        own[VALID_UNTIL] = valid_until.isoformat()
    data = message if isinstance(message, bytes) else message.model_dump_json().encode()
    failpoint("chassis.publish.before")
    try:
        acknowledged = await raw_client(broker).jetstream(timeout=timeout).publish(subject, data, headers=own)
    except (nats.errors.Error, OSError) as error:
        raise PublishError(f"{subject} was not acknowledged ({type(error).__name__})") from error
    failpoint("chassis.publish.acknowledged")
    return not acknowledged.duplicate


def _headers(message: Message) -> dict[str, str]:
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return {**carrier, TYPE: message.type_name(), VERSION: str(message.version)}


def _settle(service: str) -> type[BaseMiddleware[Any, Any]]:
    """The middleware that acknowledges, delays or buries; the one place that catches everything a handler raises."""
    tracer = trace.get_tracer("chassis.bus")
    for outcome in ("ok", "expired", "failed", "dead_letter"):
        handled.labels(service, outcome)  # counted from 0, so that a rate sees the first one

    class Settle(BaseMiddleware[Any, Any]):
        async def consume_scope(self, call_next: Callable[[Any], Awaitable[Any]], msg: StreamMessage[Any]) -> Any:
            durable = _acknowledged(msg.raw_message)
            if _expired(msg.headers.get(VALID_UNTIL)):
                handled.labels(service, "expired").inc()
                return await _acknowledge(msg) if durable else None
            parent = propagate.extract({key: str(value) for key, value in msg.headers.items()})
            with tracer.start_as_current_span(f"{service} {msg.raw_message.subject}", context=parent):
                try:
                    failpoint("chassis.handle.before")
                    await call_next(msg)
                    failpoint("chassis.handle.after")
                except (ValidationError, PoisonMessage, UnicodeDecodeError) as error:
                    await _bury(self, service, msg, error)
                    handled.labels(service, "dead_letter").inc()
                except Exception as error:  # the edge: what a handler did not foresee is retried, never lost
                    handled.labels(service, "failed").inc()
                    log.exception("bus.handler_failed", subject=msg.raw_message.subject)
                    if not durable:
                        return None
                    if _deliveries(msg) >= 5:
                        await _bury(self, service, msg, error)
                    else:
                        await msg.nack(delay=min(2.0 ** (_deliveries(msg) - 1), DELAY_SECONDS_MAX))  # type: ignore[call-arg]
                    return None
                handled.labels(service, "ok").inc()
            return await _acknowledge(msg) if durable else None

    async def _bury(middleware: BaseMiddleware[Any, Any], name: str, msg: StreamMessage[Any], error: Exception) -> None:
        raw = msg.raw_message
        client: Client = raw._client
        headers = {
            "tt-error": f"{type(error).__name__}: {error}"[:900].replace("\n", " "),
            "tt-subject": raw.subject,
            **{key: str(value) for key, value in msg.headers.items() if key.startswith("tt-")},
        }
        await client.jetstream().publish(subjects.dead_letter(name), raw.data, headers=headers)
        log.error("bus.dead_letter", subject=raw.subject, error=headers["tt-error"])
        if _acknowledged(raw):
            await _acknowledge(msg)

    return Settle


def _acknowledged(raw: Msg) -> bool:
    """Whether the message came from a stream whose readers acknowledge."""
    return raw.reply.startswith("$JS.ACK") and raw.metadata.stream not in _STATE_STREAMS


async def _acknowledge(msg: StreamMessage[Any]) -> None:
    try:
        await msg.ack_sync()  # type: ignore[attr-defined]
    except (nats.errors.Error, OSError):
        log.warning("bus.acknowledgement_lost", subject=msg.raw_message.subject)


def _deliveries(msg: StreamMessage[Any]) -> int:
    return int(msg.raw_message.metadata.num_delivered or 1)


def _expired(text: object) -> bool:
    return bool(text) and datetime.fromisoformat(str(text)) < datetime.now(UTC)


async def provision(nats_url: str, streams: Iterable[StreamSpec] = ALL_STREAMS) -> list[str]:
    """Create or update every stream; returns the names of those created or changed. Idempotent."""
    client = await nats.connect(nats_url, connect_timeout=5)
    changed = []
    try:
        jetstream = client.jetstream()
        for spec in streams:
            wanted = _config(spec)
            try:
                current = (await jetstream.stream_info(spec.name)).config
            except NotFoundError:
                await jetstream.add_stream(wanted)
                changed.append(spec.name)
                continue
            if _differs(current, wanted):
                await jetstream.update_stream(wanted)
                changed.append(spec.name)
    finally:
        await client.close()
    return changed


def _differs(current: StreamConfig, wanted: StreamConfig) -> bool:
    fields = ("subjects", "max_age", "max_msgs", "max_bytes", "max_msgs_per_subject", "discard", "duplicate_window")
    return any((getattr(current, each) or None) != (getattr(wanted, each) or None) for each in fields)


def _config(spec: StreamSpec) -> StreamConfig:
    return StreamConfig(
        name=spec.name,
        subjects=list(spec.subjects),
        retention=RetentionPolicy.WORK_QUEUE if spec.retention is Retention.WORK_QUEUE else RetentionPolicy.LIMITS,
        max_age=spec.max_age.total_seconds() if spec.max_age else 0,
        max_msgs=spec.max_messages or -1,
        max_msgs_per_subject=spec.max_messages_per_subject or -1,
        max_bytes=spec.max_bytes or -1,
        discard=DiscardPolicy.NEW if spec.discard_new else DiscardPolicy.OLD,
        deny_delete=spec.deny_delete,
        deny_purge=spec.deny_purge,
        storage=StorageType.MEMORY if spec.memory else StorageType.FILE,
        duplicate_window=spec.duplicate_window.total_seconds(),
        allow_direct=True,
    )

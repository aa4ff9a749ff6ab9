"""A sidecar's conversation with the hub: frames in, frames out, no sockets.

One object per connection, the same for the WebSocket door (JSON text) and for
SidecarService.Connect (binary messages). It knows who the sidecar is, counts
its misbehaviour and says when the connection must end; the door only carries
what it says.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from google.protobuf.message import DecodeError, Message

from hub.base import request_id
from hub.contract.dialect.frames import UNKNOWN_TYPE, not_an_object, parse_frame
from hub.contract.errors import (
    AlreadyIdentified,
    FieldViolation,
    HubError,
    InternalError,
    InvalidArgument,
    InvalidToken,
    NotIdentified,
    TokenAgentMismatch,
    ValidationFailed,
)
from hub.contract.rpcs import FRAMES, FrameKind
from hub.service.access.rate_limits import RateDecision
from hub.service.dispatcher import Caller, Reply, Service
from hub.service.metrics.counts import Traffic
from hub.service.presence import (
    IDENTIFY_TIMEOUT,
    REPLACED,
    TOKEN_EXPIRED,
    TOO_MANY_VIOLATIONS,
    Close,
    Connection,
    Presence,
    Sidecar,
    cooldown,
)
from hub.transports.session.misbehaviour import Cooldowns, ViolationWindow
from hub.transports.session.replies import Replies, error_frame, rate_limited, replies
from llmhub.v1.frame_pb2 import (
    IdentifyRequest,
    SidecarFrame,
)

log = structlog.get_logger()


class Payload(Protocol):
    """A frame's payload, what was wrong with it, and how many of its fields nobody knows."""

    @property
    def message(self) -> Message:
        """The request."""
        ...

    @property
    def violations(self) -> Sequence[FieldViolation]:
        """What was wrong in the frame it came from."""
        ...

    @property
    def unknown_fields(self) -> int:
        """How many of the frame's fields nobody knows."""
        ...


@dataclass(frozen=True, slots=True)
class _Binary:
    message: Message
    violations: Sequence[FieldViolation] = ()
    unknown_fields: int = 0


NOTHING: Replies = ()
"""No reply is due."""
_READY = (Message, bytes)
_VIOLATIONS = (InvalidToken, TokenAgentMismatch, InvalidArgument)
_IDENTIFY = FRAMES["identify"]


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What all sessions share."""

    service: Service
    presence: Presence
    cooldowns: Cooldowns
    traffic: Traffic = field(default_factory=Traffic)


class Session:
    """One connection's conversation.

    Give it every frame with the time of its arrival, one after the other; send
    what it returns (awaiting it first where it must wait for the disk); then
    look at `closing`. Call `end` once when the connection is gone.

    It is itself the `Connection` that the presence holds: once it is closing, from
    within or from without, frames that are still on their way are not taken.
    """

    def __init__(
        self, context: SessionContext, connection: Connection, remote_address: str, transport: str
    ) -> None:
        self._context = context
        self._connection = connection
        self._remote_address = remote_address
        self._transport = transport
        # One for the whole connection: frames come outside of its task, and each
        # with an id of its own would cost as much as itself.
        self._request_id = request_id.current() or request_id.begin()
        self._traffic = context.traffic
        self._frames = context.traffic.frames[transport]
        # Asked once: a call of the log that is not written costs as much as a frame.
        self._logs_frames = logging.getLogger(__name__).isEnabledFor(logging.DEBUG)
        self._violations = ViolationWindow()
        self._caller: Caller | None = None
        self._sidecar: Sidecar | None = None
        self.closing: Close | None = None

    @property
    def identified(self) -> bool:
        """Whether the sidecar has proved who it is."""
        return self._caller is not None

    @property
    def agent_id(self) -> str | None:
        """The agent that the sidecar speaks for, once it is identified."""
        return self._sidecar.agent_id if self._sidecar is not None else None

    def receive_text(self, text: str | bytes, now_ms: int) -> Replies | Awaitable[Replies]:
        """Takes a JSON frame, as text or as its UTF-8 bytes."""
        if self.closing is not None:
            return NOTHING
        message_type = UNKNOWN_TYPE
        try:
            frame = parse_frame(text)
            message_type = frame.type
            return self._receive(frame.kind, frame.decode, now_ms)
        except HubError as error:
            return self._refuse(error, error.metadata.get("message_type", message_type), now_ms)
        except Exception:
            return self._fail(message_type, now_ms)

    def receive_binary(self, now_ms: int) -> Replies:
        """Takes a binary WebSocket frame, which is never JSON."""
        if self.closing is not None:
            return NOTHING
        return self._refuse(not_an_object(), UNKNOWN_TYPE, now_ms)

    def receive_frame(self, frame: SidecarFrame, now_ms: int) -> Replies | Awaitable[Replies]:
        """Takes a binary frame."""
        if self.closing is not None:
            return NOTHING
        member = frame.WhichOneof("frame")
        try:
            if member is None:
                raise ValidationFailed([FieldViolation("frame", "required", "is required")])
            payload: Message = getattr(frame, member)
            return self._receive(FRAMES[member], lambda: _Binary(payload), now_ms)
        except HubError as error:
            return self._refuse(error, member or UNKNOWN_TYPE, now_ms)
        except Exception:
            return self._fail(member or UNKNOWN_TYPE, now_ms)

    def receive_bytes(self, encoded: bytes, now_ms: int) -> Replies | Awaitable[Replies]:
        """Takes an encoded SidecarFrame as it came."""
        if self.closing is not None:
            return NOTHING
        try:
            frame = SidecarFrame.FromString(encoded)
        except DecodeError:
            violation = FieldViolation("message", "invalid", "is not an encoded SidecarFrame")
            return self._refuse(ValidationFailed([violation]), UNKNOWN_TYPE, now_ms)
        return self.receive_frame(frame, now_ms)

    def close(self, close: Close) -> None:
        """See `Connection`."""
        if self.closing is None:
            self.closing = close
            self._connection.close(close)

    def close_unless_identified(self) -> None:
        """The time to identify is over."""
        if not self.identified:
            self.close(IDENTIFY_TIMEOUT)

    @property
    def expires_at_ms(self) -> int | None:
        """When the token ends that the sidecar identified with; None: never, or not yet known."""
        return self._caller.principal.expires_at_ms if self._caller is not None else None

    def close_if_expired(self, now_ms: int) -> None:
        """The time of the token may be over."""
        if self.expires_at_ms is not None and now_ms >= self.expires_at_ms:
            self.close(TOKEN_EXPIRED)

    def end(self) -> None:
        """The connection is gone."""
        if self.closing is not None:
            self._traffic.closes[self._transport, self.closing.reason_name] += 1
        if self._sidecar is not None:
            self._context.presence.leave(self._sidecar)
            self._log_end(self._sidecar, self.closing)

    def _log_end(self, sidecar: Sidecar, closing: Close | None) -> None:
        log.info(
            "sidecar replaced" if closing is REPLACED else "sidecar left",
            agent_id=sidecar.agent_id,
            transport=sidecar.transport,
            remote_address=sidecar.remote_address,
            reason=closing.reason if closing is not None else "by itself",
            frames=sidecar.frames,
            violations=sidecar.violations,
            unknown_fields=sidecar.unknown_fields,
        )

    def _receive(
        self, kind: FrameKind, decode: Callable[[], Payload], now_ms: int
    ) -> Replies | Awaitable[Replies]:
        self._frames[kind] += 1
        if self._logs_frames:
            log.debug("frame", type=kind.type, agent_id=self.agent_id)
        if kind is _IDENTIFY:
            return self._identify(decode, now_ms)
        caller, sidecar = self._caller, self._sidecar
        if caller is None or sidecar is None:
            raise NotIdentified("identify first")
        expires_at_ms = caller.principal.expires_at_ms
        if expires_at_ms is not None and now_ms >= expires_at_ms:
            self.closing = TOKEN_EXPIRED
            return NOTHING
        sidecar.frames += 1
        sidecar.last_seen_ms = now_ms
        service = self._context.service
        verdict = service.admit(kind.rpc, caller, now_ms)
        if not verdict.allowed:
            return (rate_limited(kind, verdict),)
        payload = decode()
        sidecar.unknown_fields += payload.unknown_fields
        reply = service.execute(kind.rpc, payload.message, caller, now_ms, payload.violations)
        if kind.reply is None and not verdict.warn:
            return NOTHING
        return self._answer(kind, verdict, reply, now_ms)

    def _identify(self, decode: Callable[[], Payload], now_ms: int) -> Replies | Awaitable[Replies]:
        context = self._context
        payload = decode()
        request = payload.message
        assert isinstance(request, IdentifyRequest)
        context.service.check(request, payload.violations)
        principal = context.service.authenticate_agent(request.token, request.agent_id, now_ms)
        if self._sidecar is not None and self._sidecar.agent_id != principal.agent_id:
            raise AlreadyIdentified(f"this connection speaks for {self._sidecar.agent_id}")
        if (wait_ms := context.cooldowns.remaining_ms(principal.agent_id, now_ms)) > 0:
            self.closing = cooldown(-(-wait_ms // 1000))
            return NOTHING
        caller = Caller(principal, self._remote_address, self._transport)
        verdict = context.service.admit(_IDENTIFY.rpc, caller, now_ms)
        if not verdict.allowed:
            return (rate_limited(_IDENTIFY, verdict),)
        reply = context.service.execute(_IDENTIFY.rpc, request, caller, now_ms)

        def admit() -> None:
            # The token may have been revoked while a registration was written.
            context.service.tokens.authenticate(request.token, now_ms)
            self._admit(request, caller, payload.unknown_fields, now_ms)

        return self._answer(_IDENTIFY, verdict, reply, now_ms, admit)

    def _admit(
        self, request: IdentifyRequest, caller: Caller, unknown_fields: int, now_ms: int
    ) -> None:
        principal = caller.principal
        sidecar = self._sidecar
        is_new = sidecar is None
        if sidecar is None:
            sidecar = self._sidecar = Sidecar(
                agent_id=principal.agent_id,
                remote_address=self._remote_address,
                transport=self._transport,
                connected_at_ms=now_ms,
                connection=self,
            )
        sidecar.name = request.name or principal.agent_id
        sidecar.status = request.status
        sidecar.capabilities = tuple(request.capabilities)
        sidecar.token_id = principal.token_id
        sidecar.token_expires_at_ms = principal.expires_at_ms
        sidecar.last_seen_ms = now_ms
        sidecar.frames += 1
        sidecar.unknown_fields += unknown_fields
        self._caller = caller
        self._context.presence.join(sidecar)
        if is_new:
            log.info(
                "sidecar identified",
                agent_id=sidecar.agent_id,
                name=sidecar.name,
                transport=sidecar.transport,
                remote_address=sidecar.remote_address,
                token_id=sidecar.token_id,
            )

    def _answer(
        self,
        kind: FrameKind,
        verdict: RateDecision,
        # What `execute` returned; a frame's RPC never streams.
        reply: Any,
        now_ms: int,
        then: Callable[[], None] | None = None,
    ) -> Replies | Awaitable[Replies]:
        if not isinstance(reply, _READY):
            return self._answer_later(kind, verdict, reply, now_ms, then)
        if then is not None:
            then()
        return replies(kind, verdict, reply)

    async def _answer_later(
        self,
        kind: FrameKind,
        verdict: RateDecision,
        reply: Awaitable[Reply],
        now_ms: int,
        then: Callable[[], None] | None,
    ) -> Replies:
        started = time.perf_counter()
        try:
            done = await reply
            self._traffic.frame_waits.observe(
                (self._transport, kind.type), time.perf_counter() - started
            )
            if self.closing is not None:
                return NOTHING
            if then is not None:
                then()
        except HubError as error:
            return self._refuse(error, kind.type, now_ms)
        except Exception:
            return self._fail(kind.type, now_ms)
        return replies(kind, verdict, done)

    def _refuse(self, error: HubError, message_type: str, now_ms: int) -> Replies:
        self._traffic.errors[self._transport, error.reason_name] += 1
        if isinstance(error, _VIOLATIONS):
            self._count_violation(now_ms)
        return (error_frame(error, message_type),)

    def _count_violation(self, now_ms: int) -> None:
        self._traffic.violations[self._transport] += 1
        sidecar = self._sidecar
        if sidecar is not None:
            sidecar.violations += 1
        if self._violations.add(now_ms):
            self.closing = TOO_MANY_VIOLATIONS
            if sidecar is not None:
                self._context.cooldowns.punish(sidecar.agent_id, now_ms)

    def _fail(self, message_type: str, now_ms: int) -> Replies:
        log.exception(
            "frame failed",
            message_type=message_type,
            agent_id=self.agent_id,
            request_id=self._request_id,
        )
        error = InternalError(f"the hub failed on this frame; request id {self._request_id}")
        return self._refuse(error, message_type, now_ms)

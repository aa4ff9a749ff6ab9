"""A sidecar's conversation with the hub: frames in, frames out, no sockets.

One object per connection, for a WebSocket (JSON text) as for SidecarService.Connect
(binary messages). It knows the sidecar's identity, counts its violations and decides
when the connection must end. The transport only carries bytes.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import CoroutineType
from typing import Any

import structlog

from hub.base import request_id
from hub.contract.dialect.frames import UNKNOWN_TYPE, not_an_object, parse_frame
from hub.contract.errors import (
    AlreadyIdentified,
    CooldownActive,
    HubError,
    InternalError,
    InvalidArgument,
    InvalidToken,
    NotIdentified,
    RateLimited,
    TokenAgentMismatch,
)
from hub.contract.rpcs import FRAMES, FrameKind
from hub.service.access.caller import Caller, Principal
from hub.service.access.peer_certificate import PeerCertificate
from hub.service.access.rate_limits import RateDecision
from hub.service.dispatcher import Dispatcher, Reply
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
from hub.transports.session.misbehaviour import (
    REFUSED_BURST,
    REFUSED_EACH_MS,
    REFUSED_PAUSE_MS,
    Allowance,
    Cooldowns,
    ViolationWindow,
)
from hub.transports.session.sidecar_frames import (
    Frame,
    IdentityClaim,
    Replies,
    error_frame,
    parse_binary_frame,
    rate_limited,
    replies,
)
from llmhub.v1.frame_pb2 import HubFrame, IdentifyRequest

log = structlog.get_logger()


NOTHING: Replies = ()
"""No reply is due."""
_VIOLATIONS = (InvalidToken, TokenAgentMismatch, InvalidArgument, NotIdentified)
_IDENTIFY = FRAMES["identify"]


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What all sessions share."""

    dispatcher: Dispatcher
    presence: Presence
    cooldowns: Cooldowns
    traffic: Traffic = field(default_factory=Traffic)
    identify_timeout_s: float = 10.0


class SidecarSession:
    """One connection's conversation.

    Pass it each frame with its time of arrival, one after the other. Await what it
    returns if that is awaitable, send the replies, then check `closing`. Call `end` once
    when the connection is closed.

    It is itself the `Connection` in `Presence`. Once it is closing, for any reason, it
    ignores further frames.
    """

    def __init__(
        self,
        context: SessionContext,
        connection: Connection,
        remote_address: str,
        transport: str,
        certificate: PeerCertificate | None = None,
    ) -> None:
        self._certificate = certificate
        self._context = context
        self._connection = connection
        self._remote_address = remote_address
        self._transport = transport
        # One id for the whole connection: frames arrive outside its task, and an id per
        # frame would cost as much as the frame.
        self._request_id = request_id.current() or request_id.text(request_id.begin())
        self._traffic = context.traffic
        self._frames = context.traffic.frames[transport]
        # Checked once: a log call that writes nothing costs as much as a frame.
        self._logs_frames = logging.getLogger(__name__).isEnabledFor(logging.DEBUG)
        self._violations = ViolationWindow()
        self._refusals: Allowance | None = None
        self._pause_ms = 0
        self._caller: Caller | None = None
        # Set if the current frame leaves few calls of its rate limit.
        self._low: RateDecision | None = None
        self._sidecar: Sidecar | None = None
        self.closing: Close | None = None

    @property
    def identified(self) -> bool:
        """Whether the sidecar has proved its identity."""
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
            message_type = frame.kind.type
            return self._receive(frame, now_ms)
        except HubError as error:
            return self._refuse(error, error.metadata.get("message_type", message_type), now_ms)
        except Exception:
            return self._fail(message_type, now_ms)

    def receive_binary(self, now_ms: int) -> Replies:
        """Takes a binary WebSocket frame, which is never JSON."""
        if self.closing is not None:
            return NOTHING
        return self._refuse(not_an_object(), UNKNOWN_TYPE, now_ms)

    def receive_bytes(self, encoded: bytes, now_ms: int) -> Replies | Awaitable[Replies]:
        """Takes an encoded SidecarFrame."""
        if self.closing is not None:
            return NOTHING
        message_type = UNKNOWN_TYPE
        try:
            frame = parse_binary_frame(encoded)
            message_type = frame.kind.type
            return self._receive(frame, now_ms)
        except HubError as error:
            return self._refuse(error, message_type, now_ms)
        except Exception:
            return self._fail(message_type, now_ms)

    def close(self, close: Close) -> None:
        """See `Connection`."""
        if self.closing is None:
            self.closing = close
            self._connection.close(close)

    def send(self, frame: HubFrame) -> None:
        """See `Connection`."""
        if self.closing is None:
            self._connection.send(frame)

    def close_unless_identified(self) -> None:
        """Closes the connection of a sidecar that has not identified in time."""
        if not self.identified:
            self.close(IDENTIFY_TIMEOUT)

    def take_pause_ms(self) -> int:
        """For how many milliseconds the transport must read nothing; 0 as a rule.

        Ask after each frame that is answered.
        """
        pause_ms, self._pause_ms = self._pause_ms, 0
        return pause_ms

    @property
    def expires_at_ms(self) -> int | None:
        """When the sidecar's token expires; None if never, or if it is not known yet."""
        return self._caller.principal.expires_at_ms if self._caller is not None else None

    def close_if_expired(self, now_ms: int) -> None:
        """Closes the connection if the sidecar's token has expired."""
        if self.expires_at_ms is not None and now_ms >= self.expires_at_ms:
            self.close(TOKEN_EXPIRED)

    def end(self) -> None:
        """Ends the session of a closed connection."""
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

    def _receive(self, frame: Frame, now_ms: int) -> Replies | Awaitable[Replies]:
        kind = frame.kind
        self._frames[kind] += 1
        if self._logs_frames:
            log.debug("frame", type=kind.type, agent_id=self.agent_id)
        if kind is _IDENTIFY:
            return self._identify(frame, now_ms)
        caller, sidecar = self._caller, self._sidecar
        if caller is None or sidecar is None:
            raise NotIdentified("identify first")
        sidecar.frames += 1
        sidecar.last_seen_ms = now_ms
        self._low = None
        try:
            reply = self._context.dispatcher.dispatch(
                kind.rpc, caller, frame.decode, now_ms, on_low=self._note_low
            )
        except RateLimited as error:
            self._count_refusal(now_ms)
            return (rate_limited(error),)
        except InvalidToken:
            # The sidecar was authenticated when it identified, so its token has expired since.
            self.closing = TOKEN_EXPIRED
            return NOTHING
        finally:
            sidecar.unknown_fields += frame.unknown_fields
        if kind.reply is None and self._low is None:
            return NOTHING
        return self._answer(kind, reply, now_ms)

    def _note_low(self, verdict: RateDecision) -> None:
        self._low = verdict

    def _identify(self, frame: Frame, now_ms: int) -> Replies | Awaitable[Replies]:
        payload = frame.decode()
        claim = IdentityClaim(payload, self._certificate, self._accept)
        self._low = None
        try:
            reply = self._context.dispatcher.dispatch(
                _IDENTIFY.rpc, claim, lambda: payload, now_ms, on_low=self._note_low
            )
        except RateLimited as error:
            self._count_refusal(now_ms)
            return (rate_limited(error),)
        except CooldownActive:
            return NOTHING

        def admit() -> None:
            self._admit(payload.message, claim.caller, frame.unknown_fields, now_ms)

        return self._answer(_IDENTIFY, reply, now_ms, admit)

    def _accept(self, principal: Principal, now_ms: int) -> Caller:
        """Makes a caller from an agent that has proved its identity."""
        if self._sidecar is not None and self._sidecar.agent_id != principal.agent_id:
            raise AlreadyIdentified(f"this connection speaks for {self._sidecar.agent_id}")
        if (wait_ms := self._context.cooldowns.remaining_ms(principal.agent_id, now_ms)) > 0:
            self.closing = cooldown(-(-wait_ms // 1000))
            raise self.closing.as_error()
        return Caller(principal, self._remote_address, self._transport, self._certificate)

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
                certificate=self._certificate,
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
        # A reply, or a coroutine of it: a frame's RPC never streams.
        reply: Any,
        now_ms: int,
        then: Callable[[], None] | None = None,
    ) -> Replies | Awaitable[Replies]:
        if isinstance(reply, CoroutineType):
            return self._answer_later(kind, self._low, reply, now_ms, then)
        if then is not None:
            then()
        return replies(kind, self._low, reply)

    async def _answer_later(
        self,
        kind: FrameKind,
        low: RateDecision | None,
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
        return replies(kind, low, done)

    def _refuse(self, error: HubError, message_type: str, now_ms: int) -> Replies:
        self._traffic.errors[self._transport, error.reason_name] += 1
        if isinstance(error, _VIOLATIONS):
            self._count_violation(now_ms)
        elif isinstance(error, AlreadyIdentified):
            # Raised before the rate limit is asked.
            self._count_refusal(now_ms)
        return (error_frame(error, message_type),)

    def _count_refusal(self, now_ms: int) -> None:
        """A frame is only answered: one that is over the rate limit, as a rule.

        A sidecar that talks too much is told so and stays. One that talks so much that the
        answers cost the hub is slowed down, and in the end closed.
        """
        if self._refusals is None:
            self._refusals = Allowance(REFUSED_BURST, REFUSED_EACH_MS)
        if not self._refusals.spend(now_ms):
            self._pause_ms = REFUSED_PAUSE_MS
            self._count_violation(now_ms)

    def _count_violation(self, now_ms: int) -> None:
        self._traffic.violations[self._transport] += 1
        sidecar = self._sidecar
        if sidecar is not None:
            sidecar.violations += 1
        if self._violations.add(now_ms):
            self.closing = TOO_MANY_VIOLATIONS
            if sidecar is not None:
                self._context.cooldowns.penalise(sidecar.agent_id, now_ms)

    def _fail(self, message_type: str, now_ms: int) -> Replies:
        log.exception(
            "frame failed",
            message_type=message_type,
            agent_id=self.agent_id,
            request_id=self._request_id,
        )
        error = InternalError(f"the hub failed on this frame; request id {self._request_id}")
        return self._refuse(error, message_type, now_ms)

"""A sidecar's frames as a session receives and answers them.

They come from JSON or binary messages. An identify frame carries a token in its payload,
so it also serves as credentials.
"""

from collections.abc import Callable
from typing import Protocol

from google.protobuf.message import DecodeError, Message

from hub.base.tls_files import IN_PLACE_OF_TOKEN
from hub.contract import validation
from hub.contract.errors import (
    FieldViolation,
    HubError,
    InvalidJson,
    InvalidToken,
    NotIdentified,
    RateLimited,
    TokenAgentMismatch,
    ValidationFailed,
)
from hub.contract.rpcs import FRAMES, FrameKind
from hub.service.access.access_control import AccessControl
from hub.service.access.caller import Caller, Principal
from hub.service.access.peer_certificate import PeerCertificate, require_valid
from hub.service.access.rate_limits import RateDecision
from hub.service.dispatcher import Received, Reply, Request
from llmhub.v1 import frame_pb2
from llmhub.v1.frame_pb2 import FieldError, FrameError, HubFrame, RateLimitWarning, SidecarFrame


class Frame(Protocol):
    """A frame of a known kind. `hub.contract.dialect.frames.ParsedFrame` is one from JSON."""

    @property
    def kind(self) -> FrameKind:
        """The kind of frame."""
        ...

    @property
    def unknown_fields(self) -> int:
        """The number of fields that the hub does not know; 0 until it is decoded."""
        ...

    def decode(self) -> Request:
        """The request of the RPC that the frame stands for."""
        ...


class BinaryFrame:
    """A frame that protobuf has decoded."""

    unknown_fields = 0

    def __init__(self, kind: FrameKind, payload: Message) -> None:
        self.kind = kind
        self._payload = payload

    def decode(self) -> Request:
        """See `Frame`."""
        return Received(self._payload)


def parse_binary_frame(encoded: bytes) -> BinaryFrame:
    """Reads an encoded SidecarFrame. Raises ValidationFailed."""
    try:
        frame = SidecarFrame.FromString(encoded)
    except DecodeError:
        violation = FieldViolation("message", "invalid", "is not an encoded SidecarFrame")
        raise ValidationFailed([violation]) from None
    member = frame.WhichOneof("frame")
    if member is None:
        raise ValidationFailed([FieldViolation("frame", "required", "is required")])
    return BinaryFrame(FRAMES[member], getattr(frame, member))


Replies = tuple[HubFrame, ...]
"""What to send, in order. A tuple, so that it is cheap to tell from an awaitable."""

# Existing clients expect these replies without a detail.
_BARE = (InvalidToken, TokenAgentMismatch, NotIdentified, InvalidJson)


def replies(kind: FrameKind, low: RateDecision | None, reply: Reply) -> Replies:
    """The replies to a frame: a warning if few calls are left, then the response, if any."""
    frames = []
    if low is not None:
        warning = RateLimitWarning(
            tier=kind.rpc.tier.wire_name, remaining=low.remaining, capacity=low.capacity
        )
        frames.append(HubFrame(rate_limit_warning=warning))
    if kind.reply is not None:
        # The member's name comes from the descriptor, which mypy cannot follow.
        frames.append(HubFrame(**{kind.reply: reply}))  # type: ignore[arg-type]
    return tuple(frames)


def rate_limited(error: RateLimited) -> HubFrame:
    """The reply to a frame that was dropped because its rate limit is used up."""
    frame = frame_pb2.RateLimited(tier=error.tier, retry_after_ms=error.retry_after_ms)
    return HubFrame(rate_limited=frame)


def error_frame(error: HubError, message_type: str) -> HubFrame:
    """An error as a frame."""
    frame = FrameError(error=error.wire_code)
    if isinstance(error, ValidationFailed):
        frame.message_type = message_type
        for violation in error.violations:
            frame.errors.append(
                FieldError(
                    field=violation.field,
                    error=violation.error,
                    detail=violation.detail,
                    value=violation.value,
                    known_types=violation.known_types,
                )
            )
    elif not isinstance(error, _BARE):
        frame.detail = error.message
    return HubFrame(error=frame)


class IdentityClaim:
    """Proves that a sidecar is the agent that it claims to be; then `caller` is set.

    `accept` makes the caller, or raises the error of the session.
    """

    caller: Caller

    def __init__(
        self,
        payload: Request,
        certificate: PeerCertificate | None,
        accept: Callable[[Principal, int], Caller],
    ) -> None:
        self._payload = payload
        self._certificate = certificate
        self._accept = accept

    def authenticate(self, access: AccessControl, now_ms: int) -> Caller:
        """See `Credentials`. Also raises ValidationFailed and the errors of `accept`."""
        request = self._payload.message
        require_valid(self._certificate)
        # A frame without a token is an invalid frame, not a wrong token.
        validation.check(request, self._payload.violations)
        if self._certificate is not None and request.token == IN_PLACE_OF_TOKEN:
            principal = access.certificates.agent(self._certificate, request.agent_id, now_ms)
        else:
            principal = access.authenticate_agent(request.token, request.agent_id, now_ms)
        self.caller = self._accept(principal, now_ms)
        return self.caller

"""What a session says, as frames: replies, rate limits and errors."""

from hub.contract.errors import (
    HubError,
    InvalidJson,
    InvalidToken,
    NotIdentified,
    RateLimited,
    TokenAgentMismatch,
    ValidationFailed,
)
from hub.contract.rpcs import FrameKind
from hub.service.access.rate_limits import RateDecision
from hub.service.dispatcher import Reply
from llmhub.v1 import frame_pb2
from llmhub.v1.frame_pb2 import FieldError, FrameError, HubFrame, RateLimitWarning

Replies = tuple[HubFrame, ...]
"""What to send, in order. A tuple, so that it differs from an awaitable at no cost."""

# Clients in the field know these replies by their code alone.
_BARE = (InvalidToken, TokenAgentMismatch, NotIdentified, InvalidJson)


def replies(kind: FrameKind, low: RateDecision | None, reply: Reply) -> Replies:
    """What answers a frame: a warning if few are left, then the response if it has one."""
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
    """Says that a frame was dropped because its bucket was empty."""
    frame = frame_pb2.RateLimited(tier=error.tier, retry_after_ms=error.retry_after_ms)
    return HubFrame(rate_limited=frame)


def error_frame(error: HubError, message_type: str) -> HubFrame:
    """An error in the words of the frame protocol."""
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

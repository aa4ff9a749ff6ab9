"""The hub's messages and errors in the form of the native gRPC server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from hub.contract.errors import HubError, LimitReached
from hub.service.dispatcher import Reply
from hub.service.metrics.refusals import Refusals
from hub.transports.grpc import call_context
from hub.transports.grpc.call_context import to_status
from hub.transports.grpc.native.call_status import Bound, CallFailed
from hub.transports.grpc.native.stream_call import StreamCall

# Most overloads end soon: clients read their replies, or a time limit ends the call.
_RETRY_MS: Final = 1_000


def call_failed(error: HubError) -> CallFailed:
    """The status of a call that fails with `error`, with google.rpc.Status as details."""
    details = to_status(error).SerializeToString()
    return CallFailed(error.code, error.message, (("grpc-status-details-bin", details),))


def no_room(detail: str) -> LimitReached:
    """The error of a call that exceeds a bound, with a time to retry after."""
    return LimitReached(detail, retry_after_ms=_RETRY_MS)


def refusing(refusals: Refusals) -> Callable[[Bound, str], CallFailed]:
    """Makes the error of a call from a peer that exceeds a bound, and counts it."""

    def refused(bound: Bound, peer: str) -> CallFailed:
        refusals.note("grpc", bound.name.lower(), peer)
        return call_failed(no_room(bound.value))

    return refused


def missing(detail: str) -> CallFailed:
    """The error of a call whose message is missing."""
    return call_failed(call_context.missing(detail))


async def only_message(call: StreamCall) -> bytes:
    """The only request of a stream. Raises ValidationFailed if it is late."""
    return await in_time(next_message(call))


async def next_message(call: StreamCall) -> bytes:
    """The next request of a stream. Raises ValidationFailed if there is none."""
    async for message in call:
        return message
    raise call_context.missing("is missing")


async def in_time(message: Awaitable[bytes], within_s: float | None = None) -> bytes:
    """The message, if it arrives within `within_s` or 10 seconds. Raises ValidationFailed."""
    within_s = call_context.MESSAGE_S if within_s is None else within_s
    try:
        async with asyncio.timeout(within_s):
            return await message
    except TimeoutError:
        raise call_context.missing(f"did not come within {within_s:g} s") from None


def encoded(reply: Reply) -> bytes:
    """A reply as a message."""
    return reply if isinstance(reply, bytes) else reply.SerializeToString()

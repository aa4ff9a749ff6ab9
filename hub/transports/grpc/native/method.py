"""The methods that a server serves, each with its handler."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import dataclass

from hub.transports.grpc.native.call import Call
from hub.transports.grpc.native.call_status import CallFailed, StatusCode
from hub.transports.grpc.native.stream_call import StreamCall

UnaryHandler = Callable[[Call, bytes], bytes | Awaitable[bytes]]
"""Answers the only message of a call. If it returns bytes, the call needs no task."""

Replies = AsyncGenerator[bytes, None]
"""The response messages of a stream."""

StreamHandler = Callable[[StreamCall], Replies]
"""Yields the response messages; `async for` over the call yields the request messages."""


LateHandler = Callable[[Call, Awaitable[bytes]], Coroutine[None, None, bytes]]
"""Answers a call whose message has not arrived yet, and limits how long it waits."""


def _missing(detail: str) -> CallFailed:
    return CallFailed(StatusCode.INVALID_ARGUMENT, f"message: {detail}")


@dataclass(frozen=True, slots=True)
class UnaryMethod:
    """A method with one message in each direction."""

    handler: UnaryHandler
    late_handler: LateHandler | None = None
    """Runs as soon as a head arrives without its message; if None, the call waits."""
    always: bool = False
    """Whether a complete call is answered even if there is no room for more calls."""
    missing: Callable[[str], CallFailed] = _missing
    """Makes the error of a call whose message is missing, from a detail."""

    def message_of(self, call: Call) -> bytes:
        """The only message of a call whose request has ended. Raises CallFailed."""
        if call.cut_short or not call.waiting:
            raise self.missing("is missing")
        if call.waiting > 1:
            raise CallFailed(StatusCode.UNIMPLEMENTED, "a unary call has exactly one message")
        return call.take()


@dataclass(frozen=True, slots=True)
class StreamMethod:
    """A method with any number of messages in each direction."""

    handler: StreamHandler


Method = UnaryMethod | StreamMethod

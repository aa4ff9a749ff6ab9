"""The methods that a server serves by path, each with its handler."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import dataclass

from hub.transports.grpc.native.call import Call
from hub.transports.grpc.native.call_status import CallFailed, StatusCode
from hub.transports.grpc.native.stream_call import StreamCall

UnaryHandler = Callable[[Call, bytes], bytes | Awaitable[bytes]]
"""Answers the only message of a call. Costs no task if it returns bytes."""

StreamHandler = Callable[[StreamCall], AsyncGenerator[bytes, None]]
"""Yields the messages of the response; `async for` over the call gives those of the request."""


LateHandler = Callable[[Call, Awaitable[bytes]], Coroutine[None, None, bytes]]
"""Answers a call whose message has not arrived yet, and bounds how long it waits for it."""


def _missing(detail: str) -> CallFailed:
    return CallFailed(StatusCode.INVALID_ARGUMENT, f"message: {detail}")


@dataclass(frozen=True, slots=True)
class UnaryMethod:
    """One message each way."""

    handler: UnaryHandler
    late_handler: LateHandler | None = None
    """Runs at once if the head arrives without the message; without it the call waits."""
    always: bool = False
    """Whether a complete call is answered even if there is no room for more calls."""
    missing: Callable[[str], CallFailed] = _missing
    """Makes the error for a call whose message does not arrive, from a detail."""


@dataclass(frozen=True, slots=True)
class StreamMethod:
    """Any number of messages either way."""

    handler: StreamHandler


Method = UnaryMethod | StreamMethod

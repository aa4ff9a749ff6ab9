"""What a server serves: methods by path, each with its handler."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from hub.transports.grpc.native.call import Call
from hub.transports.grpc.native.stream_call import StreamCall

UnaryHandler = Callable[[Call, bytes], bytes | Awaitable[bytes]]
"""Answers the one message of a call. Costs no task where it returns bytes."""

StreamHandler = Callable[[StreamCall], AsyncGenerator[bytes, None]]
"""Yields the messages of the response; `async for` over the call gives those of the request."""


@dataclass(frozen=True, slots=True)
class UnaryMethod:
    """One message each way.

    `admit` sees a call before its message is waited for, and may raise CallFailed.
    """

    handler: UnaryHandler
    admit: Callable[[Call], None] | None = None


@dataclass(frozen=True, slots=True)
class StreamMethod:
    """Any number of messages either way."""

    handler: StreamHandler


Method = UnaryMethod | StreamMethod

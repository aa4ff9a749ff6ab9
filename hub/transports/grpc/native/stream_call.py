"""A streaming call: its handler reads and writes at the client's pace."""

import asyncio

from hub.transports.grpc.native.call import Call, CallContext
from hub.transports.grpc.native.call_head import CallHead
from hub.transports.grpc.native.stream import Stream


class StreamCall(Call):
    """`async for` yields the client's messages; `send` waits while the client does not read."""

    __slots__ = ("_arrival", "_drained")

    def __init__(self, context: CallContext, stream: Stream, head: CallHead) -> None:
        super().__init__(context, stream, head)
        self._arrival: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None

    def __aiter__(self) -> "StreamCall":
        return self

    async def __anext__(self) -> bytes:
        """The client's next message."""
        while not self.waiting:
            if self.half_closed or self.over:
                raise StopAsyncIteration
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        message = self.take()
        self._context.flush()
        return message

    async def send(self, message: bytes) -> None:
        """Sends a message; waits until the client has read most of what was sent."""
        if self.over:
            raise asyncio.CancelledError
        self.send_message(message)
        self._context.flush()
        if self.stream.pending_bytes > self._context.high_water:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def on_arrival(self) -> None:
        """Wakes a handler that is waiting for a message."""
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def on_drained(self) -> None:
        """Wakes a handler that is waiting for the client to read."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

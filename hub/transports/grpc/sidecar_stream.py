"""SidecarService.Connect: the sidecars' frames as binary messages of a gRPC stream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from hub.base.clock import Clock
from hub.service.presence import Close
from hub.transports.grpc.stream_slots import StreamSlots
from hub.transports.session.deadlines import SessionDeadlines
from hub.transports.session.sidecar_session import SessionContext, SidecarSession
from llmhub.v1.frame_pb2 import HubFrame


class _Handle:
    """Closes a stream from outside: the conversation waits for this beside the next frame."""

    def __init__(self) -> None:
        self.closed: asyncio.Future[Close] = asyncio.get_running_loop().create_future()

    def close(self, close: Close) -> None:
        if not self.closed.done():
            self.closed.set_result(close)


async def converse(
    context: SessionContext,
    frames: AsyncIterator[bytes],
    remote_address: str,
    clock: Clock,
    sessions: set[SidecarSession],
    slots: StreamSlots,
) -> AsyncIterator[HubFrame]:
    """Carries one stream's frames to a session and its replies back.

    The session is in `sessions` while the stream lives, and holds one of the `slots` until
    the sidecar is identified. Ends when the sidecar ends its side. Raises LimitReached if
    no slot is free, and the HubError that stands for a close code if the hub ends it.
    """
    slot = slots.take(remote_address)
    handle = _Handle()
    session = SidecarSession(context, handle, remote_address, "grpc")
    sessions.add(session)
    deadlines = SessionDeadlines(session, clock, context.identify_timeout_s)
    try:
        while (frame := await _next(frames, handle)) is not None:
            replies = session.receive_bytes(frame, clock.now_ms())
            if not isinstance(replies, tuple):
                replies = await replies
            deadlines.update()
            if session.identified:
                slot.free()
            for reply in replies:
                yield reply
            if session.closing is not None:
                raise session.closing.as_error()
    finally:
        slot.free()
        deadlines.cancel()
        sessions.discard(session)
        session.end()


async def _next(frames: AsyncIterator[bytes], handle: _Handle) -> bytes | None:
    """The next frame, or None at the end. Raises when the stream is closed from outside."""

    async def read() -> bytes | None:
        async for frame in frames:
            return frame
        return None

    reading = asyncio.ensure_future(read())
    either: set[asyncio.Future[Any]] = {reading, handle.closed}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not reading.done():
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
    if handle.closed.done():
        raise handle.closed.result().as_error()
    return reading.result()

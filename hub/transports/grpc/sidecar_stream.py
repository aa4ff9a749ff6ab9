"""SidecarService.Connect: the sidecars' frames as binary messages of a gRPC stream."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from hub.base.clock import Clock
from hub.service.access.peer_certificate import PeerCertificate
from hub.service.presence import Close
from hub.transports.grpc.slots import StreamSlots
from hub.transports.session.deadlines import SessionDeadlines
from hub.transports.session.sidecar_session import SessionContext, SidecarSession
from llmhub.v1.frame_pb2 import HubFrame


class _Handle:
    """Lets other parts close a stream or send on it; `converse` waits for `news`."""

    def __init__(self) -> None:
        self._close: Close | None = None
        self._frames: deque[HubFrame] = deque()
        self.news: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def close(self, close: Close) -> None:
        self._close = self._close or close
        self._wake()

    def send(self, frame: HubFrame) -> None:
        self._frames.append(frame)
        self._wake()

    def take(self) -> list[HubFrame]:
        """The frames to send now. Raises HubError if the stream was closed."""
        if self._close is not None:
            raise self._close.as_error()
        if self.news.done():
            self.news = asyncio.get_running_loop().create_future()
        frames = [*self._frames]
        self._frames.clear()
        return frames

    def _wake(self) -> None:
        if not self.news.done():
            self.news.set_result(None)


async def converse(
    context: SessionContext,
    frames: AsyncIterator[bytes],
    remote_address: str,
    clock: Clock,
    sessions: set[SidecarSession],
    slots: StreamSlots,
    certificate: PeerCertificate | None = None,
    on_identified: Callable[[], None] = lambda: None,
) -> AsyncIterator[HubFrame]:
    """Passes one stream's frames to a session, and yields the replies.

    The session is in `sessions` while the stream lives, and holds one of the `slots` until
    the sidecar is identified; then it calls `on_identified`. Ends when the sidecar ends its
    side. Raises LimitReached if no slot is free, and the HubError that stands for a close
    code if the hub ends it.
    """
    slot = slots.take(remote_address)
    handle = _Handle()
    session = SidecarSession(context, handle, remote_address, "grpc", certificate)
    sessions.add(session)
    deadlines = SessionDeadlines(session, clock, context.identify_timeout_s)
    reading: asyncio.Future[bytes | None] | None = None
    try:
        while True:
            if reading is None:
                reading = asyncio.ensure_future(_next(frames))
            either: set[asyncio.Future[Any]] = {reading, handle.news}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            for sent in handle.take():
                yield sent
            if not reading.done():
                continue
            frame, reading = reading.result(), None
            if frame is None:
                return
            replies = session.receive_bytes(frame, clock.now_ms())
            if not isinstance(replies, tuple):
                replies = await replies
            deadlines.update()
            if session.identified:
                slot.free()
                on_identified()
            for reply in replies:
                yield reply
            if session.closing is not None:
                raise session.closing.as_error()
            if pause_ms := session.take_pause_ms():
                await asyncio.wait((handle.news,), timeout=pause_ms / 1000)
    finally:
        if reading is not None and not reading.done():
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
        slot.free()
        deadlines.cancel()
        sessions.discard(session)
        session.end()


async def _next(frames: AsyncIterator[bytes]) -> bytes | None:
    """The next frame, or None at the end."""
    async for frame in frames:
        return frame
    return None

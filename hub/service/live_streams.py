"""Open server streams, which must not outlive their callers' tokens."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

from hub.base.clock import Alarm, Clock
from hub.contract.errors import InvalidToken
from hub.service.access.caller import Principal

T = TypeVar("T")


class _Stream:
    """One stream; `waiting` is the task that waits for its next reply.

    An `asyncio.Timeout` around each reply would cost as much as all else that the hub does
    to send a change to a watcher.
    """

    __slots__ = ("is_over", "waiting", "was_cancelled")

    def __init__(self) -> None:
        self.is_over = False
        self.was_cancelled = False
        """Whether `end` has cancelled the task."""
        self.waiting: asyncio.Task[object] | None = None

    def end(self) -> None:
        self.is_over = True
        # A stream that is sending ends after that reply, so that no reply is cut off.
        if self.waiting is not None and not self.was_cancelled:
            self.was_cancelled = True
            self.waiting.cancel()


class LiveStreams:
    """The streams that are open now, by the id of the token that opened them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_token: dict[str, set[_Stream]] = {}

    def close_token(self, token_id: str) -> None:
        """Ends all streams of a removed token."""
        for stream in self._by_token.get(token_id, ()):
            stream.end()

    async def guard(self, principal: Principal, replies: AsyncIterator[T]) -> AsyncGenerator[T]:
        """Yields the replies while the caller's token is valid.

        Raises InvalidToken if the token is revoked or expires before the replies end, even
        while it waits for the next reply.
        """
        stream = _Stream()
        streams = self._by_token.setdefault(principal.token_id, set())
        streams.add(stream)
        expiry = None
        if principal.expires_at_ms is not None:
            expiry = Alarm(self._clock, principal.expires_at_ms, stream.end)
        try:
            while not stream.is_over:
                task = stream.waiting = asyncio.current_task()
                try:
                    reply = await anext(replies)
                except StopAsyncIteration:
                    return
                except asyncio.CancelledError:
                    # Others may have cancelled the task too; then it must end.
                    if not stream.was_cancelled or task is None or task.uncancel():
                        raise
                    break
                finally:
                    stream.waiting = None
                yield reply
            raise InvalidToken("the token was revoked or has expired")
        finally:
            if expiry is not None:
                expiry.cancel()
            streams.discard(stream)
            if not streams:
                self._by_token.pop(principal.token_id, None)
            if isinstance(replies, AsyncGenerator):
                await replies.aclose()

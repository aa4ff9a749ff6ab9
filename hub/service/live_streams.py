"""Open server streams, which must not outlive their callers' tokens."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

from hub.base.clock import Alarm, Clock
from hub.contract.errors import InvalidToken
from hub.service.access.caller import Caller
from hub.service.access.peer_certificate import PeerCertificate, require_valid

T = TypeVar("T")


class _Stream:
    """One stream; `waiting` is set while it waits for its next reply."""

    __slots__ = ("certificate", "is_over", "waiting")

    def __init__(self, certificate: PeerCertificate | None) -> None:
        self.certificate = certificate
        self.is_over = False
        self.waiting: asyncio.Timeout | None = None

    def end(self) -> None:
        self.is_over = True
        # A stream that is sending ends after that reply, so that no reply is cut off.
        if self.waiting is not None:
            self.waiting.reschedule(0)


class LiveStreams:
    """The streams that are open now, by the id of the token that opened them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_token: dict[str, set[_Stream]] = {}

    def close_token(self, token_id: str) -> None:
        """Ends all streams of a removed token."""
        for stream in self._by_token.get(token_id, ()):
            stream.end()

    def close_revoked(self) -> None:
        """Ends all streams over connections whose client certificate is revoked."""
        for streams in self._by_token.values():
            for stream in streams:
                if stream.certificate is not None and stream.certificate.is_revoked:
                    stream.end()

    async def guard(self, caller: Caller, replies: AsyncIterator[T]) -> AsyncGenerator[T]:
        """Yields the replies while the caller's token and certificate are valid.

        Raises InvalidToken if one of them is revoked or expires before the replies end, even
        while it waits for the next reply.
        """
        principal = caller.principal
        stream = _Stream(caller.certificate)
        streams = self._by_token.setdefault(principal.token_id, set())
        streams.add(stream)
        expiry = None
        if principal.expires_at_ms is not None:
            expiry = Alarm(self._clock, principal.expires_at_ms, stream.end)
        try:
            while not stream.is_over:
                try:
                    async with asyncio.timeout(None) as stream.waiting:
                        reply = await anext(replies)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    if not stream.is_over:
                        raise
                    break
                finally:
                    stream.waiting = None
                yield reply
            require_valid(caller.certificate)
            raise InvalidToken("the token was revoked or has expired")
        finally:
            if expiry is not None:
                expiry.cancel()
            streams.discard(stream)
            if not streams:
                self._by_token.pop(principal.token_id, None)
            if isinstance(replies, AsyncGenerator):
                await replies.aclose()

"""Long bodies on their way to readers, which pin them for as long as they take to read.

A body that many readers share is in memory once, so it counts once. But the fleet changes all
the time, and each change makes another body: without a bound, slow readers would pin a copy
of the fleet for every change.
"""

from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from hub.base.bounds import RETRY_AFTER_MS
from hub.contract.errors import Overloaded
from hub.service.metrics.refusals import Refusals
from hub.transports.http.responses import LONG_BYTES, SharedBody


class Hold:
    """One reader's share of a body; `release`, or the end of its block, gives it back."""

    __slots__ = ("_bodies", "_body", "_token_id")

    def __init__(self, bodies: "BodiesInFlight", token_id: str, body: bytes) -> None:
        self._bodies = bodies
        self._token_id = token_id
        self._body: bytes | None = body

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """The reader has read the body, or is gone. Idempotent."""
        body, self._body = self._body, None
        if body is not None:
            self._bodies.release(self._token_id, body)


class BodiesInFlight:
    """Counts the bytes of distinct bodies, per token and in all."""

    def __init__(self, *, per_token: int, in_all: int, refusals: Refusals) -> None:
        self._per_token = per_token
        self._in_all = in_all
        self.refusals = refusals
        # The number of readers of each body, by its identity: all readers of a token, and all.
        self._by_token: dict[str, dict[int, int]] = {}
        self._readers: dict[int, int] = {}
        self._token_bytes: dict[str, int] = {}
        self.bytes = 0

    def hold(self, token_id: str, body: bytes) -> Hold:
        """Counts a reader of the body. Raises Overloaded.

        A token that holds nothing may hold one body of any length that fits in all.
        """
        key, size = id(body), len(body)
        own = self._by_token.get(token_id, {})
        held = self._token_bytes.get(token_id, 0)
        if key not in own and held and held + size > self._per_token:
            self._refuse("bytes_in_flight_per_token", f"{held} bytes of this token are unread")
        if key not in self._readers and self.bytes and self.bytes + size > self._in_all:
            self._refuse("bytes_in_flight", f"{self.bytes} bytes are unread")
        if key not in own:
            self._token_bytes[token_id] = held + size
        if key not in self._readers:
            self.bytes += size
        own[key] = own.get(key, 0) + 1
        self._by_token[token_id] = own
        self._readers[key] = self._readers.get(key, 0) + 1
        return Hold(self, token_id, body)

    def release(self, token_id: str, body: bytes) -> None:
        """Counts one reader less; see `Hold.release`."""
        key, size = id(body), len(body)
        own = self._by_token[token_id]
        own[key] -= 1
        if not own[key]:
            del own[key]
            self._token_bytes[token_id] -= size
        if not own:
            del self._by_token[token_id], self._token_bytes[token_id]
        self._readers[key] -= 1
        if not self._readers[key]:
            del self._readers[key]
            self.bytes -= size

    def response(self, token_id: str, body: bytes, content_type: str) -> web.Response:
        """A reply with that body, which is counted until it is sent. Raises Overloaded.

        A body that fits into a connection's buffer is not counted.
        """
        if len(body) <= LONG_BYTES:
            return web.Response(body=body, headers={"Content-Type": content_type})
        return _HeldResponse(self.hold(token_id, body), body, content_type)

    def _refuse(self, bound: str, why: str) -> None:
        self.refusals.note("http", bound)
        raise Overloaded(f"{why}; read them first", retry_after_ms=RETRY_AFTER_MS)


class _HeldResponse(web.Response):
    """A response that releases its body once it is sent, or cannot be sent."""

    def __init__(self, hold: Hold, body: bytes, content_type: str) -> None:
        super().__init__(body=SharedBody(body, content_type))
        self._hold = hold

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """See `Response`."""
        try:
            return await super().prepare(request)
        except BaseException:
            self._hold.release()
            raise

    async def write_eof(self, data: bytes = b"") -> None:
        """See `Response`."""
        try:
            await super().write_eof(data)
        finally:
            self._hold.release()

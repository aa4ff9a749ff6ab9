"""One HTTP/1.1 connection to a probed server, with one exchange at a time."""

import asyncio
from collections.abc import Callable
from typing import cast

from hub.probes.bounded_response import BoundedResponse
from hub.probes.faults import ProbeError

# The largest body that needs no permit; the hub has only a few permits.
_SMALL_BODY_BYTES = 64 * 1024


class Broken(Exception):
    """The connection ended before the head of an answer. `__cause__` is the reason, if known."""


class ProbeConnection(asyncio.Protocol):
    """A connection that `ConnectionPool` creates, in the loop that uses it.

    `address` is the numeric address of the server, as returned by `reached`. `on_lost` is
    called once, when the connection is closed.
    """

    def __init__(self, on_lost: Callable[["ProbeConnection"], None]) -> None:
        self.address = ""
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._response: BoundedResponse | None = None
        self._waiter: asyncio.Future[None] | None = None
        # The fault that ended the connection during an exchange.
        self._end: Exception | None = None
        self._is_permitted = False

    @property
    def is_open(self) -> bool:
        """Whether the connection can be used for another exchange."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(
        self, request: bytes, response: BoundedResponse, permits: asyncio.Semaphore
    ) -> None:
        """Sends a request, and returns when its response is complete.

        The rest of a body beyond 64 KiB is read only with one of the `permits`. After any
        exception, including cancellation, the connection is closed. Raises Broken,
        BadAnswer, Unreachable or OSError. The caller sets the deadline.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            raise Broken
        self._response = response
        self._is_permitted = False
        try:
            transport.write(request)
            await self._wait()
            if not response.is_complete:
                async with permits:
                    self._is_permitted = True
                    if self._transport is not None:
                        transport.resume_reading()
                    if not response.is_complete:
                        await self._wait()
        except BaseException:
            self.abort()
            raise
        finally:
            response.close()
            self._response = self._waiter = self._end = None
        if not response.keeps_alive or response.has_surplus:
            self.abort()

    def abort(self) -> None:
        """Closes the connection immediately. Idempotent."""
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self) -> None:
        if self._end is not None:
            # The connection ended while the exchange waited for a permit.
            raise self._end
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _fail(self, error: Exception) -> None:
        # Of several faults, the first is the cause.
        self._end = self._end or error
        self._wake(error)

    def _wake(self, error: Exception | None = None) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)

    # Callbacks of the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self.address = reached(transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`. Bytes that no request waits for close the connection."""
        response, transport = self._response, self._transport
        if transport is None or transport.is_closing():
            return
        if response is None:
            transport.abort()
            return
        try:
            response.feed(data)
        except ProbeError as error:
            transport.abort()
            self._fail(error)
            return
        if response.is_complete:
            self._wake()
        elif response.body_bytes > _SMALL_BODY_BYTES and not self._is_permitted:
            transport.pause_reading()
            self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._transport = None
        response = self._response
        if response is not None:
            try:
                response.feed_eof()
            except ProbeError as early:
                self._fail(early if response.has_head else _broken(error))
            else:
                self._wake()
        self._on_lost(self)


def _broken(cause: Exception | None) -> Broken:
    broken = Broken()
    broken.__cause__ = cause
    return broken


def reached(transport: asyncio.BaseTransport | None) -> str:
    """The IP address of a connection's peer; "" if it is unknown.

    127.0.0.1 stands for all addresses of this machine, except the rest of 127.0.0.0/8,
    where each address may have another server.
    """
    if transport is None:
        return ""
    peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    if not peer or not own:
        return ""
    host = str(peer[0]).removeprefix("::ffff:")
    if host.startswith("127.") or peer[0] != own[0]:
        return host
    return "127.0.0.1"

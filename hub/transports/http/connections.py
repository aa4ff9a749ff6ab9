"""HTTP connections, bounded in all and per address, and the JSON answer to what is not HTTP.

A connection beyond a bound is not closed at once. It is extra: its one request must come
soon, and is answered only if it is a health check, else refused. So a liveness probe still
gets its answer while strangers hold all connections. If there are too many extra ones, the
oldest makes room, so a stranger cannot hold those either.
"""

import asyncio
import ssl
import sys
from collections import Counter
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final, cast

import orjson
import structlog
from aiohttp import web

from hub.base.address import join_host_port
from hub.base.bounds import (
    HTTP_HEALTH_CONNECTIONS,
    HTTP_HEALTH_HEAD_S,
    HTTP_LINGER_S,
    HTTP_READ_BYTES,
    RETRY_AFTER_MS,
)
from hub.base.settings import HttpSettings, Network
from hub.contract.errors import Overloaded
from hub.service.metrics.calls import Calls
from hub.service.overload.pressure import Level
from hub.service.overload.shedding import Overload
from hub.transports.arrivals import Arrivals
from hub.transports.http.responses import SERVER_NAME, json_response
from hub.transports.listener import HandshakeLimits, Listener, handshake_limits, listening_sockets
from hub.transports.peer import is_trusted, network_of

log = structlog.get_logger()

# How long a connection may take until its first request head is complete.
_HEAD_S: Final = 10.0
# Longer than nginx keeps an idle connection to its upstream (60 s), which must be the
# one that closes: https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive_timeout
_KEEPALIVE_S: Final = 75.0
# A client that reads nothing for this long is cut off, because its replies use memory.
_STALL_S: Final = 30.0


class Connections:
    """Counts the connections in all and by address: an IPv4 address, or an IPv6 /64."""

    def __init__(
        self,
        settings: HttpSettings,
        calls: Calls,
        trusted_proxies: Sequence[Network],
        overload: Overload,
    ) -> None:
        """The bound per address does not apply to trusted proxies, which stand for many."""
        self._overload = overload
        self._most = settings.max_connections
        self._most_per_address = settings.max_connections_per_address
        self._calls = calls
        self._trusted_proxies = trusted_proxies
        self.handshake_limits: HandshakeLimits = handshake_limits(settings.max_connections)
        """For connections whose TLS handshake is not complete, which are not counted here."""
        self._by_address: Counter[str] = Counter()
        self._open = 0
        # Those on which no valid credentials were shown.
        self._strangers: Arrivals[HttpProtocol] = Arrivals(
            per_network=sys.maxsize, in_all=settings.max_connections
        )
        # In the order of arrival.
        self._extra: dict[HttpProtocol, None] = {}

    def enter(self, protocol: "HttpProtocol", address: str) -> bool:
        """Counts one more connection; returns whether it is within the bounds.

        If it is not, it is extra, and may take the place of an older extra one.
        """
        network = network_of(address)
        if self._open >= self._most and not self._make_room(network):
            bound = "connections"
        elif self._by_address[network] >= self._most_per_address and not is_trusted(
            address, self._trusted_proxies
        ):
            bound = "connections_per_address"
        else:
            self._open += 1
            self._by_address[network] += 1
            self._strangers.add(protocol, network)
            return True
        self._calls.turned_away()
        self._calls.refusals.note("http", bound, address)
        if len(self._extra) >= HTTP_HEALTH_CONNECTIONS:
            oldest = next(iter(self._extra))
            del self._extra[oldest]
            oldest.cut()
        self._extra[protocol] = None
        return False

    def note_evicted(self, network: str) -> None:
        """A TLS handshake of that network made room for another one."""
        self._calls.turned_away()
        self._calls.refusals.note("http", "tls_handshakes", network)

    @property
    def are_scarce(self) -> bool:
        """Whether the hub is overloaded, so that new connections must ask soon."""
        return self._overload.level >= Level.CONNECTIONS

    def know(self, protocol: "HttpProtocol") -> None:
        """Valid credentials were shown on the connection: it keeps its place. Idempotent."""
        self._strangers.discard(protocol)

    def _make_room(self, network: str) -> bool:
        """Cuts the oldest stranger of the address with the most, if that has more than this one.

        So a few addresses cannot keep out the clients of others.
        """
        oldest = self._strangers.oldest_of_most()
        if oldest is None:
            return False
        greediest = self._strangers.network(oldest)
        if self._strangers.count(greediest) <= self._by_address[network]:
            return False
        self._calls.turned_away()
        self._calls.refusals.note("http", "connections", greediest)
        oldest.give_way()
        return True

    def leave(self, protocol: "HttpProtocol", address: str) -> None:
        """One that entered has ended."""
        if protocol.admission is Admission.EXTRA:
            self._extra.pop(protocol, None)
            return
        self._strangers.discard(protocol)
        network = network_of(address)
        self._open -= 1
        self._by_address[network] -= 1
        if not self._by_address[network]:
            del self._by_address[network]


def too_many_connections() -> Overloaded:
    """The error for a request on a connection beyond the bounds."""
    return Overloaded("too many connections", retry_after_ms=RETRY_AFTER_MS)


class Admission(Enum):
    """What a connection may do: everything, health checks alone, or nothing any more.

    One that gave way to another has left the counts, and its end is under way.
    """

    WITHIN_BOUNDS = auto()
    EXTRA = auto()
    GAVE_WAY = auto()
    OVER = auto()


class HttpProtocol(web.RequestHandler):
    """One connection of aiohttp's server.

    aiohttp would answer a malformed request in plain text, and log a traceback for
    anything that a stranger sends.
    """

    def __init__(
        self, server: web.Server, loop: asyncio.AbstractEventLoop, connections: Connections
    ) -> None:
        # For aiohttp None means no log, which its types do not allow.
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=_KEEPALIVE_S,
            auto_decompress=False,
            read_bufsize=HTTP_READ_BYTES,
            lingering_time=HTTP_LINGER_S,
            access_log=None,  # type: ignore[arg-type]
        )
        self._connections = connections
        self._address = ""
        self._socket: asyncio.Transport | None = None
        self.admission = Admission.OVER
        self._head_deadline: asyncio.TimerHandle | None = None
        self._stall_check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        # Not `self.transport`, which is None once aiohttp has closed it, though a
        # closed one stays for as long as its buffer is not empty.
        self._socket = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        if self._connections.enter(self, self._address):
            self.admission = Admission.WITHIN_BOUNDS
            head_s = HTTP_HEALTH_HEAD_S if self._connections.are_scarce else _HEAD_S
        else:
            self.admission = Admission.EXTRA
            head_s = HTTP_HEALTH_HEAD_S
        self._head_deadline = self._loop.call_later(head_s, self._require_head)
        self._unsent = 0
        self._watch(self._socket)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        if self.admission is Admission.OVER:
            return
        if self.admission is not Admission.GAVE_WAY:
            self._connections.leave(self, self._address)
        self.admission = Admission.OVER
        if self._head_deadline is not None:
            self._head_deadline.cancel()
        if self._stall_check is not None:
            self._stall_check.cancel()
        super().connection_lost(exc)

    def know(self) -> None:
        """Valid credentials were shown on the connection."""
        self._connections.know(self)

    def give_way(self) -> None:
        """Leaves its place to another connection."""
        self._connections.leave(self, self._address)
        self.admission = Admission.GAVE_WAY
        self.cut()

    def cut(self) -> None:
        """Ends the connection at once: another one needs its place."""
        if self._socket is not None:
            self._socket.abort()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`. The client has read."""
        self._unsent = 0
        super().resume_writing()

    def _watch(self, transport: asyncio.Transport) -> None:
        self._stall_check = self._loop.call_later(_STALL_S, self._check_stall, transport)

    def _check_stall(self, transport: asyncio.Transport) -> None:
        unsent = transport.get_write_buffer_size()
        if self._unsent and unsent >= self._unsent:
            transport.abort()
            return
        self._unsent = unsent
        self._watch(transport)

    def _require_head(self) -> None:
        if not self._request_count:
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """See `RequestHandler`. Ends the connection."""
        if status >= 500:
            log.error("HTTP failed", remote=request.remote, exc_info=exc)
        else:
            log.debug("not HTTP", remote=request.remote, error=message)
        if request.writer.output_size > 0:
            raise ConnectionError("part of the response has already been sent")
        code = "internal" if status >= 500 else "bad_request"
        response = json_response(orjson.dumps({"error": code}), status)
        response.headers["Server"] = SERVER_NAME
        response.force_close()
        return response


class HttpSite(web.BaseSite):
    """The address that the HTTP transport listens at."""

    def __init__(
        self,
        runner: web.AppRunner,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        connections: Connections,
    ) -> None:
        super().__init__(runner, ssl_context=tls)
        self._address = (host, port)
        self._connections = connections
        self._listener: Listener | None = None
        self.port = port
        """The port that it listens on, once it does."""

    @property
    def name(self) -> str:
        """See `BaseSite`."""
        scheme = "https" if self._ssl_context else "http"
        return f"{scheme}://{join_host_port(*self._address)}"

    async def start(self) -> None:
        """See `BaseSite`. Raises OSError."""
        await super().start()
        server = self._runner.server
        assert server is not None
        loop = asyncio.get_running_loop()

        def make_protocol() -> HttpProtocol:
            return HttpProtocol(server, loop, self._connections)

        if self._ssl_context is not None:
            sockets = await listening_sockets(*self._address, self._backlog)
            self._listener = Listener(
                sockets,
                lambda _client: make_protocol(),
                self._connections.handshake_limits,
                tls=self._ssl_context,
                on_evicted=self._connections.note_evicted,
            )
        else:
            opened = await loop.create_server(make_protocol, *self._address, backlog=self._backlog)
            self._server, sockets = opened, list(opened.sockets)
        self.port = int(sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """See `BaseSite`."""
        await super().stop()
        if self._listener is not None:
            self._listener.close()
            await self._listener.wait_closed()

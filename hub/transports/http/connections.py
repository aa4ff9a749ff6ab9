"""HTTP connections: their limits, and the JSON reply to malformed requests."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, cast

import orjson
import structlog
from aiohttp import web

from hub.base.address import join_host_port
from hub.transports.http.responses import json_response

log = structlog.get_logger()

# How long a connection may take until its first request head is complete.
_HEAD_S: Final = 10.0
# Longer than nginx keeps an idle connection to its upstream (60 s), which must be the
# one that closes: https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive_timeout
_KEEPALIVE_S: Final = 75.0
_HANDSHAKE_S: Final = 10.0
# A client that reads nothing for this long is cut off, because its replies use memory.
_STALL_S: Final = 30.0


class Connections:
    """Counts the connections and refuses those beyond the limit."""

    def __init__(self, max_connections: int, on_refused: Callable[[], None]) -> None:
        self._max = max_connections
        self._on_refused = on_refused
        self._open = 0

    def enter(self) -> bool:
        """Counts one more connection and returns True, or False if there is no room."""
        if self._open >= self._max:
            self._on_refused()
            return False
        self._open += 1
        return True

    def leave(self) -> None:
        """Counts one connection less."""
        self._open -= 1


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
            access_log=None,  # type: ignore[arg-type]
        )
        self._connections = connections
        self._entered = False
        self._head_deadline: asyncio.TimerHandle | None = None
        self._stall_check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        if not self._connections.enter():
            cast(asyncio.Transport, transport).abort()
            return
        self._entered = True
        self._head_deadline = self._loop.call_later(_HEAD_S, self._require_head)
        self._unsent = 0
        self._watch(cast(asyncio.Transport, transport))
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        if not self._entered:
            return
        self._entered = False
        self._connections.leave()
        if self._head_deadline is not None:
            self._head_deadline.cancel()
        if self._stall_check is not None:
            self._stall_check.cancel()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`. The client has read."""
        self._unsent = 0
        super().resume_writing()

    def _watch(self, transport: asyncio.Transport) -> None:
        # Not `self.transport`, which is None once aiohttp has closed it, although a closed
        # transport remains until its buffer is empty.
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
        *,
        max_connections: int,
        on_refused: Callable[[], None],
    ) -> None:
        """Calls `on_refused` for each connection beyond `max_connections`."""
        super().__init__(runner, ssl_context=tls)
        self._address = (host, port)
        self._connections = Connections(max_connections, on_refused)

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

        self._server = await loop.create_server(
            make_protocol,
            *self._address,
            ssl=self._ssl_context,
            ssl_handshake_timeout=_HANDSHAKE_S if self._ssl_context else None,
            backlog=self._backlog,
        )

"""HTTP connections, and what is answered to what is not HTTP at all: JSON as everywhere."""

import asyncio
import ssl

import orjson
import structlog
from aiohttp import web

from hub.address import join_host_port
from hub.transports.http_errors import json_response

log = structlog.get_logger()


class HttpProtocol(web.RequestHandler):
    """One connection of aiohttp's server.

    Its own answer to a malformed request is plain text, with a traceback in the
    log for whatever a stranger sends.
    """

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
            raise ConnectionError("a part of the answer is sent already")
        code = "internal" if status >= 500 else "bad_request"
        response = json_response(orjson.dumps({"error": code}), status)
        response.force_close()
        return response


class HttpSite(web.BaseSite):
    """Where the HTTP door listens."""

    def __init__(
        self, runner: web.AppRunner, host: str, port: int, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(runner, ssl_context=tls)
        self._address = (host, port)

    @property
    def name(self) -> str:
        """See `BaseSite`."""
        scheme = "https" if self._ssl_context else "http"
        return f"{scheme}://{join_host_port(*self._address)}"

    async def start(self) -> None:
        """See `BaseSite`. Raises OSError where it cannot listen."""
        await super().start()
        server = self._runner.server
        assert server is not None
        loop = asyncio.get_running_loop()

        def make_protocol() -> HttpProtocol:
            # None is no log to aiohttp, which its types do not say.
            return HttpProtocol(server, loop=loop, access_log=None)  # type: ignore[arg-type]

        self._server = await loop.create_server(
            make_protocol, *self._address, ssl=self._ssl_context, backlog=self._backlog
        )

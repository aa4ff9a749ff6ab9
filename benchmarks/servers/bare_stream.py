"""The floor of WatchRegistry: grpc.aio streams that all write the same bytes on demand.

Argument: a file with the bytes. On each call of /bare/ring, every open stream of
/bare/watch writes them once.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import uvloop

from benchmarks.servers import ready
from hub.transports.grpc.grpc_server import _OPTIONS


class _Bell(grpc.GenericRpcHandler):
    def __init__(self, response: bytes) -> None:
        self._response = response
        self._waiting: set[asyncio.Future[None]] = set()
        self._handlers = {
            "/bare/ring": grpc.unary_unary_rpc_method_handler(self._ring),
            "/bare/watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        return self._handlers.get(handler_call_details.method)

    async def _ring(self, _request: bytes, _context: object) -> bytes:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            future.set_result(None)
        return b""

    async def _watch(self, _request: bytes, _context: object) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        while True:
            yield self._response
            future = loop.create_future()
            self._waiting.add(future)
            try:
                await future
            finally:
                self._waiting.discard(future)


async def _main(response: bytes) -> None:
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((_Bell(response),))
    port = ready.add_port(server)
    await server.start()
    ready.say(port=port)
    await ready.until_stopped()
    await server.stop(0)


uvloop.run(_main(Path(sys.argv[1]).read_bytes()))

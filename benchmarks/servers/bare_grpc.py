"""The floor of the gRPC server: grpc.aio that returns prepared bytes, or writes durably.

Arguments: a file for the durable calls, then files with the answers. A call of
/bare/<n> returns the n-th answer. /bare/durable returns its own request once a
row is on disk, with one SQLite commit for all waiting calls.
"""

import asyncio
import sqlite3
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import uvloop

from benchmarks.servers import ready
from hub.transports.grpc.grpc_server import _OPTIONS

Call = Callable[[bytes, Any], Awaitable[bytes]]


class _Durable:
    def __init__(self, file: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._file = file
        self._loop = loop
        self._queue: SimpleQueue[tuple[bytes, asyncio.Future[None]]] = SimpleQueue()
        threading.Thread(target=self._write, daemon=True).start()

    async def call(self, request: bytes, _context: object) -> bytes:
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.put((request, future))
        await future
        return request

    def _write(self) -> None:
        database = sqlite3.connect(self._file, isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE IF NOT EXISTS rows (value BLOB NOT NULL)")
        while True:
            group = [self._queue.get()]
            while not self._queue.empty():
                group.append(self._queue.get_nowait())
            database.execute("BEGIN")
            database.executemany("INSERT INTO rows VALUES (?)", [(value,) for value, _ in group])
            database.execute("COMMIT")
            self._loop.call_soon_threadsafe(_resolve, [future for _, future in group])


def _resolve(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def _answering(answer: bytes) -> Call:
    async def call(_request: bytes, _context: object) -> bytes:
        return answer

    return call


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, calls: dict[str, Call]) -> None:
        self._handlers = {
            f"/bare/{name}": grpc.unary_unary_rpc_method_handler(call)
            for name, call in calls.items()
        }

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        return self._handlers.get(handler_call_details.method)


async def _main(answers: list[bytes]) -> None:
    durable = _Durable(Path(sys.argv[1]), asyncio.get_running_loop())
    calls = {str(number): _answering(answer) for number, answer in enumerate(answers)}
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((_Handlers({**calls, "durable": durable.call}),))
    port = ready.add_port(server)
    await server.start()
    ready.say(port=port)
    await ready.until_stopped()
    await server.stop(0)


uvloop.run(_main([Path(name).read_bytes() for name in sys.argv[2:]]))

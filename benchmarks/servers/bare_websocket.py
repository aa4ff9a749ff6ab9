"""The floor of the WebSocket server: the bare library, which parses and discards the JSON."""

import orjson
import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from benchmarks.servers import ready

_PONG = '{"type":"pong","timestamp":1795339132121}'


async def _converse(connection: ServerConnection) -> None:
    try:
        async for text in connection:
            if orjson.loads(text)["type"] == "ping":
                await connection.send(_PONG)
    except ConnectionClosed:
        pass


async def _main() -> None:
    ready.prepare()
    # The settings of hub/transports/websocket/.
    async with serve(
        _converse,
        "127.0.0.1",
        0,
        compression=None,
        max_size=65_536,
        max_queue=16,
        open_timeout=10,
        ping_interval=20,
        ping_timeout=20,
        close_timeout=2,
        server_header=None,
    ) as server:
        ready.say(port=next(iter(server.sockets)).getsockname()[1])
        await ready.until_stopped()
        server.close()


uvloop.run(_main())

import asyncio

from tests.support.http2 import RawConnection
from tests.support.waiting import wait_until


async def test_a_server_that_closes_first_leaves_no_error_behind() -> None:
    unretrieved: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, told: unretrieved.append(told["message"]))

    async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        connection = await RawConnection.open(f"{host}:{port}")
        await wait_until(connection._reading.done)
        await connection.close()
        del connection
    assert not unretrieved

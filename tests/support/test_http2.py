import asyncio
import contextlib

import pytest

from tests.support.http2 import END_STREAM, RawConnection
from tests.support.waiting import wait_until

STRANGE_STREAM = 7


@pytest.mark.parametrize(
    ("sent", "raised"),
    [
        (b"", contextlib.nullcontext()),
        (b"\0\0\0", contextlib.nullcontext()),
        (bytes((0, 0, 0, 0, END_STREAM, 0, 0, 0, STRANGE_STREAM)), pytest.raises(KeyError)),
    ],
    ids=["end", "end in a frame", "a stream that was never opened"],
)
async def test_a_server_may_close_first_and_errors_are_raised(
    sent: bytes, raised: contextlib.AbstractContextManager[object]
) -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        connection = await RawConnection.open(f"{host}:{port}")
        await wait_until(connection._reading.done)
        with raised:
            await connection.close()

import asyncio
import socket

import pytest

from hub.base.start_error import StartError
from hub.transports.listening import listen


class Listener:
    """A transport that sends nothing."""

    server: asyncio.Server

    async def start(self, host: str, port: int) -> int:
        self.server = await asyncio.start_server(lambda _r, writer: writer.close(), host, port)
        bound: int = self.server.sockets[0].getsockname()[1]
        return bound


async def test_the_address_has_the_port_that_the_system_picked() -> None:
    listener = Listener()
    host, _, port = (await listen("ws", listener, "127.0.0.1", 0)).rpartition(":")
    assert host == "127.0.0.1"
    _, writer = await asyncio.open_connection(host, int(port))
    writer.close()
    listener.server.close()


async def test_a_port_in_use_names_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError) as refused:
            await listen("grpc", Listener(), "127.0.0.1", port)
    assert str(refused.value) == (
        f"grpc: cannot listen on 127.0.0.1:{port}: Address already in use; stop what listens "
        "there, or name another port: --grpc 127.0.0.1:0 takes a free one"
    )


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(13, "whatever"), "Permission denied"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (OSError("no reason given"), "no reason given"),
    ],
)
async def test_every_other_reason_is_the_systems(error: OSError, why: str) -> None:
    class Shut:
        async def start(self, host: str, port: int) -> int:
            raise error

    with pytest.raises(StartError, match=f"^http: cannot listen on \\[::1\\]:80: {why}$"):
        await listen("http", Shut(), "::1", 80)

import asyncio
import socket
from pathlib import Path

import pytest

from hub.base.clock import SystemClock
from hub.base.load_settings import StartError
from hub.server.hub_server import HubServer
from hub.server.listeners import listen
from tests.support.hub import running_hub, settings_for


async def test_every_transport_listens_at_its_address(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        assert (await hub.http("GET", "/healthz", token="")).status == 200
        assert len((await hub.snapshot()).endpoints) == 0
        async with hub.socket() as socket_:
            assert (await socket_.ask({"type": "ping"}))["error"] == "not_identified"


@pytest.mark.parametrize("transport", ["ws", "grpc", "http"])
async def test_a_port_in_use_closes_the_other_servers(tmp_path: Path, transport: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = settings_for(tmp_path, **{transport: {"address": f"127.0.0.1:{port}"}})
        hub = HubServer(settings, SystemClock())
        with pytest.raises(StartError, match=f"{transport}: cannot listen"):
            await hub.start()
    async with running_hub(tmp_path) as again:
        assert (await again.http("GET", "/readyz", token="")).status == 200


class Listener:
    """A server that sends nothing."""

    server: asyncio.Server

    async def start(self, host: str, port: int) -> int:
        self.server = await asyncio.start_server(lambda _r, writer: writer.close(), host, port)
        bound: int = self.server.sockets[0].getsockname()[1]
        return bound


async def test_the_address_has_the_port_that_the_system_chose() -> None:
    server = Listener()
    host, _, port = (await listen("ws", server, "127.0.0.1", 0)).rpartition(":")
    assert host == "127.0.0.1"
    _, writer = await asyncio.open_connection(host, int(port))
    writer.close()
    server.server.close()


async def test_a_port_in_use_is_reported_with_advice() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError) as refused:
            await listen("grpc", Listener(), "127.0.0.1", port)
    assert str(refused.value) == (
        f"grpc: cannot listen on 127.0.0.1:{port}: Address already in use; stop what listens "
        "there, or choose another port: --grpc 127.0.0.1:0 picks a free one"
    )


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(13, "whatever"), "Permission denied"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (OSError("no reason given"), "no reason given"),
    ],
)
async def test_other_errors_have_the_systems_message(error: OSError, why: str) -> None:
    class Shut:
        async def start(self, host: str, port: int) -> int:
            raise error

    with pytest.raises(StartError, match=f"^http: cannot listen on \\[::1\\]:80: {why}$"):
        await listen("http", Shut(), "::1", 80)

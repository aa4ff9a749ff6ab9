"""Whether a port is a hub's, asked of real hubs and of other programs."""

import asyncio
import socket
import threading
from pathlib import Path

import pytest
from websockets.sync.server import ServerConnection, serve

from hub.base.address import parse_listen_address
from hub.base.tls_files import TlsFiles
from hub.cli.calling.tls import find_tls
from hub.cli.commands.transport_checks import is_a_hubs
from hub.server.hub_server import HubServer
from tests.support.hub import running_hub as hub_in_this_process
from tests.support.hub_process import HubProcess
from tests.support.mutual_tls import mutual_tls_hub


@pytest.mark.parametrize("asked", ["ws", "grpc", "http"])
def test_each_server_is_known_as_itself_alone(hub: HubProcess, asked: str) -> None:
    addresses = {"ws": hub.ws, "grpc": hub.grpc, "http": hub.http}
    known = {
        transport
        for transport, at in addresses.items()
        if is_a_hubs(asked, *parse_listen_address(at))
    }
    assert known == {asked}


@pytest.mark.parametrize("asked", ["ws", "grpc", "http"])
def test_a_program_that_says_nothing_is_no_hub(asked: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert not is_a_hubs(asked, *other.getsockname())


async def test_a_hub_that_is_not_ready_is_a_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HubServer, "_why_not_ready", lambda _hub: "the store does not answer")
    async with hub_in_this_process(tmp_path) as hub:
        assert await asyncio.to_thread(is_a_hubs, "grpc", *parse_listen_address(hub.grpc_address))


def test_servers_that_speak_tls(tmp_path: Path) -> None:
    with mutual_tls_hub(tmp_path) as mutual:
        files = TlsFiles(*map(str, (mutual.own.cert, mutual.client.cert, mutual.client.key)))
        tls = find_tls(files, tls=True)
        addresses = {"ws": mutual.hub.ws, "grpc": mutual.hub.grpc, "http": mutual.hub.http}
        for transport, address in addresses.items():
            place = parse_listen_address(address)
            assert is_a_hubs(transport, *place, context=files.context(), tls=tls)
            assert not is_a_hubs(transport, *place)


def test_a_web_socket_server_of_another_program_is_no_hubs() -> None:
    def echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with serve(echo, "127.0.0.1", 0) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        assert not is_a_hubs("ws", *server.socket.getsockname())
        server.shutdown()
        serving.join()

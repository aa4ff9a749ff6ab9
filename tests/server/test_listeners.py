import socket
from pathlib import Path

import pytest

from hub.base.clock import SystemClock
from hub.base.start_error import StartError
from hub.server.hub_server import HubServer
from tests.support.hub import running_hub, settings_for


async def test_every_transport_listens_where_the_hub_says(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        assert (await hub.http("GET", "/healthz", token="")).status == 200
        assert len((await hub.snapshot()).endpoints) == 0
        async with hub.socket() as socket_:
            assert (await socket_.ask({"type": "ping"}))["error"] == "not_identified"


@pytest.mark.parametrize("transport", ["ws", "grpc", "http"])
async def test_a_taken_port_closes_what_is_open_already(tmp_path: Path, transport: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = settings_for(tmp_path, **{transport: {"address": f"127.0.0.1:{port}"}})
        hub = HubServer(settings, SystemClock())
        with pytest.raises(StartError, match=f"{transport}: cannot listen"):
            await hub.start()
    async with running_hub(tmp_path) as again:
        assert (await again.http("GET", "/readyz", token="")).status == 200

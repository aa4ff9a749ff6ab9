import asyncio
from importlib.util import find_spec
from pathlib import Path

import aiohttp
import pytest

from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.endpoint_pb2 import STATUS_HEALTHY
from tests.scenarios.test_tools import tool
from tests.support.hub import running_hub
from tests.support.waiting import wait_until
from tools.demo_gateway import MODEL, RealServer, running_envoy
from tools.llama_server import write_model

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The model of the demo, which has the name of its file."""
    pytest.importorskip("xllamacpp", reason="the wheel xllamacpp is not installed")
    pytest.importorskip("gguf", reason="the wheel gguf is not installed")
    return write_model(tmp_path / f"{MODEL}.gguf", name=MODEL, reads_text=True)


async def test_chats_are_answered_before_and_after_a_real_server_is_killed(
    tmp_path: Path, model: Path
) -> None:
    tool("envoy")
    servers = [RealServer(name, model) for name in ("one", "two")]
    try:
        started = [await server.start() for server in servers]
        gateway = {"enabled": True, "require_keys": False}
        async with running_hub(tmp_path / "hub", gateway=gateway) as hub:
            for each in started:
                request = RegisterEndpointRequest(host=each.host, port=each.port)
                await hub.call("RegisterEndpoint", request)

            async def are_healthy() -> bool:
                endpoints = (await hub.snapshot()).endpoints
                return [each.status for each in endpoints] == [STATUS_HEALTHY] * 2

            await wait_until(are_healthy)
            async with running_envoy(hub.grpc_address, hub.admin_token) as url:

                async def is_answered() -> bool:
                    return await status(url) == 200

                await wait_until(is_answered)
                await servers[0].kill()
                assert [await status(url) for _ in range(6)] == [200] * 6
                assert await servers[0].start() == started[0]
    finally:
        for server in servers:
            await server.kill()


async def status(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.post(url, json=CHAT) as response:
        await response.read()
        return response.status


async def test_without_envoy_the_reason_is_the_commands_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if find_spec("envoy") is not None:
        pytest.skip("the package of Envoy is installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    async with running_hub(tmp_path / "hub", gateway={"enabled": True}) as hub:
        with pytest.raises(RuntimeError, match="Envoy is not installed"):
            async with running_envoy(hub.grpc_address, hub.admin_token):
                await asyncio.sleep(0)

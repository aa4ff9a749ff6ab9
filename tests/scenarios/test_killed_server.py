"""One of eight servers is killed while many chats stream through a real Envoy."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from benchmarks.process import serving
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.endpoint_pb2 import BACKEND_OPENAI, STATUS_HEALTHY
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.envoy import Gateway, gateway_before
from tests.support.hub import RunningHub, running_hub
from tests.support.waiting import wait_until

_SERVERS, _CALLERS, _CHATS = 8, 96, 4
_PIECES = 12
_EVENT = b"data: "
_CHAT = b'{"messages":[{"role":"user","content":"hello"}],"stream":true,"model":"m"}'


@dataclass
class Chat:
    """One chat: who answered it, the events of the answer, and whether the answer is whole."""

    status: int = 0
    served_by: int = 0
    events: int = 0
    whole: bool = False


async def chat(gateway: Gateway, token: str, chats: list[Chat]) -> None:
    one = Chat()
    chats.append(one)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    url = gateway.url("/v1/chat/completions")
    try:
        async with gateway.session.post(url, data=_CHAT, headers=headers) as response:
            one.status = response.status
            one.served_by = int(response.headers.get("x-served-by", 0))
            async for line in response.content:
                one.events += line.startswith(_EVENT)
            one.whole = one.status == 200 and one.events == _PIECES
    except aiohttp.ClientError:
        pass


async def register(hub: RunningHub, ports: Sequence[int]) -> None:
    for port in ports:
        request = RegisterEndpointRequest(host="127.0.0.1", port=port, backend=BACKEND_OPENAI)
        await hub.call("RegisterEndpoint", request)

    async def are_healthy() -> bool:
        endpoints = (await hub.snapshot()).endpoints
        return sum(
            each.status == STATUS_HEALTHY and len(each.models) == 1 for each in endpoints
        ) == len(ports)

    await wait_until(are_healthy)


async def all_get_chats(gateway: Gateway, token: str, ports: Sequence[int]) -> None:
    """Waits until Envoy knows every server, which it learns from the hub."""
    seen: set[int] = set()

    async def is_seen() -> bool:
        chats: list[Chat] = []
        await asyncio.gather(*(chat(gateway, token, chats) for _ in range(2 * _SERVERS)))
        seen.update(each.served_by for each in chats)
        return set(ports) <= seen

    await wait_until(is_seen)


@pytest.mark.usefixtures("grpc_engine")
async def test_a_killed_server_costs_only_the_answers_that_it_had_begun(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(
                serving("upstream", "127.0.0.1:0", str(_PIECES), "0.05", "0.01")
            )
            for _ in range(_SERVERS)
        ]
        ports = [server.ready["port"] for server in servers]
        hub = await stack.enter_async_context(
            running_hub(tmp_path / "hub", gateway={"enabled": True})
        )
        gateway = await stack.enter_async_context(gateway_before(hub, tmp_path))
        await register(hub, ports)
        token = await hub.token(ROLE_READER)
        await all_get_chats(gateway, token, ports)
        chats: list[Chat] = []
        half = asyncio.Event()

        async def call() -> None:
            for _ in range(_CHATS):
                if len(chats) >= _CALLERS * _CHATS // 2:
                    half.set()
                await chat(gateway, token, chats)

        async def kill() -> int:
            await half.wait()
            os.kill(servers[0].pid, signal.SIGKILL)
            return sum(not each.whole for each in chats)

        in_flight, *_ = await asyncio.gather(kill(), *(call() for _ in range(_CALLERS)))
    assert len(chats) == _CALLERS * _CHATS
    lost = [each for each in chats if not each.whole]
    # A chat that had no byte yet got its answer from another server. One whose answer had
    # begun, but was still in Envoy, gets 502.
    assert [each for each in lost if each.status not in (200, 502)] == []
    assert {each.served_by for each in lost if each.status == 200} <= {ports[0]}
    assert len(lost) <= in_flight
    after = chats[-_CALLERS:]
    assert all(each.whole and each.served_by != ports[0] for each in after)

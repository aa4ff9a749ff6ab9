"""One of eight servers is killed under 200 streamed chats per second, through a real Envoy."""

import asyncio
import json
import signal
from contextlib import AsyncExitStack

from benchmarks import envoy, hubs
from benchmarks.process import serving
from benchmarks.raw_http import Streams, chat_request
from benchmarks.rows import Row, at_most

_SERVERS, _RATE = 8, 200.0
# An answer begins after 100 ms and takes 300 ms, so that 60 are under way.
_PIECES, _FIRST_S, _PAUSE_S = 20, "0.1", "0.01"
_SETTLED_S = 2.0


async def run(*, quick: bool) -> list[Row]:
    """Counts the answers that were lost; no rows without Envoy."""
    if envoy.program() is None:
        print("killed_server: envoy is not on PATH, so its suite is left out")
        return []
    count = 800 if quick else 3_000
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(
                serving("upstream", "127.0.0.1:0", str(_PIECES), _FIRST_S, _PAUSE_S)
            )
            for _ in range(_SERVERS)
        ]
        addresses = [f"127.0.0.1:{server.ready['port']}" for server in servers]
        hub = await stack.enter_async_context(
            hubs.running_hub(addresses=addresses, settings={"LLM_HUB_GATEWAY__ENABLED": "true"})
        )
        token = hub.fleet.admin_token
        running = await stack.enter_async_context(
            envoy.running_envoy(envoy.with_hub(hub.grpc_port, token))
        )
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": True, "model": "m"}
        encoded = json.dumps(body, separators=(",", ":")).encode()
        request = chat_request("llm.test", "/v1/chat/completions", encoded, token)
        await _until_served(running.port, request)
        streams = Streams(running.port, request)
        sending = asyncio.create_task(streams.run(count, _RATE))
        await asyncio.sleep(count / _RATE / 2)
        servers[0].kill(signal.SIGKILL)
        in_flight = sum(not answer.whole for answer in streams.answers)
        await sending
    lost = [answer for answer in streams.answers if not answer.whole]
    work = f"{count:,} chats, {_RATE:g}/s, 1 of {_SERVERS} servers killed"
    return [
        Row(
            work=f"{work}: failed without a byte",
            unit="chats",
            subject=sum(not answer.began for answer in lost),
            budget=at_most(0),
        ),
        Row(
            work=f"{work}: cut off (floor: in flight in all, an eighth of them on it)",
            unit="chats",
            subject=sum(answer.began for answer in lost),
            floor=in_flight,
        ),
    ]


async def _until_served(port: int, request: bytes) -> None:
    """Waits until the hub has probed the servers, and Envoy knows them."""
    async with asyncio.timeout(60):
        while True:
            streams = Streams(port, request)
            await streams.run(4 * _SERVERS, _RATE)
            if all(answer.whole for answer in streams.answers):
                await asyncio.sleep(_SETTLED_S)
                return

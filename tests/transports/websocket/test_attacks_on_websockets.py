"""Floods over real sockets, with honest callers beside them whose answers keep coming.

What is compared are counts: of what the hub did for the strangers while the honest callers
got their answers. Times would depend on the machine.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from llmhub.v1.resources_pb2 import ROLE_SIDECAR
from tests.support.hub import REGISTRY_PATH, RunningHub, running_hub
from tests.support.raw_websocket import PING, TEXT, identified, opened, tcp
from tests.support.waiting import wait_until
from tests.support.websocket_fuzz import HANDSHAKE, frame

STRANGERS = 20
REPORT = frame(TEXT, b'{"type":"resource_report","ram_used_bytes":1}')
A_PING = frame(TEXT, b'{"type":"ping"}')


async def _over_http(hub: RunningHub) -> None:
    assert (await hub.http("GET", REGISTRY_PATH)).status == 200


async def _over_grpc(hub: RunningHub) -> None:
    await hub.snapshot()


HONEST = pytest.mark.parametrize("honest", [_over_http, _over_grpc], ids=["http", "grpc"])
Honest = Callable[[RunningHub], Awaitable[None]]


def handled(hub: RunningHub) -> int:
    """The frames of a known type that WebSockets brought."""
    return sum(hub.hub._observability.traffic.frames["ws"].values())


@HONEST
async def test_strangers_who_do_not_identify_get_ten_answers_each(hub, honest: Honest):
    async with AsyncExitStack() as stack:
        strangers = [await stack.enter_async_context(opened(hub)) for _ in range(STRANGERS)]
        for stranger in strangers:
            stranger.fill(A_PING * 5_000)
        for _ in range(10):
            await honest(hub)
        for stranger in strangers:
            received = await stranger.read_all()
            assert received.count(b"not_identified") == 10
            assert b"\x03\xf0too many validation errors" in received
    assert handled(hub) == STRANGERS * 10


@HONEST
async def test_a_connection_has_its_share_of_a_turn_and_no_more(tmp_path, honest: Honest):
    """Sidecars that send as fast as they can; no rate limit keeps them from it."""
    async with running_hub(tmp_path, rate_limits={"enabled": False}) as hub, AsyncExitStack() as s:
        floods = []
        for number in range(STRANGERS):
            token = await hub.token(ROLE_SIDECAR, f"node-{number}")
            flood = identified(hub, f"node-{number}", token)
            floods.append(await s.enter_async_context(flood))
        before = handled(hub)
        await honest(hub)
        sent = sum(flood.fill(REPORT * 2_500) for flood in floods) // len(REPORT)
        assert sent > 20_000
        for _ in range(2):
            await honest(hub)
        # Each answer takes some turns, in which each connection has sixteen frames.
        assert handled(hub) - before < sent / 2
        await wait_until(lambda: handled(hub) - before >= sent - STRANGERS)


@HONEST
async def test_a_flood_over_the_rate_limit_is_not_even_read(hub, honest: Honest):
    token = await hub.token(ROLE_SIDECAR, "node-1")
    async with identified(hub, "node-1", token) as flood:
        before = handled(hub)
        sent = flood.fill(A_PING * 20_000) // len(A_PING)
        for _ in range(20):
            await honest(hub)
        # 120 pings, 1,000 that are refused, and 21 for each of at most ten pauses.
        assert handled(hub) - before < 1_350 < sent


@HONEST
async def test_a_flood_of_control_frames_is_not_even_read(hub, honest: Honest):
    async with opened(hub) as flood:
        sent = flood.fill(frame(PING, b"x") * 20_000) // 7
        for _ in range(20):
            await honest(hub)
        await flood.read_until(b"\x8a\x01x" * 100)
        assert flood.received.count(b"\x8a") < 1_000 < sent


async def test_empty_fragments_are_control_frames_too(hub):
    async with opened(hub) as flood, opened(hub) as honest:
        flood.fill(frame(TEXT, b"", fin=False) + frame(0, b"", fin=False) * 3_000)
        await honest.send(frame(PING, b"x"))
        await honest.read_until(b"\x8a\x01x")
        connections = hub.hub._listeners._websocket._shared.connections
        await wait_until(lambda: any(each._holds for each in connections))
        fragments = max(each._connection._fragments for each in connections)
        assert fragments < 1_000


async def test_handshakes_that_are_never_finished_have_a_bound(hub):
    async with AsyncExitStack() as stack:
        connections = hub.hub._listeners._websocket._shared.connections
        for _ in range(256):
            await stack.enter_async_context(tcp(hub))
        await wait_until(lambda: len(connections) == 256)
        async with tcp(hub) as late:
            assert (await late.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: 5" in late.received
        # Callers of the other transports do not notice.
        await asyncio.gather(_over_http(hub), _over_grpc(hub))
    await wait_until(lambda: not connections)
    async with hub.socket() as again:
        assert (await again.ask({"type": "ping"}))["error"] == "not_identified"


async def test_frames_behind_the_handshake_have_their_share_too(hub):
    """They arrive in one piece with the request, before the hub knows of anyone."""
    async with AsyncExitStack() as stack:
        strangers = [await stack.enter_async_context(tcp(hub)) for _ in range(STRANGERS)]
        for stranger in strangers:
            stranger.fill(HANDSHAKE + frame(PING, b"x") * 5_000)
        for _ in range(5):
            await _over_http(hub)
        for stranger in strangers:
            await stranger.read_until(b"\x8a\x01x")
            assert stranger.received.count(b"\x8a\x01x") < 1_000

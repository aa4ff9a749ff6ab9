"""Many sidecars that reconnect at once after the hub was killed."""

import asyncio
import socket
import time
from pathlib import Path

from benchmarks import ws_client
from benchmarks.fleet import store_fleet
from benchmarks.machine import raise_open_files
from llmhub.v1.endpoint_pb2 import STATUS_HEALTHY, STATUS_UNHEALTHY
from tests.support.hub import HubClient, hub_process
from tests.support.waiting import wait_until
from tests.torture.outcome import Row, Scale, settings_file
from tools.fleetsim import FakeOllama, Fleet

_SERVERS = 50
_INTERVAL_S = 2.0
_IN_FLIGHT = 32
_ATTEMPTS = 20
_RETRY_S = 2.0


async def run(scale: Scale, directory: Path) -> list[Row]:
    """Connects sidecars, kills the hub, and lets all of them return at the same moment."""
    raise_open_files()
    config = settings_file(directory, probes={"interval_s": _INTERVAL_S})
    data = directory / "data"
    async with Fleet() as servers:
        addresses = [(await servers.add(FakeOllama("m"))).id for _ in range(_SERVERS)]
        fleet = await store_fleet(data, agents=scale.sidecars, addresses=addresses)
        (data / "admin.token").write_text(fleet.admin_token + "\n")
        identifies = [ws_client.identify_frame(*agent) for agent in fleet.agents]
        async with hub_process(data, "--config", config) as process:
            connections, _ = await _connect(process.addresses["ws"], identifies)
            async with process.client() as hub:
                await wait_until(lambda: _is_whole(hub))
                # Long enough for the observations to be saved.
                await asyncio.sleep(_INTERVAL_S)
            await process.kill()
            ws_client.close(connections)
            await process.start()
            async with process.client() as hub:
                started = time.perf_counter()
                seen = [0]
                watching = asyncio.ensure_future(_note_unhealthy(hub, seen))
                connections, late = await _connect(process.addresses["ws"], identifies)
                took_s = time.perf_counter() - started
                await wait_until(lambda: _is_whole(hub))
                await asyncio.sleep(2 * _INTERVAL_S)
                watching.cancel()
                unhealthy = max(seen)
            ws_client.close(connections)
    gone = scale.sidecars - len(connections)
    return [
        Row(
            torture="every sidecar reconnects after kill -9",
            times=1,
            checked=f"{scale.sidecars:,} sidecars, {_SERVERS} healthy servers",
            lost=gone + unhealthy,
            seen=f"all are back in {took_s:.1f} s; {late} attempts refused, {gone} for good;"
            f" {unhealthy} false UNHEALTHY",
        )
    ]


async def _connect(address: str, identifies: list[bytes]) -> tuple[list[socket.socket], int]:
    """Connects all, and those that are refused again, as sidecars do.

    Returns the connections, and how many attempts were refused.
    """
    port = int(address.rpartition(":")[2])
    waiting = iter(identifies)
    opened: list[socket.socket] = []
    refused = 0

    async def work() -> None:
        nonlocal refused
        for identify in waiting:
            for _ in range(_ATTEMPTS):
                try:
                    opened.append(await ws_client.connect(port, identify))
                    break
                except ConnectionError:
                    refused += 1
                    await asyncio.sleep(_RETRY_S)

    await asyncio.gather(*(work() for _ in range(_IN_FLIGHT)))
    return opened, refused


async def _is_whole(hub: HubClient) -> bool:
    return await _count(hub, STATUS_HEALTHY) == _SERVERS


async def _count(hub: HubClient, status: int) -> int:
    return sum(each.status == status for each in (await hub.snapshot()).endpoints)


async def _note_unhealthy(hub: HubClient, seen: list[int]) -> None:
    while True:
        seen.append(await _count(hub, STATUS_UNHEALTHY))
        await asyncio.sleep(0.1)

"""Lists while endpoints hang: waiting probes must not delay callers."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator

from benchmarks import hubs
from benchmarks.rows import Row, at_most, ratio
from benchmarks.sampling import percentile
from hub.contract.rpcs import rpc
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.registry_service_pb2 import ListEndpointsRequest

_HANGING, _LIVE = 20, 100
# The hub probes every endpoint continuously, so that some probe always hangs.
_SETTINGS = {"LLM_HUB_PROBES__INTERVAL_S": "1"}


async def run(*, quick: bool) -> list[Row]:
    """Measures failed calls and the p99 of lists."""
    calls = 500 if quick else 4000
    async with _simulated("ok", _LIVE) as live, _simulated("hanging", _HANGING) as hanging:
        idle, idle_failed = await _lists(live, calls)
        busy, failed = await _lists(live + hanging, calls)
    if idle_failed:
        raise RuntimeError(f"{idle_failed} lists failed without any endpoint that hangs")
    work = f"{_HANGING} hanging endpoints, list of {_LIVE}"
    return [
        Row(
            work=f"{work}: failed of {calls:,}",
            unit="calls",
            subject=failed,
            budget=at_most(0),
            earlier="440 of 499",
        ),
        Row(
            work=f"{work}, p99 (floor: none hangs)",
            unit="ms",
            subject=busy,
            floor=idle,
            budget=ratio(3),
            earlier="5,000",
        ),
    ]


async def _lists(servers: list[str], calls: int) -> tuple[float, int]:
    """The p99 in milliseconds and the number of failed calls of a hub with these endpoints."""
    async with hubs.running_hub(settings=_SETTINGS) as hub, hubs.channel(hub.grpc_port) as channel:
        register = channel.unary_unary(rpc("RegisterEndpoint").path)
        for server in servers:
            host, _, port = server.rpartition(":")
            request = RegisterEndpointRequest(host=host, port=int(port))
            await register(request.SerializeToString(), metadata=hub.metadata, timeout=10)
        await asyncio.sleep(2)
        call = channel.unary_unary(rpc("ListEndpoints").path)
        wanted = ListEndpointsRequest(page_size=_LIVE).SerializeToString()
        times, failed = [], 0
        for _ in range(calls):
            sent = time.perf_counter()
            try:
                await call(wanted, metadata=hub.metadata, timeout=5)
            except Exception:  # whatever the error, the caller got no answer
                failed += 1
            times.append((time.perf_counter() - sent) * 1e3)
            await asyncio.sleep(0.001)
    return percentile(times, 0.99), failed


@contextlib.asynccontextmanager
async def _simulated(behaviour: str, count: int) -> AsyncIterator[list[str]]:
    """Runs fake servers in a separate process; yields their addresses."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tools.fleetsim", "--behaviour", behaviour, "--count", str(count)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        servers = []
        async with asyncio.timeout(20):
            while (line := (await process.stdout.readline()).decode().strip()) != "ready":
                if not line:
                    raise RuntimeError("the simulated servers did not start")
                servers.append(line.split()[0])
        yield servers
    finally:
        process.terminate()
        await process.wait()

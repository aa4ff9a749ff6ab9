"""10,000 endpoints probed every 30 s: CPU, memory, latency of requests, lateness of probes.

The fleet runs in a separate process (`tools.fleetsim`); the hub is the complete
hub. The latency of requests is compared with a hub that probes nothing.
"""

import asyncio
import tempfile
import time
from collections.abc import Sequence

import grpc

from benchmarks import hubs
from benchmarks.process import serving
from benchmarks.rows import Row, at_most, ratio
from benchmarks.sampling import percentile
from benchmarks.simulated_servers import simulated_servers
from llmhub.v1.endpoint_pb2 import STATUS_HEALTHY
from llmhub.v1.registry_service_pb2 import ListEndpointsRequest
from llmhub.v1.registry_service_pb2_grpc import RegistryServiceStub

_COUNT = 10_000
_INTERVAL_S = 30.0
_REQUESTS_PER_S = 20
_MIB = 1024 * 1024


async def run(*, quick: bool) -> list[Row]:
    """Measures a fleet that answers, and one in which half of the servers hang."""
    seconds = 20.0 if quick else 60.0
    async with (
        hubs.running_hub(endpoints=_COUNT, models=5) as hub,
        hubs.channel(hub.grpc_port) as channel,
    ):
        idle = await _requests(channel, hub, seconds)
    floor_us = await _floor(seconds)
    return [
        *await _probed(("ok",), idle, floor_us, seconds),
        *await _probed(("ok", "hanging"), idle, None, seconds),
    ]


async def _floor(seconds: float) -> float:
    """The CPU microseconds of one probe's requests, without a hub."""
    async with simulated_servers(_COUNT, ("ok",)) as addresses:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("\n".join(addresses))
            file.flush()
            async with serving("bare_client", file.name, str(_INTERVAL_S)) as client:
                await asyncio.sleep(_INTERVAL_S * 1.2)
                asked, cpu_s = await client.ask(), client.cpu_s
                await asyncio.sleep(seconds)
                probes = (await client.ask())["probes"] - asked["probes"]
                return (client.cpu_s - cpu_s) / probes * 1e6


async def _probed(
    behaviours: Sequence[str], idle: list[float], floor_us: float | None, seconds: float
) -> list[Row]:
    name = "10,000 endpoints every 30 s"
    if "hanging" in behaviours:
        name += ", half hanging"
    healthy = behaviours.count("ok") * _COUNT // len(behaviours)
    async with (
        simulated_servers(_COUNT, behaviours) as addresses,
        hubs.running_hub(
            addresses=addresses, settings={"LLM_HUB_PROBES__INTERVAL_S": str(_INTERVAL_S)}
        ) as hub,
        hubs.channel(hub.grpc_port) as channel,
    ):
        # After a little more than two intervals, every status is known and the hanging
        # endpoints are unhealthy. A fleet that answers takes one interval.
        await asyncio.sleep(_INTERVAL_S * (2.4 if "hanging" in behaviours else 1.2))
        counted, cpu_s, started = await hub.process.ask(), hub.process.cpu_s, time.monotonic()
        await asyncio.sleep(seconds)
        elapsed_s, used_s = time.monotonic() - started, hub.process.cpu_s - cpu_s
        probes = (await hub.process.ask())["probes"] - counted["probes"]
        resident = hub.process.resident_bytes / _MIB
        busy = await _requests(channel, hub, seconds)
        late_s = (await hub.process.ask())["worst_lateness_ms"] / 1000
        found = await _healthy(channel, hub)
        if found != healthy:
            raise RuntimeError(f"{found} endpoints are healthy, expected {healthy}")
    share = used_s / elapsed_s * 100
    return [
        Row(work=name, unit="% of a core", subject=share, budget=at_most(35)),
        Row(
            work=f"{name}: one probe (floor: its requests)",
            unit="µs CPU",
            subject=used_s / probes * 1e6,
            floor=floor_us,
        ),
        Row(work=f"{name}: resident", unit="MiB", subject=resident, budget=at_most(400)),
        Row(work=f"{name}: worst lateness", unit="s", subject=late_s, budget=at_most(3)),
        *(
            Row(
                work=f"{name}: ListEndpoints of 100, {label} (floor: no probes)",
                unit="ms",
                subject=percentile(busy, point),
                floor=percentile(idle, point),
                budget=budget,
            )
            for label, point, budget in (("p50", 0.5, None), ("p99", 0.99, ratio(3)))
        ),
    ]


async def _requests(channel: grpc.aio.Channel, hub: hubs.RunningHub, seconds: float) -> list[float]:
    """The latency in milliseconds of pages of 100, requested at a steady pace."""
    stub = RegistryServiceStub(channel)
    request = ListEndpointsRequest(page_size=100)
    taken = []
    due = time.perf_counter()
    ends = due + seconds
    while due < ends:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        sent = time.perf_counter()
        reply = await stub.ListEndpoints(request, metadata=hub.metadata)
        taken.append((time.perf_counter() - sent) * 1000)
        if len(reply.endpoints) != 100:
            raise RuntimeError(f"a page of {len(reply.endpoints)} endpoints")
        due = max(due + 1 / _REQUESTS_PER_S, time.perf_counter())
    return taken


async def _healthy(channel: grpc.aio.Channel, hub: hubs.RunningHub) -> int:
    stub = RegistryServiceStub(channel)
    request = ListEndpointsRequest(page_size=1000, status=STATUS_HEALTHY)
    count = 0
    while True:
        reply = await stub.ListEndpoints(request, metadata=hub.metadata)
        count += len(reply.endpoints)
        if not reply.next_page_token:
            return count
        request.page_token = reply.next_page_token

"""The load of services: a change sent to 1,000 watchers, selections, the local copy."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc

from benchmarks import hubs
from benchmarks.process import ServerProcess, serving
from benchmarks.rows import Row, at_most, ratio
from benchmarks.sampling import Sample, in_turn, percentile
from hub.client import AsyncHub
from hub.contract.rpcs import rpc
from llmhub.v1.admin_service_pb2 import UpdateEndpointRequest
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.registry_service_pb2 import SelectEndpointRequest, WatchRegistryRequest

_WATCHERS, _CONNECTIONS = 1000, 10
_ENDPOINTS, _MODELS = 1000, 5
_CALLERS = 8
_MODEL = "qwen3:8b"
# Longer than a measurement, so that no progress marks are sent during it.
_QUIET_S = 300


async def run(*, quick: bool) -> list[Row]:
    """Measures the CPU per watcher, per selection and per selection from the local copy."""
    return [
        *await _watching(rounds=3 if quick else 7, changes=5 if quick else 20),
        *await _selecting(rounds=3 if quick else 7, calls=1500 if quick else 4000),
    ]


class _Watchers:
    """Open streams, and the time at which each of them received its last response."""

    def __init__(self) -> None:
        self.left = 0
        self.received: list[float] = []
        self.all_received = asyncio.Event()

    def expect(self) -> None:
        self.left = _WATCHERS
        self.received.clear()
        self.all_received.clear()

    async def read(self, call: "grpc.aio.UnaryStreamCall[bytes, bytes]") -> None:
        async for _ in call:
            self.received.append(time.perf_counter())
            self.left -= 1
            if not self.left:
                self.all_received.set()


@contextlib.asynccontextmanager
async def _streams(
    port: int, path: str, request: bytes, metadata: tuple[tuple[str, str], ...]
) -> AsyncIterator[_Watchers]:
    """Opens 1,000 streams over a few connections; yields after the first response of each."""
    watchers = _Watchers()
    watchers.expect()
    async with contextlib.AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(hubs.channel(port)) for _ in range(_CONNECTIONS)
        ]
        calls = [
            channels[number % _CONNECTIONS].unary_stream(path)(request, metadata=metadata)
            for number in range(_WATCHERS)
        ]
        tasks = [asyncio.create_task(watchers.read(call)) for call in calls]
        async with asyncio.timeout(120):
            await watchers.all_received.wait()
        yield watchers
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _watching(rounds: int, changes: int) -> list[Row]:
    async with hubs.running_hub(endpoints=1, models=_MODELS) as hub:
        (id_,) = hub.fleet.endpoint_ids
        watch = WatchRegistryRequest()
        watch.progress_interval.FromSeconds(_QUIET_S)
        path, encoded = rpc("WatchRegistry").path, watch.SerializeToString()
        with tempfile.NamedTemporaryFile(prefix="llm-hub-bench-") as file:
            async with hubs.channel(hub.grpc_port) as to_hub:
                call = to_hub.unary_stream(path)(encoded, metadata=hub.metadata)
                file.write(await call.read())
                file.flush()
                call.cancel()
                async with (
                    serving("bare_stream", file.name) as floor,
                    hubs.channel(floor.ready["port"]) as to_floor,
                    _streams(hub.grpc_port, path, encoded, hub.metadata) as of_hub,
                    _streams(floor.ready["port"], "/bare/watch", b"", ()) as of_floor,
                ):
                    update = to_hub.unary_unary(rpc("UpdateEndpoint").path)
                    ring = to_floor.unary_unary("/bare/ring")

                    async def change(number: int) -> None:
                        endpoint = Endpoint(id=id_, name=f"change {time.time_ns()} {number}")
                        request = UpdateEndpointRequest(endpoint=endpoint)
                        await update(request.SerializeToString(), metadata=hub.metadata)

                    async def rung(_number: int) -> None:
                        await ring(b"")

                    taken = await in_turn(
                        rounds,
                        hub=_sending(hub.process, of_hub, change, changes),
                        floor=_sending(floor, of_floor, rung, changes),
                    )
    work = f"a change sent to {_WATCHERS:,} watchers"
    return [
        Row(
            work=work,
            unit="µs CPU/watcher",
            subject=taken["hub"]["cpu_us"],
            floor=taken["floor"]["cpu_us"],
            budget=at_most(40),
        ),
        Row(
            work=f"{work}, p99",
            unit="ms",
            subject=taken["hub"]["p99_ms"],
            floor=taken["floor"]["p99_ms"],
            budget=at_most(250),
        ),
    ]


def _sending(
    server: ServerProcess,
    watchers: _Watchers,
    change: Callable[[int], Awaitable[None]],
    changes: int,
) -> Callable[[], Awaitable[Sample]]:
    async def take() -> Sample:
        before, delays = server.cpu_s, []
        for number in range(changes):
            watchers.expect()
            started = time.perf_counter()
            await change(number)
            async with asyncio.timeout(60):
                await watchers.all_received.wait()
            delays += [(received - started) * 1e3 for received in watchers.received]
        cpu_s = server.cpu_s - before
        return {
            "cpu_us": cpu_s / (changes * _WATCHERS) * 1e6,
            "p99_ms": percentile(delays, 0.99),
        }

    return take


async def _selecting(rounds: int, calls: int) -> list[Row]:
    async with hubs.running_hub(endpoints=_ENDPOINTS, models=_MODELS) as hub:
        request = SelectEndpointRequest(model=_MODEL).SerializeToString()
        path = rpc("SelectEndpoint").path
        with tempfile.TemporaryDirectory(prefix="llm-hub-bench-") as name:
            file = Path(name) / "selection"
            async with hubs.channel(hub.grpc_port) as to_hub:
                select = to_hub.unary_unary(path)
                file.write_bytes(await select(request, metadata=hub.metadata, timeout=60))
                async with (
                    serving("bare_grpc", str(Path(name) / "rows"), str(file)) as floor,
                    hubs.channel(floor.ready["port"]) as to_floor,
                ):
                    bare = to_floor.unary_unary("/bare/0")

                    async def of_hub() -> None:
                        await select(request, metadata=hub.metadata, timeout=60)

                    async def of_floor() -> None:
                        await bare(request, metadata=hub.metadata, timeout=60)

                    taken = await in_turn(
                        rounds,
                        hub=_calling(hub.process, of_hub, calls),
                        floor=_calling(floor, of_floor, calls),
                    )
        copy_us = await _selecting_locally(hub)
    work = f"over {_ENDPOINTS:,} endpoints of {_MODELS} models"
    return [
        Row(
            work=f"SelectEndpoint {work}, {_CALLERS} callers",
            unit="µs CPU/call",
            subject=taken["hub"]["cpu_us"],
            floor=taken["floor"]["cpu_us"],
            budget=ratio(1.5),
        ),
        Row(
            work=f"FleetCache.select {work}",
            unit="µs CPU/call",
            subject=copy_us,
            budget=at_most(50),
        ),
    ]


def _calling(
    server: ServerProcess, call: Callable[[], Awaitable[None]], count: int
) -> Callable[[], Awaitable[Sample]]:
    async def take() -> Sample:
        left = iter(range(count))

        async def caller() -> None:
            for _ in left:
                await call()

        before = server.cpu_s
        await asyncio.gather(*(caller() for _ in range(_CALLERS)))
        return {"cpu_us": (server.cpu_s - before) / count * 1e6}

    return take


async def _selecting_locally(hub: hubs.RunningHub, calls: int = 5000) -> float:
    address = f"127.0.0.1:{hub.grpc_port}"
    async with AsyncHub(address, hub.fleet.admin_token) as client, client.fleet_cache() as fleet:
        fleet.select(_MODEL)
        before = time.process_time()
        for _ in range(calls):
            fleet.select(_MODEL)
        return (time.process_time() - before) / calls * 1e6

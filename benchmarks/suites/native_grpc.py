"""The hub's own gRPC server, alone and below the hub, compared with bare grpc.aio."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc

from benchmarks import hubs
from benchmarks.process import ServerProcess, serving
from benchmarks.rows import Row, at_most
from benchmarks.sampling import Sample, in_turn
from hub.contract.rpcs import rpc
from llmhub.v1.registry_service_pb2 import GetEndpointRequest

_ENDPOINTS, _MODELS = 1000, 5
_CALLERS = 8
_BUDGET_US = 18


async def run(*, quick: bool) -> list[Row]:
    """Measures the CPU per call: an echo of the same bytes, and `GetEndpoint`."""
    rounds, count = (2, 2_000) if quick else (7, 8_000)
    settings = {"LLM_HUB_GRPC__ENGINE": "native"}
    async with hubs.running_hub(endpoints=_ENDPOINTS, models=_MODELS, settings=settings) as hub:
        path = rpc("GetEndpoint").path
        request = GetEndpointRequest(id=hub.fleet.endpoint_ids[500]).SerializeToString()
        with tempfile.TemporaryDirectory(prefix="llm-hub-bench-") as name:
            file = Path(name) / "answer"
            async with hubs.channel(hub.grpc_port) as to_hub:
                call = to_hub.unary_unary(path)
                file.write_bytes(await call(request, metadata=hub.metadata))
                async with (
                    serving("bare_native", str(file)) as bare,
                    serving("bare_grpc", str(Path(name) / "rows"), str(file)) as floor,
                    hubs.channel(bare.ready["port"]) as to_bare,
                    hubs.channel(floor.ready["port"]) as to_floor,
                ):
                    taken = await in_turn(
                        rounds,
                        hub=_calling(hub.process, to_hub, path, request, hub.metadata, count),
                        bare=_calling(bare, to_bare, "/bare/0", request, (), count),
                        floor=_calling(floor, to_floor, "/bare/0", request, (), count),
                    )
    floor_us = taken["floor"]["cpu_us"]
    return [
        Row(
            work=f"{work}, {_CALLERS} callers",
            unit="µs CPU/call",
            subject=taken[subject]["cpu_us"],
            floor=floor_us,
            budget=at_most(_BUDGET_US),
        )
        for work, subject in (
            ("echo, native server alone", "bare"),
            ("GetEndpoint, native engine", "hub"),
        )
    ]


def _calling(
    server: ServerProcess,
    channel: grpc.aio.Channel,
    path: str,
    request: bytes,
    metadata: tuple[tuple[str, str], ...],
    count: int,
) -> Callable[[], Awaitable[Sample]]:
    async def take() -> Sample:
        left = iter(range(count))
        call = channel.unary_unary(path)

        async def caller() -> None:
            for _ in left:
                await call(request, metadata=metadata, timeout=60)

        before = server.cpu_s
        await asyncio.gather(*(caller() for _ in range(_CALLERS)))
        return {"cpu_us": (server.cpu_s - before) / count * 1e6}

    return take

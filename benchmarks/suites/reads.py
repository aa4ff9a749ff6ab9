"""Reads over gRPC and HTTP, compared with echoes of the same bytes."""

import asyncio
import http.client
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc

from benchmarks import hubs
from benchmarks.process import ServerProcess, serving
from benchmarks.rows import Row, ratio
from benchmarks.sampling import Sample, in_turn, percentile
from hub.contract.rpcs import rpc
from llmhub.v1.registry_service_pb2 import (
    GetEndpointRequest,
    GetSnapshotRequest,
    ListEndpointsRequest,
)

_ENDPOINTS, _MODELS = 1000, 5
_MANY_ENDPOINTS = 10_000
_CALLERS = 8
LIST_PATH = "/api/admin/llm-registry"
_EARLIER_LISTS = {_ENDPOINTS: ("5.4", "8"), _MANY_ENDPOINTS: ("68", "91")}

Unary = Callable[[bytes], Awaitable[bytes]]


async def run(*, quick: bool) -> list[Row]:
    """Measures the CPU per call, and the duration of lists over HTTP."""
    rounds = 2 if quick else 7
    rows = await _over_grpc(rounds, small=800 if quick else 4000, large=100 if quick else 300)
    for endpoints in (_ENDPOINTS, _MANY_ENDPOINTS):
        rows += await _over_http(rounds, endpoints, calls=25 if quick else 200)
    return rows


async def _over_grpc(rounds: int, small: int, large: int) -> list[Row]:
    async with hubs.running_hub(endpoints=_ENDPOINTS, models=_MODELS) as hub:
        calls = [
            ("GetEndpoint", GetEndpointRequest(id=hub.fleet.endpoint_ids[500]), small, 1.3),
            ("GetSnapshot", GetSnapshotRequest(), large, 1.5),
            ("ListEndpoints", ListEndpointsRequest(page_size=_ENDPOINTS), large, 1.5),
        ]
        with tempfile.TemporaryDirectory(prefix="llm-hub-bench-") as name:
            directory = Path(name)
            files = []
            async with hubs.channel(hub.grpc_port) as channel:
                for method, request, _, _ in calls:
                    answer = await unary(channel, rpc(method).path, hub.metadata)(
                        request.SerializeToString()
                    )
                    files.append(directory / method)
                    files[-1].write_bytes(answer)
            async with (
                serving("bare_grpc", str(directory / "rows"), *map(str, files)) as floor,
                hubs.channel(hub.grpc_port) as to_hub,
                hubs.channel(floor.ready["port"]) as to_floor,
            ):
                rows = []
                for number, (method, request, count, limit) in enumerate(calls):
                    encoded = request.SerializeToString()
                    of_hub = unary(to_hub, rpc(method).path, hub.metadata)
                    of_floor = unary(to_floor, f"/bare/{number}", hub.metadata)
                    cpu = await in_turn(
                        rounds,
                        hub=calling(hub.process, of_hub, encoded, count),
                        floor=calling(floor, of_floor, encoded, count),
                    )
                    size = files[number].stat().st_size
                    rows.append(
                        Row(
                            work=f"{method} ({_size(size)}), {_CALLERS} callers",
                            unit="µs CPU/call",
                            subject=cpu["hub"]["cpu_us"],
                            floor=cpu["floor"]["cpu_us"],
                            budget=ratio(limit),
                        )
                    )
                return rows


def unary(channel: grpc.aio.Channel, path: str, metadata: tuple[tuple[str, str], ...]) -> Unary:
    """A call with raw bytes: the load generator neither encodes nor decodes."""
    call = channel.unary_unary(path)

    async def send(request: bytes) -> bytes:
        answer: bytes = await call(request, metadata=metadata, timeout=60)
        return answer

    return send


def calling(
    server: ServerProcess, call: Unary, request: bytes, count: int
) -> Callable[[], Awaitable[Sample]]:
    """Measures the server's CPU per call, with some callers at once."""

    async def take() -> Sample:
        left = iter(range(count))

        async def caller() -> None:
            for _ in left:
                await call(request)

        before = server.cpu_s
        await asyncio.gather(*(caller() for _ in range(_CALLERS)))
        return {"cpu_us": (server.cpu_s - before) / count * 1e6}

    return take


async def _over_http(rounds: int, endpoints: int, calls: int) -> list[Row]:
    async with hubs.running_hub(endpoints=endpoints, models=_MODELS) as hub:
        headers = {"Authorization": f"Bearer {hub.fleet.admin_token}"}
        body = _get(http.client.HTTPConnection("127.0.0.1", hub.http_port), LIST_PATH, headers)
        with tempfile.NamedTemporaryFile(prefix="llm-hub-bench-") as file:
            file.write(body)
            file.flush()
            async with serving("bare_http", file.name) as floor:
                taken = await in_turn(
                    rounds,
                    hub=getting(hub.process, hub.http_port, LIST_PATH, headers, calls),
                    floor=getting(floor, floor.ready["port"], "/0", headers, calls),
                )
    p50, cpu = _EARLIER_LISTS[endpoints]
    work = f"HTTP list of {endpoints:,} endpoints ({_size(len(body))})"
    return [
        Row(
            work=f"{work}, p50",
            unit="ms",
            subject=taken["hub"]["p50_ms"],
            floor=taken["floor"]["p50_ms"],
            earlier=p50,
        ),
        Row(
            work=work,
            unit="ms CPU/call",
            subject=taken["hub"]["cpu_ms"],
            floor=taken["floor"]["cpu_ms"],
            earlier=cpu,
        ),
    ]


def getting(
    server: ServerProcess, port: int, path: str, headers: dict[str, str], calls: int
) -> Callable[[], Awaitable[Sample]]:
    """Measures the server's CPU per GET, and the median time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    async def take() -> Sample:
        before, times = server.cpu_s, []
        for _ in range(calls):
            sent = time.perf_counter()
            _get(connection, path, headers)
            times.append((time.perf_counter() - sent) * 1e3)
        return {
            "cpu_ms": (server.cpu_s - before) / calls * 1e3,
            "p50_ms": percentile(times, 0.5),
        }

    return take


def _get(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> bytes:
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise RuntimeError(f"GET {path}: {response.status} {body[:200]!r}")
    return body


def _size(size: int) -> str:
    return f"{size} B" if size < 10_000 else f"{size / 1024:,.0f} KiB"

"""The hub's own gRPC server: alone, below the hub, and with TLS.

Compared with bare grpc.aio, the hub with grpcio's server, and etcd. Every call has a
deadline, as calls of services have.
"""

import asyncio
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import grpc

from benchmarks import hubs
from benchmarks.etcd import running_etcd
from benchmarks.process import ServerProcess, serving
from benchmarks.rows import Budget, Row, at_most
from benchmarks.sampling import Sample, in_turn, percentile
from hub.contract.rpcs import rpc
from llmhub.v1.registry_service_pb2 import (
    GetEndpointRequest,
    SelectEndpointRequest,
    WatchRegistryRequest,
)

_ENDPOINTS, _MODELS, _MODEL = 1000, 5, "qwen3:8b"
_CALLERS = 8
_STREAMS, _CONNECTIONS = 2_000, 10
_TIMEOUT_S = 60
# What a hub may use of a second and count as idle.
_QUIET_CPU_S = 0.02
_KEY = b"bench/endpoint"

Take = Callable[[], Awaitable[Sample]]


async def run(*, quick: bool) -> list[Row]:
    """Measures the CPU and the latency per call, and the memory per stream."""
    rounds, count = (2, 2_000) if quick else (7, 8_000)
    async with AsyncExitStack() as stack:
        contenders = await _contenders(stack, count)
        taken = await in_turn(rounds, **contenders)
    return [*_rows(taken), await _idle_streams()]


def _rows(taken: Mapping[str, Mapping[str, float]]) -> list[Row]:
    def row(
        work: str,
        name: str,
        figure: str,
        unit: str,
        budget: Budget | None = None,
        floor: str = "floor",
    ) -> list[Row]:
        if name not in taken or floor not in taken:
            return []
        subject, beside = taken[name][figure], taken[floor][figure]
        return [Row(work=work, unit=unit, subject=subject, floor=beside, budget=budget)]

    cpu, rate = "µs CPU/call", "calls/s of CPU"
    get = f"GetEndpoint, {_CALLERS} callers"
    return [
        *row(f"echo, the server alone, {_CALLERS} callers", "bare", "cpu_us", cpu, at_most(18)),
        *row(get, "hub", "cpu_us", cpu, at_most(18)),
        *row(f"{get}, grpcio's server below the hub", "grpcio", "cpu_us", cpu),
        *row(f"{get}, TLS", "tls", "cpu_us", cpu),
        *row(f"{get} (floor: etcd's Range)", "hub", "rate", rate, floor="etcd"),
        *row("GetEndpoint, one caller", "one", "cpu_us", cpu, floor="floor_one"),
        *row("GetEndpoint, one caller, p50", "one", "p50_us", "µs", at_most(100), "floor_one"),
        *row(
            f"SelectEndpoint over {_ENDPOINTS:,} of {_MODELS} models, {_CALLERS} callers",
            *("select", "cpu_us", cpu, at_most(28)),
        ),
    ]


async def _contenders(stack: AsyncExitStack, count: int) -> dict[str, Take]:
    """Starts all servers, and fills them."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llm-hub-bench-")))

    async def hub(**settings: str) -> hubs.RunningHub:
        running = await stack.enter_async_context(
            hubs.running_hub(endpoints=_ENDPOINTS, models=_MODELS, settings=settings)
        )
        await _first_probes(running)
        return running

    async def to(port: int, ca: bytes | None = None) -> grpc.aio.Channel:
        return await stack.enter_async_context(hubs.channel(port, ca))

    native, other = (
        await hub(LLM_HUB_GRPC__ENGINE="native"),
        await hub(LLM_HUB_GRPC__ENGINE="grpcio"),
    )
    channel = await to(native.grpc_port)
    path = rpc("GetEndpoint").path
    # The fleets are made from one seed, so that every hub has this endpoint.
    request = GetEndpointRequest(id=native.fleet.endpoint_ids[500]).SerializeToString()
    answer = await channel.unary_unary(path)(request, metadata=native.metadata)
    file = directory / "answer"
    file.write_bytes(answer)
    bare = await stack.enter_async_context(serving("bare_native", str(file)))
    floor = await stack.enter_async_context(
        serving("bare_grpc", str(directory / "rows"), str(file))
    )
    to_floor = await to(floor.ready["port"])
    select = SelectEndpointRequest(model=_MODEL).SerializeToString()
    found = {
        "bare": _calling(bare, await to(bare.ready["port"]), "/bare/0", request, count),
        "floor": _calling(floor, to_floor, "/bare/0", request, count),
        "hub": _calling(native.process, channel, path, request, count, native.metadata),
        "grpcio": _calling(
            other.process, await to(other.grpc_port), path, request, count, other.metadata
        ),
        "floor_one": _calling(floor, to_floor, "/bare/0", request, count // 4, callers=1),
        "one": _calling(
            native.process, channel, path, request, count // 4, native.metadata, callers=1
        ),
        "select": _calling(
            native.process,
            *(channel, rpc("SelectEndpoint").path, select, count, native.metadata),
        ),
    }
    if shutil.which("openssl"):
        cert, key = _certificate(directory)
        tls = await hub(LLM_HUB_TLS__CERT_FILE=str(cert), LLM_HUB_TLS__KEY_FILE=str(key))
        secure = await to(tls.grpc_port, cert.read_bytes())
        found["tls"] = _calling(tls.process, secure, path, request, count, tls.metadata)
    if shutil.which("etcd"):
        etcd, port = await stack.enter_async_context(running_etcd(directory))
        to_etcd = await to(port)
        put, asked = _etcd_messages(answer)
        await to_etcd.unary_unary("/etcdserverpb.KV/Put")(put, timeout=_TIMEOUT_S)
        found["etcd"] = _calling(etcd, to_etcd, "/etcdserverpb.KV/Range", asked, count)
    return found


async def _first_probes(hub: hubs.RunningHub) -> None:
    """Waits until the hub has probed its fleet, which takes CPU too."""
    used = -1.0
    async with asyncio.timeout(120):
        while hub.process.cpu_s - used > _QUIET_CPU_S:
            used = hub.process.cpu_s
            await asyncio.sleep(1)


def _calling(
    server: ServerProcess,
    channel: grpc.aio.Channel,
    path: str,
    request: bytes,
    count: int,
    metadata: tuple[tuple[str, str], ...] = (),
    callers: int = _CALLERS,
) -> Take:
    async def take() -> Sample:
        left, delays = iter(range(count)), []
        call = channel.unary_unary(path)

        async def caller() -> None:
            for _ in left:
                started = time.perf_counter()
                await call(request, metadata=metadata, timeout=_TIMEOUT_S)
                delays.append((time.perf_counter() - started) * 1e6)

        before = server.cpu_s
        await asyncio.gather(*(caller() for _ in range(callers)))
        cpu_s = server.cpu_s - before
        return {
            "cpu_us": cpu_s / count * 1e6,
            "p50_us": percentile(delays, 0.5),
            "rate": count / cpu_s,
        }

    return take


async def _idle_streams() -> Row:
    """What a watch that receives nothing takes."""
    watch = WatchRegistryRequest(model="none")
    watch.progress_interval.FromSeconds(300)
    async with hubs.running_hub(endpoints=1, models=1) as hub, AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(hubs.channel(hub.grpc_port))
            for _ in range(_CONNECTIONS)
        ]
        watches = [each.unary_stream(rpc("WatchRegistry").path) for each in channels]
        request = watch.SerializeToString()

        async def opened(number: int) -> grpc.aio.UnaryStreamCall[bytes, bytes]:
            call = watches[number % _CONNECTIONS](request, metadata=hub.metadata)
            await call.read()
            return call

        first = [await opened(number) for number in range(_CONNECTIONS)]
        before = hub.process.resident_bytes
        calls = await asyncio.gather(*(opened(number) for number in range(_STREAMS)))
        taken = hub.process.resident_bytes - before
        for call in (*first, *calls):
            call.cancel()
    return Row(
        work="idle watch stream",
        unit="KiB resident",
        subject=taken / _STREAMS / 1024,
        budget=at_most(6),
    )


def _certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=bench"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return cert, key


def _etcd_messages(value: bytes) -> tuple[bytes, bytes]:
    """PutRequest of a value under a key, and RangeRequest of it from the member itself."""

    def field(number: int, data: bytes) -> bytes:
        length = len(data)
        size = bytes((length,)) if length < 128 else bytes((length & 0x7F | 0x80, length >> 7))
        return bytes((number << 3 | 2,)) + size + data

    serializable = bytes((7 << 3, 1))
    return field(1, _KEY) + field(2, value), field(1, _KEY) + serializable

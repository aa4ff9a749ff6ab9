"""The hub's own gRPC server: alone, below the hub, and with TLS.

Compared with bare grpc.aio, the hub with grpcio's server, and etcd, all driven by the
same generator (`benchmarks.load_generator`). Every call has a deadline, as calls of services
have, and it differs from call to call, as grpc-go sends it.
"""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count as counting
from pathlib import Path
from statistics import median

from benchmarks import hubs
from benchmarks.etcd import running_etcd
from benchmarks.fleet import endpoint_host
from benchmarks.load_generator import LoadGenerator, build, generating, is_available
from benchmarks.process import ServerProcess, serving
from benchmarks.rows import Budget, Row, at_least, at_most
from benchmarks.sampling import Sample, in_turn
from hub.contract.rpcs import rpc
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest, UpdateEndpointRequest
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.registry_service_pb2 import (
    GetEndpointRequest,
    SelectEndpointRequest,
    WatchRegistryRequest,
)

_ENDPOINTS, _MODELS, _MODEL = 1000, 5, "qwen3:8b"
_CALLERS, _REGISTERING = 8, 32
_WATCHERS, _STREAMS, _CONNECTIONS = 1_000, 2_000, 10
# What a hub may use of a second and count as idle.
_QUIET_CPU_S = 0.02
_SETTLE_S = 1.0
_KEY = b"bench/endpoint"
# Separate from the addresses of other measurements.
_FIRST_HOST = 1 << 21

Take = Callable[[], Awaitable[Sample]]
Change = Callable[[int], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class _Size:
    """How much to measure: rounds, calls of a round, changes of a round for the watchers."""

    rounds: int
    calls: int
    changes: int
    registrations: int


@dataclass(frozen=True, slots=True)
class _Tls:
    """A certificate for 127.0.0.1 and its key, in files."""

    certificate: Path
    key: Path

    @property
    def hub(self) -> dict[str, str]:
        """The settings of a hub."""
        return {
            "LLM_HUB_TLS__CERT_FILE": str(self.certificate),
            "LLM_HUB_TLS__KEY_FILE": str(self.key),
        }

    @property
    def bare(self) -> dict[str, str]:
        """The environment of a bare server; see `benchmarks.servers.ready`."""
        return {"BENCH_CERT_FILE": str(self.certificate), "BENCH_KEY_FILE": str(self.key)}


async def run(*, quick: bool) -> list[Row]:
    """Measures the CPU and the latency per call and per watcher, and the memory per stream."""
    if not is_available():
        print("native_grpc: left out, because Go is not installed", file=sys.stderr)
        return []
    await build()
    size = _Size(2, 8_000, 5, 1_000) if quick else _Size(5, 20_000, 20, 4_000)
    rows = await _table(size, None)
    with tempfile.TemporaryDirectory(prefix="llm-hub-bench-") as name:
        if shutil.which("openssl"):
            rows += await _table(size, _certificate(Path(name)))
    return [*rows, await _idle_streams()]


async def _table(size: _Size, tls: _Tls | None) -> list[Row]:
    """All rows, with TLS or without."""
    with tempfile.TemporaryDirectory(prefix="llm-hub-bench-") as name:
        directory = Path(name)
        async with AsyncExitStack() as stack:
            servers = await _servers(stack, directory, tls)
            calling = {
                name: await _calling(stack, call, size.calls, tls)
                for name, call in _calls(servers).items()
            }
            if shutil.which("etcd") and tls is None:
                calling["etcd"] = await _etcd(stack, directory, servers.answer, size.calls)
            taken = await in_turn(size.rounds, **calling)
        async with AsyncExitStack() as stack:
            watched = await in_turn(size.rounds, **await _watching(stack, directory, tls, size))
        async with AsyncExitStack() as stack:
            taken["register"] = (await _registering(stack, tls, size))["hub"]
    return [*_rows({**taken, **{f"{k}_watch": v for k, v in watched.items()}}, tls)]


def _rows(taken: Mapping[str, Mapping[str, float]], tls: _Tls | None) -> list[Row]:
    suffix = ", TLS" if tls else ""

    def row(
        work: str,
        name: str,
        figure: str,
        unit: str,
        budget: Budget | None = None,
        floor: str = "floor",
    ) -> list[Row]:
        if name not in taken:
            return []
        beside = taken[floor][figure] if floor in taken else None
        return [
            Row(
                work=f"{work}{suffix}",
                unit=unit,
                subject=taken[name][figure],
                floor=beside,
                budget=budget,
            )
        ]

    cpu, rate, none = "µs CPU/call", "calls/s", ""
    get = f"GetEndpoint, {_CALLERS} callers"
    select = f"SelectEndpoint over {_ENDPOINTS:,} of {_MODELS} models, {_CALLERS} callers"
    watch = f"a change sent to {_WATCHERS:,} watchers"
    register = f"RegisterEndpoint with its first probe, {_REGISTERING} callers"
    etcd = row(f"{get} (floor: etcd's Range)", "hub", "per_cpu_s", "calls/s of CPU", floor="etcd")
    return [
        *row(f"echo, the server alone, {_CALLERS} callers", "bare", "cpu_us", cpu),
        *row(get, "hub", "cpu_us", cpu, at_most(18)),
        *row(get, "hub", "per_s", rate, at_least(30_000)),
        *row(f"{get}: the generator", "hub", "generator_us", cpu),
        *row(f"{get}, grpcio's server below the hub", "grpcio", "cpu_us", cpu),
        *(etcd if "etcd" in taken else ()),
        *row("GetEndpoint, one caller", "one", "cpu_us", cpu, floor="floor_one"),
        *row("GetEndpoint, one caller, p50", "one", "p50_us", "µs", at_most(100), "floor_one"),
        *row(select, "select", "cpu_us", cpu, at_most(28)),
        *row(select, "select", "per_s", rate, at_least(25_000)),
        *row(watch, "hub_watch", "cpu_us", "µs CPU/watcher", at_most(10), "floor_watch"),
        *row(f"{watch}, p99", "hub_watch", "p99_ms", "ms", at_most(20), "floor_watch"),
        *row(register, "register", "cpu_us", cpu, at_most(300), none),
        *row(register, "register", "per_s", rate, at_least(8_000), none),
    ]


@dataclass(frozen=True, slots=True)
class _Servers:
    """The servers that calls are measured against; `answer` is what all of them reply."""

    hub: hubs.RunningHub
    grpcio: hubs.RunningHub
    bare: ServerProcess
    floor: ServerProcess
    answer: bytes


async def _servers(stack: AsyncExitStack, directory: Path, tls: _Tls | None) -> _Servers:
    async def hub(engine: str) -> hubs.RunningHub:
        settings = {"LLM_HUB_GRPC__ENGINE": engine, **(tls.hub if tls else {})}
        running = await stack.enter_async_context(
            hubs.running_hub(endpoints=_ENDPOINTS, models=_MODELS, settings=settings)
        )
        await _first_probes(running)
        return running

    native, grpcio = await hub("native"), await hub("grpcio")
    async with hubs.channel(native.grpc_port, tls.certificate.read_bytes() if tls else None) as to:
        answer = await to.unary_unary(rpc("GetEndpoint").path)(
            _get_request(native), metadata=native.metadata
        )
    file = directory / "answer"
    file.write_bytes(answer)
    environment = tls.bare if tls else {}
    bare = await stack.enter_async_context(
        serving("bare_native", str(file), environment=environment)
    )
    floor = await stack.enter_async_context(
        serving("bare_grpc", str(directory / "rows"), str(file), environment=environment)
    )
    return _Servers(native, grpcio, bare, floor, answer)


@dataclass(frozen=True, slots=True)
class _Call:
    """A call to a server."""

    server: ServerProcess
    port: int
    path: str
    request: bytes
    authorization: str = ""
    callers: int = _CALLERS


def _calls(servers: _Servers) -> dict[str, _Call]:
    hub, bare, floor = servers.hub, servers.bare, servers.floor
    request, path = _get_request(hub), rpc("GetEndpoint").path
    select = SelectEndpointRequest(model=_MODEL).SerializeToString()

    def of(hub: hubs.RunningHub, path: str, request: bytes, callers: int = _CALLERS) -> _Call:
        return _Call(hub.process, hub.grpc_port, path, request, hub.metadata[0][1], callers)

    return {
        "bare": _Call(bare, bare.ready["port"], "/bare/0", request),
        "floor": _Call(floor, floor.ready["port"], "/bare/0", request),
        "floor_one": _Call(floor, floor.ready["port"], "/bare/0", request, callers=1),
        "hub": of(hub, path, request),
        "one": of(hub, path, request, 1),
        "select": of(hub, rpc("SelectEndpoint").path, select),
        # The fleets are made from one seed, so that every hub has this endpoint.
        "grpcio": of(servers.grpcio, path, request),
    }


async def _calling(stack: AsyncExitStack, call: _Call, count: int, tls: _Tls | None) -> Take:
    calls = count if call.callers > 1 else count // 4
    generator = await stack.enter_async_context(
        generating(
            call.port,
            call.path,
            [call.request],
            authorization=call.authorization,
            ca=str(tls.certificate) if tls else "",
            callers=call.callers,
            count=calls,
        )
    )
    return lambda: _measured(call.server, generator, calls)


async def _measured(server: ServerProcess, generator: LoadGenerator, count: int) -> Sample:
    before = server.cpu_s
    await generator.begin()
    result = await generator.result()
    cpu_s = server.cpu_s - before
    return {
        "cpu_us": cpu_s / count * 1e6,
        "per_cpu_s": count / cpu_s,
        "per_s": count / result["seconds"],
        "p50_us": result["p50_us"],
        "generator_us": result["generator_cpu_s"] / count * 1e6,
    }


async def _etcd(stack: AsyncExitStack, directory: Path, answer: bytes, count: int) -> Take:
    etcd, port = await stack.enter_async_context(running_etcd(directory))
    put, asked = _etcd_messages(answer)
    async with hubs.channel(port) as channel:
        await channel.unary_unary("/etcdserverpb.KV/Put")(put, timeout=60)
    return await _calling(stack, _Call(etcd, port, "/etcdserverpb.KV/Range", asked), count, None)


async def _watching(
    stack: AsyncExitStack, directory: Path, tls: _Tls | None, size: _Size
) -> dict[str, Take]:
    ca = tls.certificate.read_bytes() if tls else None
    hub = await stack.enter_async_context(
        hubs.running_hub(endpoints=1, models=_MODELS, settings=tls.hub if tls else {})
    )
    (id_,) = hub.fleet.endpoint_ids
    to_hub = await stack.enter_async_context(hubs.channel(hub.grpc_port, ca))
    # The floor writes what a watcher of the hub gets for a change, about as many bytes.
    answer = await to_hub.unary_unary(rpc("GetEndpoint").path)(
        GetEndpointRequest(id=id_).SerializeToString(), metadata=hub.metadata
    )
    (directory / "change").write_bytes(answer)
    floor = await stack.enter_async_context(
        serving("bare_stream", str(directory / "change"), environment=tls.bare if tls else {})
    )
    to_floor = await stack.enter_async_context(hubs.channel(floor.ready["port"], ca))
    update, ring = (
        to_hub.unary_unary(rpc("UpdateEndpoint").path),
        to_floor.unary_unary("/bare/ring"),
    )

    async def change(number: int) -> None:
        endpoint = Endpoint(id=id_, name=f"change {number}")
        request = UpdateEndpointRequest(endpoint=endpoint).SerializeToString()
        await update(request, metadata=hub.metadata)

    async def watched(
        server: ServerProcess, port: int, path: str, authorization: str, change: Change
    ) -> Take:
        generator = await stack.enter_async_context(
            _streams(port, path, authorization, tls, _WATCHERS)
        )
        numbers = counting()

        async def take() -> Sample:
            before, delays = server.cpu_s, []
            for _ in range(size.changes):
                await generator.begin()
                await generator.result()
                await change(next(numbers))
                delays.append((await generator.result())["p99_us"] / 1e3)
            cpu_s = server.cpu_s - before
            return {
                "cpu_us": cpu_s / (size.changes * _WATCHERS) * 1e6,
                "p99_ms": median(delays),
            }

        return take

    bell = floor.ready["port"]
    return {
        "hub": await watched(
            *(hub.process, hub.grpc_port, rpc("WatchRegistry").path, hub.metadata[0][1]), change
        ),
        "floor": await watched(floor, bell, "/bare/watch", "", lambda _number: ring(b"")),
    }


@asynccontextmanager
async def _streams(
    port: int, path: str, authorization: str, tls: _Tls | None, count: int
) -> AsyncIterator[LoadGenerator]:
    """Opens streams over a few connections; yields when each has received its first response."""
    watch = WatchRegistryRequest(model="" if count == _WATCHERS else "none")
    # Longer than a measurement, so that no progress marks are sent during it.
    watch.progress_interval.FromSeconds(300)
    async with generating(
        port,
        path,
        [watch.SerializeToString()],
        authorization=authorization,
        ca=str(tls.certificate) if tls else "",
        mode="streams",
        connections=_CONNECTIONS,
        callers=count,
        timeout_s=0,
    ) as generator:
        await asyncio.sleep(_SETTLE_S)
        yield generator


async def _registering(
    stack: AsyncExitStack, tls: _Tls | None, size: _Size
) -> dict[str, dict[str, float]]:
    """Nothing listens on the registered addresses, so each first probe is refused at once."""
    hub = await stack.enter_async_context(hubs.running_hub(settings=tls.hub if tls else {}))
    count = size.registrations
    requests = [
        RegisterEndpointRequest(host=endpoint_host(_FIRST_HOST + number)).SerializeToString()
        for number in range(count * (size.rounds + 1))
    ]
    generator = await stack.enter_async_context(
        generating(
            hub.grpc_port,
            rpc("RegisterEndpoint").path,
            requests,
            authorization=hub.metadata[0][1],
            ca=str(tls.certificate) if tls else "",
            callers=_REGISTERING,
            count=count,
        )
    )

    async def take() -> Sample:
        before = hub.process.cpu_s
        sample = dict(await _measured(hub.process, generator, count))
        await _first_probes(hub)
        sample["cpu_us"] = (hub.process.cpu_s - before) / count * 1e6
        return sample

    return await in_turn(size.rounds, hub=take)


async def _idle_streams() -> Row:
    """What a watch that receives nothing takes."""
    path = rpc("WatchRegistry").path
    async with hubs.running_hub(endpoints=1, models=1) as hub:
        authorization = hub.metadata[0][1]
        async with _streams(hub.grpc_port, path, authorization, None, _CONNECTIONS):
            before = hub.process.resident_bytes
            async with _streams(hub.grpc_port, path, authorization, None, _STREAMS):
                taken = hub.process.resident_bytes - before
    return Row(
        work="idle watch stream",
        unit="KiB resident",
        subject=taken / _STREAMS / 1024,
        budget=at_most(6),
    )


async def _first_probes(hub: hubs.RunningHub) -> None:
    """Waits until the hub has probed its fleet, which takes CPU too."""
    used = -1.0
    async with asyncio.timeout(120):
        while hub.process.cpu_s - used > _QUIET_CPU_S:
            used = hub.process.cpu_s
            await asyncio.sleep(1)


def _get_request(hub: hubs.RunningHub) -> bytes:
    request: bytes = GetEndpointRequest(id=hub.fleet.endpoint_ids[500]).SerializeToString()
    return request


def _certificate(directory: Path) -> _Tls:
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
    return _Tls(cert, key)


def _etcd_messages(value: bytes) -> tuple[bytes, bytes]:
    """PutRequest of a value under a key, and RangeRequest of it from the member itself."""

    def field(number: int, data: bytes) -> bytes:
        length = len(data)
        size = bytes((length,)) if length < 128 else bytes((length & 0x7F | 0x80, length >> 7))
        return bytes((number << 3 | 2,)) + size + data

    serializable = bytes((7 << 3, 1))
    return field(1, _KEY) + field(2, value), field(1, _KEY) + serializable

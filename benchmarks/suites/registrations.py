"""Durable registrations, compared with a bare call with one SQLite commit for all waiting calls.

The hub's figures include the first probe, which each registration starts. Nothing
listens on the registered addresses, so each connection is refused immediately.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count as counting
from pathlib import Path

from benchmarks import hubs
from benchmarks.fleet import endpoint_host
from benchmarks.process import ServerProcess, serving
from benchmarks.rows import Row, at_least
from benchmarks.sampling import Sample, in_turn
from hub.contract.rpcs import rpc
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest

_CALLERS = 32
_REGISTER = rpc("RegisterEndpoint").path
# Separate from the addresses of other measurements.
_FIRST_HOST = 1 << 20


async def run(*, quick: bool) -> list[Row]:
    """Measures registrations per second, their CPU, and how many share a transaction."""
    rounds = 2 if quick else 5
    hosts = counting(_FIRST_HOST)
    with tempfile.TemporaryDirectory(prefix="llm-hub-bench-") as directory:
        rows_file = str(Path(directory) / "rows")
        async with (
            hubs.running_hub() as hub,
            serving("bare_grpc", rows_file) as floor,
            hubs.channel(hub.grpc_port) as to_hub,
            hubs.channel(floor.ready["port"]) as to_floor,
        ):
            register = to_hub.unary_unary(_REGISTER)
            write = to_floor.unary_unary("/bare/durable")

            async def of_hub() -> None:
                await register(_request(hosts), metadata=hub.metadata, timeout=60)

            async def of_floor() -> None:
                await write(_request(hosts), metadata=hub.metadata, timeout=60)

            async def measure(callers: int, calls: int) -> dict[str, dict[str, float]]:
                return await in_turn(
                    rounds,
                    hub=lambda: _calling(hub.process, of_hub, callers, calls),
                    floor=lambda: _calling(floor, of_floor, callers, calls),
                )

            one = await measure(1, 150 if quick else 1000)
            before = await hub.process.ask()
            many = await measure(_CALLERS, 1000 if quick else 5000)
            after = await hub.process.ask()
    transactions = after["transactions"] - before["transactions"]
    return [
        *_rows("RegisterEndpoint, one caller", one, None, "770 to 800"),
        *_rows(f"RegisterEndpoint, {_CALLERS} callers", many, 2500, "820 to 950"),
        Row(
            work=f"RegisterEndpoint, {_CALLERS} callers: registrations in one transaction",
            unit="mean",
            subject=(after["batches"] - before["batches"]) / transactions,
        ),
    ]


def _rows(
    work: str, taken: dict[str, dict[str, float]], budget: float | None, earlier: str
) -> list[Row]:
    return [
        Row(
            work=work,
            unit="calls/s",
            subject=taken["hub"]["per_s"],
            floor=taken["floor"]["per_s"],
            budget=at_least(budget) if budget is not None else None,
            earlier=earlier,
        ),
        Row(
            work=work,
            unit="µs CPU/call",
            subject=taken["hub"]["cpu_us"],
            floor=taken["floor"]["cpu_us"],
            earlier="1,500",
        ),
    ]


async def _calling(
    server: ServerProcess, call: Callable[[], Awaitable[None]], callers: int, calls: int
) -> Sample:
    left = iter(range(calls))

    async def caller() -> None:
        for _ in left:
            await call()

    before, started = server.cpu_s, time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    elapsed = time.perf_counter() - started
    return {"cpu_us": (server.cpu_s - before) / calls * 1e6, "per_s": calls / elapsed}


def _request(hosts: Iterator[int]) -> bytes:
    request = RegisterEndpointRequest(host=endpoint_host(next(hosts)), labels={"site": "hall-1"})
    return request.SerializeToString()

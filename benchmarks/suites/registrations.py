"""Durable registrations, compared with a bare call with one SQLite commit for all waiting calls.

The hub's figures include the first probe, which each registration starts. Nothing
listens on the registered addresses, so each connection is refused immediately.
"""

import tempfile
import time
from collections.abc import Iterator
from itertools import count as counting
from pathlib import Path

from benchmarks import hubs
from benchmarks.fleet import endpoint_host
from benchmarks.grpc_callers import GrpcCallers
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
    with tempfile.TemporaryDirectory(prefix="llm-hub-bench-") as directory:
        rows_file = str(Path(directory) / "rows")
        async with hubs.running_hub() as hub, serving("bare_grpc", rows_file) as floor:
            authorization = hub.metadata[0][1]
            to_hub = GrpcCallers(hub.grpc_port, _REGISTER, authorization)
            to_floor = GrpcCallers(floor.ready["port"], "/bare/durable", authorization)
            requests = map(_request, counting(_FIRST_HOST))

            async def measure(callers: int, calls: int) -> dict[str, dict[str, float]]:
                return await in_turn(
                    rounds,
                    hub=lambda: _calling(hub.process, to_hub, requests, callers, calls),
                    floor=lambda: _calling(floor, to_floor, requests, callers, calls),
                )

            one = await measure(1, 150 if quick else 1000)
            before = await hub.process.ask()
            many = await measure(_CALLERS, 1000 if quick else 5000)
            after = await hub.process.ask()
            to_hub.close()
            to_floor.close()
    transactions = after["transactions"] - before["transactions"]
    return [
        *_rows("RegisterEndpoint, one caller", one, None, "770 to 800"),
        *_rows(f"RegisterEndpoint, {_CALLERS} callers", many, 8000, "820 to 950"),
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
    server: ServerProcess, to: GrpcCallers, requests: Iterator[bytes], callers: int, calls: int
) -> Sample:
    before, started = server.cpu_s, time.perf_counter()
    to.call(requests, callers, calls)
    elapsed = time.perf_counter() - started
    return {"cpu_us": (server.cpu_s - before) / calls * 1e6, "per_s": calls / elapsed}


def _request(number: int) -> bytes:
    request = RegisterEndpointRequest(host=endpoint_host(number), labels={"site": "hall-1"})
    return request.SerializeToString()

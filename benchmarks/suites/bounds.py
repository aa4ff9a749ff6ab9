"""What the bounds cost honest clients: a hub with all of them in force, and one without.

Both do the work of `frames` and `reads` in turn. The floor is the hub without bounds: no
rate limits, no overload manager, and every other bound far away.
"""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from benchmarks import hubs, ws_client
from benchmarks.rows import Row, ratio
from benchmarks.sampling import in_turn
from benchmarks.suites.frames import each_in_turn, saturating
from benchmarks.suites.reads import LIST_PATH, calling, getting, unary
from hub.contract.rpcs import rpc
from llmhub.v1.registry_service_pb2 import (
    GetEndpointRequest,
    GetSnapshotRequest,
    ListEndpointsRequest,
)

_SIDECARS, _ENDPOINTS, _MODELS = 500, 1_000, 5
_MANY = "1000000000"
_IN_FORCE = {
    "LLM_HUB_RATE_LIMITS__ENABLED": "true",
    # As high as a measurement needs; the work for each frame is the same.
    "LLM_HUB_RATE_LIMITS__SIDECAR__LIGHT": _MANY,
    "LLM_HUB_RATE_LIMITS__SIDECAR__NORMAL": _MANY,
    "LLM_HUB_RATE_LIMITS__SIDECAR__HEAVY": _MANY,
    "LLM_HUB_RATE_LIMITS__ADMIN__LIGHT": _MANY,
    "LLM_HUB_RATE_LIMITS__ADMIN__NORMAL": _MANY,
    "LLM_HUB_RATE_LIMITS__ADMIN__HEAVY": _MANY,
}
_WITHOUT = {
    "BENCH_WITHOUT_BOUNDS": "1",
    "LLM_HUB_OVERLOAD__ENABLED": "false",
    "LLM_HUB_WS__MAX_CONNECTIONS": "1000000",
    "LLM_HUB_WS__MAX_CONNECTIONS_PER_ADDRESS": "1000000",
    "LLM_HUB_HTTP__MAX_CONNECTIONS": "1000000",
    "LLM_HUB_HTTP__MAX_BYTES_IN_FLIGHT": _MANY,
    "LLM_HUB_HTTP__MAX_BYTES_IN_FLIGHT_PER_TOKEN": _MANY,
}
_WANTED = ratio(1.03)


async def run(*, quick: bool) -> list[Row]:
    """Measures the CPU per frame and per call of both hubs."""
    rounds = 3 if quick else 9
    async with _hub(_IN_FORCE) as (bounded, sockets), _hub(_WITHOUT) as (free, free_sockets):
        frames = {
            "resource_report, 500 connections, one frame each in turn": (each_in_turn, 30),
            "resource_report, 500 connections, saturated": (saturating, 50_000),
        }
        rows = []
        for work, (measure, count) in frames.items():
            taken = await in_turn(
                rounds,
                hub=partial(measure, bounded.process, sockets, count),
                floor=partial(measure, free.process, free_sockets, count),
            )
            rows.append(_row(work, "µs CPU/frame", taken, "cpu_us"))
        return rows + await _calls(rounds, bounded, free)


async def _calls(rounds: int, bounded: hubs.RunningHub, free: hubs.RunningHub) -> list[Row]:
    rows = []
    endpoint = bounded.fleet.endpoint_ids[500]
    calls = [
        ("GetEndpoint", GetEndpointRequest(id=endpoint), 5_000),
        ("GetSnapshot", GetSnapshotRequest(), 500),
        ("ListEndpoints", ListEndpointsRequest(page_size=_ENDPOINTS), 500),
    ]
    async with (
        hubs.channel(bounded.grpc_port) as to_bounded,
        hubs.channel(free.grpc_port) as to_free,
    ):
        for method, request, count in calls:
            encoded, path = request.SerializeToString(), rpc(method).path
            taken = await in_turn(
                rounds,
                hub=calling(
                    bounded.process, unary(to_bounded, path, bounded.metadata), encoded, count
                ),
                floor=calling(free.process, unary(to_free, path, free.metadata), encoded, count),
            )
            rows.append(_row(f"{method}, 8 callers", "µs CPU/call", taken, "cpu_us"))
    taken = await in_turn(
        rounds,
        hub=getting(bounded.process, bounded.http_port, LIST_PATH, _headers(bounded), 300),
        floor=getting(free.process, free.http_port, LIST_PATH, _headers(free), 300),
    )
    return [*rows, _row("HTTP list of 1,000 endpoints", "ms CPU/call", taken, "cpu_ms")]


def _headers(hub: hubs.RunningHub) -> dict[str, str]:
    return {"Authorization": f"Bearer {hub.fleet.admin_token}"}


def _row(work: str, unit: str, taken: dict[str, dict[str, float]], figure: str) -> Row:
    return Row(
        work=f"{work}; floor: without bounds",
        unit=unit,
        subject=taken["hub"][figure],
        floor=taken["floor"][figure],
        budget=_WANTED,
    )


@asynccontextmanager
async def _hub(
    settings: dict[str, str],
) -> AsyncIterator[tuple[hubs.RunningHub, list[socket.socket]]]:
    async with hubs.running_hub(
        agents=_SIDECARS, endpoints=_ENDPOINTS, models=_MODELS, settings=settings
    ) as hub:
        identifies = [ws_client.identify_frame(*agent) for agent in hub.fleet.agents]
        sockets = await ws_client.connect_many(hub.ws_port, [*identifies])
        ws_client.block(sockets)
        if len(sockets) != _SIDECARS:
            raise ConnectionError(f"the hub refused {_SIDECARS - len(sockets)} sidecars")
        try:
            yield hub, sockets
        finally:
            ws_client.close(sockets)

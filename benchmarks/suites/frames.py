"""`resource_report` and `ping` over WebSocket, compared with a bare `websockets` server."""

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from benchmarks import hubs, ws_client
from benchmarks.process import ServerProcess, serving
from benchmarks.rows import Row, at_most, ratio
from benchmarks.sampling import Sample, in_turn, percentile
from llmhub.v1.registry_service_pb2 import GetSnapshotRequest
from llmhub.v1.registry_service_pb2_grpc import RegistryServiceStub

_MANY, _FEW = 2000, 50
_PACE_PER_S = 20_000
_COALESCED = 64


async def run(*, quick: bool) -> list[Row]:
    """Measures the CPU per frame, and the time to a pong."""
    rounds = 2 if quick else 7
    rows = await _in_turn_over_many(rounds, cycles=5 if quick else 30)
    rows += await _over_few(rounds, seconds=0.5 if quick else 2.5)
    return rows + await _pongs(rounds, pings=500 if quick else 4000)


async def _in_turn_over_many(rounds: int, cycles: int) -> list[Row]:
    async with _pair(_MANY) as (hub, hub_sockets, floor, floor_sockets):
        cpu = await in_turn(
            rounds,
            hub=lambda: each_in_turn(hub.process, hub_sockets, cycles),
            floor=lambda: each_in_turn(floor, floor_sockets, cycles),
        )
        async with hubs.channel(hub.grpc_port) as channel:
            await _require_stored(channel, hub, _MANY)
    return [
        Row(
            work="resource_report, 2,000 connections, one frame each in turn",
            unit="µs CPU/frame",
            subject=cpu["hub"]["cpu_us"],
            floor=cpu["floor"]["cpu_us"],
            budget=ratio(1.5),
        )
    ]


async def _over_few(rounds: int, seconds: float) -> list[Row]:
    frames = int(_PACE_PER_S * seconds)
    async with _pair(_FEW) as (hub, hub_sockets, floor, floor_sockets):
        paced = await in_turn(
            rounds,
            hub=lambda: _paced(hub.process, hub_sockets, frames),
            floor=lambda: _paced(floor, floor_sockets, frames),
        )
        full = await in_turn(
            rounds,
            hub=lambda: saturating(hub.process, hub_sockets, frames * 2),
            floor=lambda: saturating(floor, floor_sockets, frames * 2),
        )
        async with hubs.channel(hub.grpc_port) as channel:
            await _require_stored(channel, hub, _FEW)
    return [
        Row(
            work="resource_report, 50 connections, paced at 20,000/s",
            unit="µs CPU/frame",
            subject=paced["hub"]["cpu_us"],
            floor=paced["floor"]["cpu_us"],
            budget=at_most(12.5),
            earlier="25 to 33",
        ),
        Row(
            work="resource_report, 50 connections, saturated",
            unit="µs CPU/frame",
            subject=full["hub"]["cpu_us"],
            floor=full["floor"]["cpu_us"],
            earlier="11 to 14",
        ),
        Row(
            work="resource_report, 50 connections, saturated",
            unit="frames/s",
            subject=full["hub"]["per_s"],
            floor=full["floor"]["per_s"],
            earlier="131,000 to 185,000",
        ),
    ]


async def _pongs(rounds: int, pings: int) -> list[Row]:
    async with _pair(1) as (hub, hub_sockets, floor, floor_sockets):
        pongs = await in_turn(
            rounds,
            hub=lambda: _ping_pong(hub.process, hub_sockets[0], pings),
            floor=lambda: _ping_pong(floor, floor_sockets[0], pings),
        )
    return [
        Row(
            work="ping → pong, one connection, p50",
            unit="µs",
            subject=pongs["hub"]["p50_us"],
            floor=pongs["floor"]["p50_us"],
            earlier="53 to 100",
        ),
        Row(
            work="ping → pong, one connection",
            unit="µs CPU",
            subject=pongs["hub"]["cpu_us"],
            floor=pongs["floor"]["cpu_us"],
            earlier="56 to 71",
        ),
    ]


@asynccontextmanager
async def _pair(
    connections: int,
) -> AsyncIterator[tuple[hubs.RunningHub, list[socket.socket], ServerProcess, list[socket.socket]]]:
    """Runs a hub with that many identified sidecars, and the floor with as many connections."""
    async with hubs.running_hub(agents=connections) as hub, serving("bare_websocket") as floor:
        identifies = [ws_client.identify_frame(*agent) for agent in hub.fleet.agents]
        of_hub = await ws_client.connect_many(hub.ws_port, [*identifies])
        of_floor = await ws_client.connect_many(floor.ready["port"], [None] * connections)
        ws_client.block(of_hub + of_floor)
        if len(of_hub) + len(of_floor) != 2 * connections:
            raise ConnectionError("a server refused a connection")
        try:
            yield hub, of_hub, floor, of_floor
        finally:
            ws_client.close(of_hub + of_floor)


async def each_in_turn(server: ServerProcess, sockets: list[socket.socket], cycles: int) -> Sample:
    """Sends frame after frame; a ping after each cycle stops the generator from running ahead.

    No connection ever has more than one waiting frame, and no frames are coalesced.
    """
    report = ws_client.RESOURCE_REPORT
    ws_client.answer_keepalives(sockets)
    before = server.cpu_s
    for _ in range(cycles):
        for connection in sockets:
            connection.send(report)
        _wait_until_read(sockets[-1:])
    return {"cpu_us": (server.cpu_s - before) / (cycles * len(sockets)) * 1e6}


async def _paced(server: ServerProcess, sockets: list[socket.socket], frames: int) -> Sample:
    """Sends a frame every 50 µs, so that the server wakes up for almost every one."""
    report, clock, interval = ws_client.RESOURCE_REPORT, time.perf_counter, 1 / _PACE_PER_S
    ws_client.answer_keepalives(sockets)
    before, due = server.cpu_s, clock()
    for number in range(frames):
        while clock() < due:
            pass
        sockets[number % len(sockets)].send(report)
        due += interval
    _wait_until_read(sockets)
    return {"cpu_us": (server.cpu_s - before) / frames * 1e6}


async def saturating(server: ServerProcess, sockets: list[socket.socket], frames: int) -> Sample:
    """Sends as many frames as the server accepts, with many frames in one segment."""
    reports = ws_client.RESOURCE_REPORT * _COALESCED
    ws_client.answer_keepalives(sockets)
    before, started = server.cpu_s, time.perf_counter()
    for number in range(frames // _COALESCED):
        sockets[number % len(sockets)].sendall(reports)
    _wait_until_read(sockets)
    elapsed = time.perf_counter() - started
    count = frames // _COALESCED * _COALESCED
    return {"cpu_us": (server.cpu_s - before) / count * 1e6, "per_s": count / elapsed}


async def _ping_pong(server: ServerProcess, connection: socket.socket, pings: int) -> Sample:
    before, times = server.cpu_s, []
    for _ in range(pings):
        sent = time.perf_counter()
        _wait_until_read([connection])
        times.append((time.perf_counter() - sent) * 1e6)
    return {"cpu_us": (server.cpu_s - before) / pings * 1e6, "p50_us": percentile(times, 0.5)}


def _wait_until_read(sockets: list[socket.socket]) -> None:
    """Returns when the server has answered a ping on each socket, and so read all before it."""
    for connection in sockets:
        connection.sendall(ws_client.PING)
    for connection in sockets:
        while not (answers := ws_client.texts(connection, connection.recv(4096))):
            pass
        if b'"pong"' not in answers[0]:
            raise ConnectionError(f"expected a pong, got {answers[0]!r}")


async def _require_stored(channel: grpc.aio.Channel, hub: hubs.RunningHub, agents: int) -> None:
    """Raises RuntimeError if the hub has not stored a report of every agent."""
    reply = await RegistryServiceStub(channel).GetSnapshot(
        GetSnapshotRequest(), metadata=hub.metadata
    )
    stored = len(reply.snapshot.resources)
    if stored != agents:
        raise RuntimeError(f"{stored} of {agents} agents have a report in the registry")

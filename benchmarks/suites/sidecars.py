"""Thousands of sidecars connect, identify and idle, compared with bare handshakes."""

import asyncio
import resource
import sys

from benchmarks import hubs, ws_client
from benchmarks.process import ServerProcess, serving
from benchmarks.rows import Row, at_most, ratio
from benchmarks.sampling import Sample, in_turn

_WANTED = 10_000
_SPARE_FILES = 200
_STEP = 1000
_WARM_UP = 100
_IN_FLIGHT = 32
_KIB = 1024


async def run(*, quick: bool) -> list[Row]:
    """Measures the CPU per sidecar, its growth with their number, and the idle memory."""
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    count = min(2000 if quick else _WANTED, (hard_limit - _SPARE_FILES) // _STEP * _STEP)
    if not quick and count < _WANTED:
        print(f"sidecars: only {count:,}, because of the limit of open files", file=sys.stderr)
    taken = await in_turn(
        1 if quick else 2, warm_up=False, hub=lambda: _hub(count), floor=lambda: _floor(count)
    )
    hub, floor = taken["hub"], taken["floor"]
    what = f"{count:,} sidecars identify, {_IN_FLIGHT} in flight"
    collapsed = "collapses at 2,586 of 5,000"
    return [
        Row(
            work=f"{what}: refused",
            unit="sidecars",
            subject=hub["refused"],
            budget=at_most(0),
            earlier=collapsed,
        ),
        Row(
            work=f"{what} (floor: handshake alone)",
            unit="µs CPU each",
            subject=hub["cpu_us"],
            floor=floor["cpu_us"],
            budget=ratio(2.5),
            earlier="45,000, one at a time",
        ),
        Row(
            work="CPU of the last 1,000 over that of the first (floor: handshake alone)",
            unit="times",
            subject=hub["growth"],
            floor=floor["growth"],
            budget=ratio(1.25),
            earlier=collapsed,
        ),
        Row(
            work="idle identified sidecar",
            unit="KiB resident",
            subject=hub["kib"],
            floor=floor["kib"],
            budget=at_most(8),
            earlier="202 to 355",
        ),
    ]


async def _hub(count: int) -> Sample:
    async with hubs.running_hub(agents=count + _WARM_UP) as hub:
        identifies = [ws_client.identify_frame(*agent) for agent in hub.fleet.agents]
        return await _connect(hub.process, hub.ws_port, [*identifies])


async def _floor(count: int) -> Sample:
    async with serving("bare_websocket") as server:
        return await _connect(server, server.ready["port"], [None] * (count + _WARM_UP))


async def _connect(
    server: ServerProcess, port: int, identifies: list[bytes | None]
) -> dict[str, float]:
    """Connects in steps, after some connections that warm up the server."""
    open_sockets = await ws_client.connect_many(port, identifies[:_WARM_UP])
    wanted = identifies[_WARM_UP:]
    try:
        resident = server.resident_bytes
        steps = []
        for first in range(0, len(wanted), _STEP):
            before = server.cpu_s
            open_sockets += await ws_client.connect_many(
                port, wanted[first : first + _STEP], _IN_FLIGHT
            )
            steps.append((server.cpu_s - before) / _STEP * 1e6)
            ws_client.answer_keepalives(open_sockets)
        await asyncio.sleep(1)
        grown = server.resident_bytes - resident
    finally:
        ws_client.close(open_sockets)
    return {
        "refused": len(identifies) - len(open_sockets),
        "cpu_us": sum(steps) / len(steps),
        # The cost of keepalives grows with the number of open connections.
        "growth": steps[-1] / steps[0],
        "kib": grown / len(wanted) / _KIB,
    }

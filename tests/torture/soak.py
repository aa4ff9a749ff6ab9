"""A hub under churn for a long time: memory and descriptors stay flat once the ring is full.

Once a minute all clients leave, and the hub is measured at rest: so an open connection is
never taken for a leaked one.
"""

import asyncio
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from tests.support.hub import HubClient, HubProcess, hub_process
from tests.support.scrape import scrape, value
from tests.support.waiting import wait_until
from tests.torture.churn import MODEL, Churn
from tests.torture.outcome import Row, Scale, settings_file
from tools.fleetsim import FakeOllama, Fleet

_SERVERS = 20
_SETTLE_S = 3.0
_FAIR_S = 30.0
"""In so many seconds, each kind of client gets done with something."""
_MAX_GROWTH = 1.05
"""How much memory may grow from the first third of the flat part to its last: 5 %."""
_MAX_MORE_DESCRIPTORS = 8


@dataclass(frozen=True, slots=True)
class Reading:
    """The hub at rest, `after_s` seconds after the start."""

    after_s: float
    resident_bytes: int
    descriptors: int
    ring_events: int
    ring_is_full: bool
    done: int

    def line(self) -> str:
        """A row of the table that is printed on the way."""
        return (
            f"| {self.after_s / 60:.1f} | {self.resident_bytes / 2**20:.0f} |"
            f" {self.descriptors} | {self.ring_events:,}{', full' * self.ring_is_full} |"
            f" {self.done:,} |"
        )


async def run(scale: Scale, directory: Path) -> list[Row]:
    """Lets clients come and go for `scale.soak_s`, and looks at the hub at regular times."""
    config = settings_file(
        directory,
        rate_limits={"enabled": True},
        limits={"ring_events": scale.ring_events},
        probes={"interval_s": 10.0},
    )
    async with Fleet() as fleet, hub_process(directory / "data", "--config", config) as process:
        async with process.client() as hub:
            await _register(hub, fleet)
        readings, failed = await _soak(process, scale)
    return [row(scale, readings, failed)]


async def _soak(process: HubProcess, scale: Scale) -> tuple[list[Reading], list[str]]:
    started = time.monotonic()
    readings: list[Reading] = []
    failed: list[str] = []
    done = shed = period = 0
    print("| minute | MiB resident | descriptors | changes in the ring | done |", file=sys.stderr)
    while time.monotonic() - started < scale.soak_s:
        period += 1
        async with process.client() as hub:
            churn = Churn(hub, period)
            async with churn.running(scale.churn):
                await asyncio.sleep(scale.soak_period_s - _SETTLE_S)
            done += churn.done.total()
            shed += churn.shed
            failed += [f"{count} x {what}" for what, count in churn.failed.items()]
            if scale.soak_period_s >= _FAIR_S:
                idle = [name for name in churn.kinds if not churn.done[name]]
                failed += [f"{name} never succeeded" for name in idle]
        await asyncio.sleep(_SETTLE_S)
        readings.append(await _reading(process, time.monotonic() - started, done))
        print(readings[-1].line(), file=sys.stderr, flush=True)
    if shed:
        print(f"{shed} connections refused for overload", file=sys.stderr)
    return readings, failed


async def _reading(process: HubProcess, after_s: float, done: int) -> Reading:
    descriptors = len(os.listdir(f"/proc/{process.pid}/fd"))
    resident = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    async with process.client() as hub:
        found = await scrape(hub)
    # The ring drops changes once it has too many, or once they take too much memory.
    is_full = value(found, "llmhub_ring_floor_revision") > value(found, "llmhub_first_revision")
    events = int(value(found, "llmhub_ring_events"))
    page = os.sysconf("SC_PAGE_SIZE")
    return Reading(after_s, resident * page, descriptors, events, is_full, done)


async def _register(hub: HubClient, fleet: Fleet) -> None:
    for _ in range(_SERVERS):
        server = await fleet.add(FakeOllama(MODEL))
        request = RegisterEndpointRequest(host=server.host, port=server.port)
        await hub.call("RegisterEndpoint", request)

    async def ready() -> bool:
        return all(each.models for each in (await hub.snapshot()).endpoints)

    await wait_until(ready)


def row(scale: Scale, readings: list[Reading], failed: list[str]) -> Row:
    """The verdict on a soak."""
    flat = [each for each in readings if each.ring_is_full]
    third = max(len(flat) // 3, 1)
    first, last = flat[:third], flat[-third:]
    grown = _resident(last) / _resident(first) if flat else 0.0
    more = last[-1].descriptors - first[0].descriptors if flat else 0
    problems = [*failed]
    if scale.soak_s >= 1_800:
        if not flat:
            problems.append("the ring never filled")
        elif grown > _MAX_GROWTH:
            problems.append(f"memory grew by {grown - 1:.0%}")
    if more > _MAX_MORE_DESCRIPTORS:
        problems.append(f"{more} descriptors more")
    seen = f"{readings[-1].done:,} clients came and went"
    if flat:
        seen += (
            f"; with a full ring {_resident(first):.0f} MiB at first, {_resident(last):.0f} MiB"
            f" at last; {first[0].descriptors} and {last[-1].descriptors} descriptors"
        )
    return Row(
        torture=f"soak with churn for {scale.soak_s / 60:g} minutes",
        times=1,
        checked="memory and descriptors at rest, once the ring is full; no call fails",
        lost=len(problems),
        seen="; ".join([seen, *problems[:3]]),
    )


def _resident(readings: list[Reading]) -> float:
    return median(each.resident_bytes for each in readings) / 2**20

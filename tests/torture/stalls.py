"""Hubs that stand still, and clocks that jump, with honest clients beside them."""

import asyncio
import contextlib
import signal
from pathlib import Path

from hub.base.clock import ManualClock
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.endpoint_pb2 import STATUS_HEALTHY, STATUS_UNHEALTHY
from tests.support.hub import HubClient, hub_process, running_hub
from tests.support.waiting import wait_until
from tests.torture.outcome import Row, Scale, settings_file
from tests.torture.writers import settled, writers, writing
from tools.fleetsim import FakeOllama, Fleet

_SERVERS = 20
_SIDECARS = 20
_JUMPS_MS = (3_600_000, -1_800_000, 86_400_000, -86_400_000, 1_000, -1_000)


async def run(scale: Scale, directory: Path) -> list[Row]:
    """Stops the hub's process for a while, and jumps its clock."""
    return [await _stopped(scale, directory / "stopped"), await _jumps(directory / "jumps")]


async def _stopped(scale: Scale, directory: Path) -> Row:
    directory.mkdir()
    config = settings_file(directory, probes={"interval_s": 1.0})
    working = writers(1)
    async with (
        Fleet() as fleet,
        hub_process(directory / "data", "--config", config) as process,
    ):
        async with process.client() as hub, contextlib.AsyncExitStack() as sidecars:
            await _register(hub, fleet)
            sockets = [
                await sidecars.enter_async_context(hub.sidecar(f"node-{number}"))
                for number in range(_SIDECARS)
            ]
            async with writing(hub, working):
                process.send(signal.SIGSTOP)
                await asyncio.sleep(scale.stopped_s)
                process.send(signal.SIGCONT)
                answers = await asyncio.gather(*(each.ask({"type": "ping"}) for each in sockets))
                await _calls(hub)
            assert all(answer["type"] == "pong" for answer in answers)
            unhealthy = await _unhealthy_in_a_while(hub)
            loss = await settled(hub, working)
    return Row(
        torture=f"SIGSTOP for {scale.stopped_s:g} s, SIGCONT",
        times=1,
        checked=f"{_SERVERS} healthy servers, {_SIDECARS} sidecars, writes under way",
        lost=loss.lost + loss.resurrected + unhealthy,
        seen=f"{len(answers)} sidecars stay connected; {unhealthy} false UNHEALTHY",
    )


async def _jumps(directory: Path) -> Row:
    clock = ManualClock()
    working = writers(1)
    rates = {"enabled": False}
    unhealthy, revision = 0, 0
    async with Fleet() as fleet:
        for jump_ms in _JUMPS_MS:
            async with running_hub(
                directory, clock, rate_limits=rates, probes={"interval_s": 0.5}
            ) as hub:
                assert hub.hub.info().first_revision > revision, "a revision was used twice"
                if jump_ms == _JUMPS_MS[0]:
                    await _register(hub, fleet)
                for _ in range(4):
                    await asyncio.gather(*(writer.write(hub) for writer in working))
                # Within a process the hub's clock never goes back: it jumps when a laptop wakes.
                clock.advance(abs(jump_ms))
                await asyncio.gather(*(writer.write(hub) for writer in working))
                unhealthy += await _unhealthy_in_a_while(hub)
                revision = hub.hub.info().revision
            # Between two runs it may.
            clock.advance(jump_ms - abs(jump_ms))
        async with running_hub(directory, clock, rate_limits=rates) as hub:
            loss = await settled(hub, working)
    return Row(
        torture="clock jumps: ahead while running, both ways over a restart",
        times=len(_JUMPS_MS),
        checked=f"writes, {_SERVERS} healthy servers, revisions that only grow",
        lost=loss.lost + loss.resurrected + unhealthy,
        seen="; ".join([f"{unhealthy} false UNHEALTHY", *loss.examples[:3]]),
    )


async def _register(hub: HubClient, fleet: Fleet) -> None:
    for _ in range(_SERVERS):
        server = await fleet.add(FakeOllama("m"))
        await hub.call(
            "RegisterEndpoint", RegisterEndpointRequest(host=server.host, port=server.port)
        )

    async def healthy() -> bool:
        return await _count(hub, STATUS_HEALTHY) == _SERVERS

    await wait_until(healthy)


async def _count(hub: HubClient, status: int) -> int:
    return sum(each.status == status for each in (await hub.snapshot()).endpoints if each.models)


async def _unhealthy_in_a_while(hub: HubClient) -> int:
    """The most endpoints that are shown as unhealthy during some rounds of probes."""
    most = 0
    for _ in range(15):
        most = max(most, await _count(hub, STATUS_UNHEALTHY))
        await asyncio.sleep(0.1)
    return most


async def _calls(hub: HubClient) -> None:
    for _ in range(10):
        await hub.snapshot()

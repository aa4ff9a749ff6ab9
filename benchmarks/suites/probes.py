"""The cost of a probe's request, compared with the same request by aiohttp's client.

Both clients run alternately in this process, which does nothing else.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp

from benchmarks.rows import Row, ratio
from benchmarks.sampling import Sample, in_turn
from benchmarks.simulated_servers import simulated_servers
from hub.base.address import parse_endpoint_url
from hub.base.settings import ProbeSettings
from hub.probes.asker import ProbeTarget
from hub.probes.faults import Unreachable
from hub.probes.probe_client import ProbeClient

_SERVERS = 8
_ROUNDS = 7
_PATH = "/api/ps"

Ask = Callable[[ProbeTarget], Awaitable[None]]


async def run(*, quick: bool) -> list[Row]:
    """Measures a GET on an open connection, and a refused connection."""
    requests = 200 if quick else 1000
    async with simulated_servers(_SERVERS, ("ok",)) as alive, _clients() as (hub, bare):
        answered = await _in_turns(alive, hub, bare, requests)
        refused = await _in_turns(["127.0.0.1:9"] * _SERVERS, hub, bare, requests)
    return [
        Row(
            work=f"a probe's {name} (floor: aiohttp)",
            unit="µs CPU",
            subject=subject,
            floor=floor,
            budget=ratio(0.5),
        )
        for name, (subject, floor) in (("GET", answered), ("refused connection", refused))
    ]


@contextlib.asynccontextmanager
async def _clients() -> AsyncIterator[tuple[Ask, Ask]]:
    client = ProbeClient(ProbeSettings())
    await client.open()

    async def ask(target: ProbeTarget) -> None:
        with contextlib.suppress(Unreachable):
            await client.to(target).get(_PATH)

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=10, connect=5),
    ) as session:

        async def ask_bare(target: ProbeTarget) -> None:
            with contextlib.suppress(aiohttp.ClientConnectorError):
                async with session.get(f"http://{target.id}{_PATH}") as response:
                    await response.read()

        yield ask, ask_bare
    await client.close()


async def _in_turns(
    addresses: list[str], hub: Ask, bare: Ask, requests: int
) -> tuple[float, float]:
    """The medians in microseconds of CPU per request."""
    targets = [_target(address) for address in addresses]

    def repeated(ask: Ask) -> Callable[[], Awaitable[Sample]]:
        async def take() -> Sample:
            started_s = time.process_time()
            await asyncio.gather(*(_repeat(ask, target, requests) for target in targets))
            used_s = time.process_time() - started_s
            return {"us": used_s / (requests * len(targets)) * 1e6}

        return take

    medians = await in_turn(_ROUNDS, hub=repeated(hub), bare=repeated(bare))
    return medians["hub"]["us"], medians["bare"]["us"]


async def _repeat(ask: Ask, target: ProbeTarget, times: int) -> None:
    for _ in range(times):
        await ask(target)


def _target(text: str) -> ProbeTarget:
    address = parse_endpoint_url(text)
    return ProbeTarget(address.id, address.scheme, address.host, address.port)

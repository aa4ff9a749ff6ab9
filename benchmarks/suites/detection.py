"""How soon the hub notices that a server has died, hangs, or has returned.

The servers, the sidecar and the hub are separate processes on loopback. Nineteen more
endpoints are healthy throughout. Without a sidecar the hub learns nothing before its next
probe. So those rows count from the announced time of that probe (`next_check_at`, read
before the server is killed). Their interval is 10 s instead of 30 s, which changes only the
wait, and five servers are measured at a time. With a sidecar the interval is the usual
30 s, and the rows count from the signal itself. A return counts from the moment at which
the server listens again.
"""

import asyncio
import contextlib
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import grpc

from benchmarks import hubs
from benchmarks.rows import Budget, Row, at_most
from benchmarks.sampling import percentile
from benchmarks.simulated_servers import simulated_servers
from llmhub.v1.admin_service_pb2 import CreateTokenRequest, RegisterEndpointRequest
from llmhub.v1.admin_service_pb2_grpc import AdminServiceStub
from llmhub.v1.endpoint_pb2 import STATUS_HEALTHY, STATUS_UNHEALTHY, Endpoint, Status
from llmhub.v1.registry_service_pb2 import GetEndpointRequest
from llmhub.v1.registry_service_pb2_grpc import RegistryServiceStub
from llmhub.v1.resources_pb2 import ROLE_SIDECAR

_OTHERS = 19
_AT_A_TIME = 5
_INTERVAL_S = 10.0
_POLL_S = 0.01
_DEADLINE_S = 60.0
_AGENT = "bench-1"

# The events of a server, in order, and the budgets for the worst time without and with a
# sidecar.
_KILLED, _BACK, _HUNG, _GOES_ON = "killed", "restarted", "stopped (hangs)", "continued"
_BUDGETS: dict[str, tuple[Budget, Budget]] = {
    _KILLED: (at_most(3), at_most(5)),
    _BACK: (at_most(3), at_most(3)),
    # The probe's timeout is 5 s.
    _HUNG: (at_most(8), at_most(8)),
    _GOES_ON: (at_most(3), at_most(3)),
}


async def run(*, quick: bool) -> list[Row]:
    """Rows of the median and the worst time to each status, without and with a sidecar."""
    rounds = 5 if quick else 20
    alone, helped = await asyncio.gather(_alone(rounds // _AT_A_TIME), _helped(rounds))
    return [*_rows(alone, has_sidecar=False), *_rows(helped, has_sidecar=True)]


def _rows(times: dict[str, list[float]], *, has_sidecar: bool) -> list[Row]:
    rows = []
    for change, taken in times.items():
        to = "UNHEALTHY" if change in (_KILLED, _HUNG) else "HEALTHY"
        since = "from the signal, with a sidecar" if has_sidecar else "from the next probe's time"
        work = f"server {change} → {to}, {since}"
        budget = _BUDGETS[change][has_sidecar]
        rows += [
            Row(work=f"{work}: median of {len(taken)}", unit="s", subject=percentile(taken, 0.5)),
            Row(work=f"{work}: worst", unit="s", subject=max(taken), budget=budget),
        ]
    return rows


@dataclass(slots=True)
class _Seen:
    """One endpoint as a hub sees it."""

    stub: RegistryServiceStub
    metadata: Sequence[tuple[str, str]]
    id: str
    times: dict[str, list[float]] = field(default_factory=lambda: {key: [] for key in _BUDGETS})

    async def endpoint(self) -> Endpoint:
        request = GetEndpointRequest(id=self.id)
        reply = await self.stub.GetEndpoint(request, metadata=self.metadata, timeout=5)
        return reply.endpoint

    async def until(self, status: Status) -> float:
        """Waits for a status; returns the time (epoch seconds) at which it was observed."""
        async with asyncio.timeout(_DEADLINE_S):
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    if (await self.endpoint()).status == status:
                        return time.time()
                await asyncio.sleep(_POLL_S)


class _Server:
    """A fake server in a separate process, always on the same port."""

    def __init__(self) -> None:
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        process = self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tools.fleetsim", "--port", str(self.port)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(20):
            self.port = int((await process.stdout.readline()).split()[0].rpartition(b":")[2])
            await process.stdout.readline()

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()


async def _alone(rounds: int) -> dict[str, list[float]]:
    """Measures several servers at a time, because each mostly waits for its next probe."""
    async with _hub(_INTERVAL_S) as (hub, channel):

        async def one() -> dict[str, list[float]]:
            async with _server() as server:
                request = RegisterEndpointRequest(host="127.0.0.1", port=server.port)
                stub = AdminServiceStub(channel)
                reply = await stub.RegisterEndpoint(request, metadata=hub.metadata, timeout=5)
                seen = _Seen(RegistryServiceStub(channel), hub.metadata, reply.endpoint.id)

                async def since() -> float:
                    return (await seen.endpoint()).next_check_at.ToMilliseconds() / 1000

                await _measure(seen, server, rounds, since)
                return seen.times

        taken = await asyncio.gather(*(one() for _ in range(_AT_A_TIME)))
    return {change: [each for times in taken for each in times[change]] for change in _BUDGETS}


async def _helped(rounds: int) -> dict[str, list[float]]:
    async with _hub(30.0) as (hub, channel), _server() as server:
        request = CreateTokenRequest(role=ROLE_SIDECAR, agent_id=_AGENT)
        stub = AdminServiceStub(channel)
        token = (await stub.CreateToken(request, metadata=hub.metadata, timeout=5)).token
        async with _sidecar(hub, server, token):
            id_ = f"127.0.0.1:{server.port}"
            seen = _Seen(RegistryServiceStub(channel), hub.metadata, id_)

            async def since() -> float:
                return time.time()

            await _measure(seen, server, rounds, since)
            return seen.times


async def _measure(
    seen: _Seen, server: _Server, rounds: int, since: Callable[[], Awaitable[float]]
) -> None:
    """Kills, starts, stops and continues the server; records how soon the hub notices."""
    for _ in range(rounds):
        await _settle(seen)
        began_s = await since()
        await server.kill()
        await _note(seen, _KILLED, began_s, STATUS_UNHEALTHY)
        await server.start()
        await _note(seen, _BACK, await since(), STATUS_HEALTHY)
        await _settle(seen)
        began_s = await since()
        server.send(signal.SIGSTOP)
        await _note(seen, _HUNG, began_s, STATUS_UNHEALTHY)
        began_s = await since()
        server.send(signal.SIGCONT)
        await _note(seen, _GOES_ON, began_s, STATUS_HEALTHY)


async def _settle(seen: _Seen) -> None:
    """Waits until the endpoint is healthy, and then for a random time."""
    await seen.until(STATUS_HEALTHY)
    await asyncio.sleep(random.uniform(0.5, 3.5))


async def _note(seen: _Seen, change: str, began_s: float, status: Status) -> None:
    # A probe that was due while the server was starting may have come before it listened.
    seen.times[change].append(max(0.0, await seen.until(status) - began_s))


@contextlib.asynccontextmanager
async def _hub(
    interval_s: float,
) -> AsyncIterator[tuple[hubs.RunningHub, grpc.aio.Channel]]:
    """Runs a hub with a fleet of healthy endpoints."""
    async with (
        simulated_servers(_OTHERS, ("ok",)) as addresses,
        hubs.running_hub(
            addresses=addresses, settings={"LLM_HUB_PROBES__INTERVAL_S": str(interval_s)}
        ) as hub,
        hubs.channel(hub.grpc_port) as channel,
    ):
        yield hub, channel


@contextlib.asynccontextmanager
async def _server() -> AsyncIterator[_Server]:
    server = _Server()
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


@contextlib.asynccontextmanager
async def _sidecar(hub: hubs.RunningHub, server: _Server, token: str) -> AsyncIterator[None]:
    with tempfile.NamedTemporaryFile("w", suffix=".token") as file:
        file.write(token)
        file.flush()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hub.cli", "sidecar", "--no-discover"),
            *("--hub", f"ws://127.0.0.1:{hub.ws_port}", "--agent", _AGENT),
            *("--token-file", file.name, "--endpoint", f"http://127.0.0.1:{server.port}"),
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            process.terminate()
            await process.wait()

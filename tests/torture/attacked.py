"""Each attack against a hub of its own, with honest clients beside it.

A measurement is a pair on one hub. First the attack runs. Then it has ended, and a program
that does nothing but use as much of the machine as the attack did runs instead: this is
what the honest clients' times are compared with, because attacker, hub and clients share
two cores. Attacker and burner have a lower priority than hub and clients, by ten steps of
nice. A pair that misses the goal is measured again, and the median of three counts.
"""

import asyncio
import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.fleet import store_fleet
from benchmarks.machine import raise_open_files
from benchmarks.sampling import percentile
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.engines import ENGINES
from tests.support.hub import ROOT, HubProcess
from tests.torture.attacks.catalogue import GRPC, OTHERS
from tests.torture.attacks.target import Target
from tests.torture.honest import LOWER, Client, GrpcClient, HttpClient, SidecarClient, prefer
from tests.torture.outcome import Row, Scale, settings_file

_GOAL = 3.0
_BUDGET = 1_000_000_000
_ADDRESS_SPACE = 3 * 1024**3
_DESCRIPTORS = 4_096
_ENDPOINTS, _AGENTS, _ATTACKERS = 1_000, 60, 20
_READY_S = 30.0
_BURN = """
import sys, time
share = float(sys.argv[1])
while True:
    began = time.process_time()
    while time.process_time() - began < share * 0.01:
        pass
    time.sleep((1 - share) * 0.01)
"""


@dataclass(slots=True)
class Phase:
    """What the honest clients saw for a while."""

    p99_ms: dict[str, float]
    failures: list[str]


@dataclass(slots=True)
class Pair:
    """An attack, and as much load without it."""

    attack: Phase
    idle: Phase
    count: int
    accepted: int
    peak_bytes: int

    def ratio(self, transport: str) -> float:
        return self.attack.p99_ms[transport] / self.idle.p99_ms[transport]

    @property
    def worst(self) -> float:
        return max(self.ratio(transport) for transport in self.idle.p99_ms)


@dataclass(slots=True)
class Outcome:
    """The pairs of one attack on one engine."""

    name: str
    pairs: list[Pair] = field(default_factory=list)

    @property
    def median(self) -> Pair:
        ordered = sorted(self.pairs, key=lambda pair: pair.worst)
        return ordered[len(ordered) // 2]

    @property
    def failures(self) -> list[str]:
        return [each for pair in self.pairs for each in pair.attack.failures]

    @property
    def peak_bytes(self) -> int:
        return max(pair.peak_bytes for pair in self.pairs)

    @property
    def wrong(self) -> int:
        """Failures of honest clients, accepted lies, and budgets that were exceeded."""
        accepted = sum(pair.accepted for pair in self.pairs)
        return len(self.failures) + accepted + (self.peak_bytes > _BUDGET)

    def line(self) -> str:
        pair = self.median
        cells = [
            f"{pair.idle.p99_ms[at]:.1f} → {pair.attack.p99_ms[at]:.1f} ({pair.ratio(at):.1f})"
            for at in pair.idle.p99_ms
        ]
        peak = f"{self.peak_bytes / 1e6:.0f}"
        return " | ".join(["", self.name, *cells, str(self.wrong), peak, ""]).strip(" ")


HEAD = (
    "| attack | gRPC p99, ms | HTTP p99, ms | WebSocket p99, ms | failures | peak MB |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: |"
)


async def run(scale: Scale, directory: Path) -> list[Row]:
    """All attacks on the native engine, and those over gRPC on grpcio as well."""
    hard = raise_open_files()
    # The hub inherits it: with fewer descriptors, strangers who hold them do more harm.
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, hard))
    rows = []
    for engine in ENGINES:
        names = [*GRPC, *OTHERS] if engine == ENGINES[0] else [*GRPC]
        chosen = [name for name in names if any(part in name for part in scale.attacks)]
        if not chosen:
            continue
        outcomes = []
        print(f"\n{engine}\n{HEAD}", file=sys.stderr)
        for number, name in enumerate(chosen):
            outcomes.append(await _measured(name, engine, scale, directory / f"{engine}-{number}"))
            print(outcomes[-1].line(), *outcomes[-1].failures[:2], file=sys.stderr, flush=True)
        rows.append(_row(engine, outcomes))
    return rows


def _row(engine: str, outcomes: Sequence[Outcome]) -> Row:
    missed = [each for each in outcomes if each.median.worst > _GOAL]
    peak = max(each.peak_bytes for each in outcomes) / 1e6
    worst = max(each.median.worst for each in outcomes)
    return Row(
        torture=f"attacks, gRPC by {engine}",
        times=len(outcomes),
        checked="honest clients of three transports beside each; memory budget of 1,000 MB",
        lost=sum(each.wrong for each in outcomes),
        seen=f"p99 at most {worst:.1f} times idle; more than {_GOAL:g} times: {len(missed)};"
        f" at most {peak:.0f} MB",
        details="\n".join([HEAD, *(each.line() for each in outcomes)]),
    )


async def _measured(name: str, engine: str, scale: Scale, directory: Path) -> Outcome:
    directory.mkdir()
    config = settings_file(
        directory, rate_limits={"enabled": True}, overload={"memory_bytes": _BUDGET}
    )
    data = directory / "data"
    fleet = await store_fleet(data, agents=_AGENTS + _ATTACKERS, endpoints=_ENDPOINTS)
    (data / "admin.token").write_text(fleet.admin_token + "\n")
    outcome = Outcome(name)
    process = HubProcess(data, "--config", config, environment={"LLM_HUB_GRPC__ENGINE": engine})
    try:
        await process.start()
        prefer(process.pid)
        resource.prlimit(process.pid, resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
        async with process.client() as hub:
            honest, reader = await hub.token(ROLE_READER), await hub.token(ROLE_READER)
        target = Target(
            ws=process.addresses["ws"],
            grpc=process.addresses["grpc"],
            http=process.addresses["http"],
            reader=reader,
            sidecars=fleet.agents[_AGENTS:],
            foreign=fleet.endpoint_ids[0],
        )
        clients = [
            GrpcClient(target, honest),
            HttpClient(target, honest),
            await asyncio.to_thread(SidecarClient, target, fleet.agents[:_AGENTS]),
        ]
        for client in clients:
            client.start()
        try:
            await _phase(clients, 1.0)
            for _ in range(3):
                outcome.pairs.append(await _pair(name, target, process.pid, clients, scale))
                if outcome.median.worst <= _GOAL or not scale.again:
                    break
        finally:
            for client in clients:
                await asyncio.to_thread(client.stop)
    finally:
        await process.close()
    return outcome


async def _pair(
    name: str, target: Target, pid: int, clients: Sequence[Client], scale: Scale
) -> Pair:
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    async with _running("-m", "tests.torture.attacks", name, target.encoded()) as attacker:
        assert attacker.stdout is not None
        async with asyncio.timeout(_READY_S):
            line = await attacker.stdout.readline()
        if line != b"ready\n":
            raise RuntimeError(f"the attack ended: {name}")
        starting = await _phase(clients, 0.0)
        began, cpu = time.monotonic(), _cpu_s(attacker.pid)
        attack = await _phase(clients, scale.attack_s)
        share = (_cpu_s(attacker.pid) - cpu) / (time.monotonic() - began)
        attack.failures += starting.failures
        assert attacker.stdin is not None
        attacker.stdin.write(b"\n")
        async with asyncio.timeout(_READY_S):
            did = json.loads(await attacker.stdout.readline())
            await attacker.wait()
    peak = _peak_bytes(pid)
    await _phase(clients, 1.0)
    async with _running("-c", _BURN, f"{min(share, 0.98):.2f}"):
        await _phase(clients, 0.3)
        idle = await _phase(clients, scale.attack_s)
    return Pair(attack, idle, did["count"], did["accepted"], peak)


def _be_lower() -> None:
    # Below the hub, whether or not that could be raised.
    os.nice(0 if os.geteuid() == 0 else LOWER)


@contextlib.asynccontextmanager
async def _running(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"},
        preexec_fn=_be_lower,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _phase(clients: Sequence[Client], seconds: float) -> Phase:
    """Lets the clients work; what they saw before is dropped if the phase takes any time."""
    if seconds:
        before = [client.take() for client in clients]
        await asyncio.sleep(seconds)
    else:
        before = []
    p99_ms, failures = {}, [each for _, failed in before for each in failed]
    for client in clients:
        times, failed = client.take()
        failures += failed
        p99_ms[client.transport] = percentile(times, 0.99) if times else seconds * 1e3
    return Phase(p99_ms, failures)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"process {pid} has no VmHWM")

"""The endpoint picker behind a real Envoy, compared with a bare picker and with Envoy alone.

All three have the same endpoints and the same configuration but for who picks. What a picker
adds is its latency less that of Envoy alone, in the same run.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import envoy, hubs
from benchmarks.process import ServerProcess, serving
from benchmarks.raw_http import Load, chat_request, closed_loop, connect, paced
from benchmarks.rows import Budget, Row, at_most, ratio, ratio_at_least
from benchmarks.sampling import Sample, in_turn, percentile

_ENDPOINTS, _MODELS, _MODEL = 1000, 5, "gemma3:8b"
_SMALL, _LARGE = 1_000, 220_000
_RATE = 500.0
_PATH = "/v1/chat/completions"
_QUIET_CPU_S = 0.02
_MIB = 2**20

Take = Callable[[], Awaitable[Sample]]


@dataclass(frozen=True, slots=True)
class _Contender:
    """One Envoy, its picker if it has one, and a token for its requests."""

    envoy: envoy.RunningEnvoy
    picker: ServerProcess | None
    token: str = ""

    def cpu_s(self) -> float:
        return self.picker.cpu_s if self.picker is not None else 0.0


async def run(*, quick: bool) -> list[Row]:
    """Measures what the picker adds to a request; no rows without Envoy."""
    if envoy.program() is None:
        print("envoy: not on PATH, so its suite is left out")
        return []
    async with _contenders() as contenders:
        return await _measure(contenders, quick=quick)


@asynccontextmanager
async def _contenders() -> AsyncIterator[Mapping[str, _Contender]]:
    """Starts a server that stands for all endpoints, the pickers, and an Envoy for each."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llm-hub-bench-")))
        hub = await stack.enter_async_context(
            hubs.running_hub(
                endpoints=_ENDPOINTS,
                models=_MODELS,
                settings={"LLM_HUB_GATEWAY__ENABLED": "true"},
                probed=False,
            )
        )
        await stack.enter_async_context(serving("upstream", "0.0.0.0:11434", "0", "0", "0"))
        addresses = hub.fleet.endpoint_ids
        file = directory / "addresses"
        file.write_text("\n".join(_with_model(addresses)))
        bare = await stack.enter_async_context(serving("bare_picker", str(file)))

        async def started(configuration: envoy.Configuration) -> envoy.RunningEnvoy:
            return await stack.enter_async_context(envoy.running_envoy(configuration))

        token = hub.fleet.admin_token
        found = {
            "alone": _Contender(await started(envoy.alone(_with_model(addresses))), None),
            "bare": _Contender(
                await started(envoy.with_picker(bare.ready["port"], addresses[1:])), bare
            ),
            "hub": _Contender(
                await started(envoy.with_hub(hub.grpc_port, token)), hub.process, token
            ),
        }
        await _until_quiet(hub.process)
        yield found


def _with_model(addresses: Sequence[str]) -> list[str]:
    """The endpoints that have the model, see `benchmarks.fleet.observation`."""
    return [address for number, address in enumerate(addresses) if number % 7 == 1]


async def _until_quiet(process: ServerProcess) -> None:
    """Waits until the hub has done the work of its start."""
    used = -1.0
    async with asyncio.timeout(120):
        while process.cpu_s - used > _QUIET_CPU_S:
            used = process.cpu_s
            await asyncio.sleep(1)


async def _measure(contenders: Mapping[str, _Contender], *, quick: bool) -> list[Row]:
    rounds = 2 if quick else 5
    rows = []
    for size, counts in ((_SMALL, (800, 4_000)), (_LARGE, (200, 800))):
        for callers, count in zip((1, 16), counts, strict=True):
            taken = await in_turn(
                rounds,
                **{
                    name: _closed(contender, size, callers, count // (2 if quick else 1))
                    for name, contender in contenders.items()
                },
            )
            rows += _closed_rows(f"{_size(size)}, {_callers(callers)}", taken, size)
    taken = await in_turn(
        rounds,
        **{
            name: _paced(contender, 1_000 if quick else 2_500)
            for name, contender in contenders.items()
        },
    )
    rows += _paced_rows(taken)
    rows.append(await _memory(contenders["hub"], requests=4_000 if quick else 20_000))
    return rows


def _closed(contender: _Contender, size: int, callers: int, count: int) -> Take:
    async def take() -> Sample:
        connections = await connect(contender.envoy.port, callers)
        before = contender.cpu_s(), contender.envoy.process.cpu_s
        load = await closed_loop(connections, _request(contender, size), count)
        after = contender.cpu_s(), contender.envoy.process.cpu_s
        for each in connections:
            each.close()
        return _sample(load, count, before, after)

    return take


def _paced(contender: _Contender, count: int) -> Take:
    async def take() -> Sample:
        connections = await connect(contender.envoy.port, 16)
        before = contender.cpu_s(), contender.envoy.process.cpu_s
        load = await paced(connections, _request(contender, _SMALL), count, _RATE)
        after = contender.cpu_s(), contender.envoy.process.cpu_s
        for each in connections:
            each.close()
        return _sample(load, count, before, after)

    return take


def _request(contender: _Contender, size: int) -> bytes:
    """A chat whose body has about that many bytes; the model comes last, as in some clients."""
    filler = "x" * (size - 120)
    body = json.dumps({"messages": [{"role": "user", "content": filler}], "model": _MODEL})
    return chat_request("llm.test", _PATH, body.encode(), contender.token)


def _sample(
    load: Load, count: int, before: tuple[float, float], after: tuple[float, float]
) -> Sample:
    if load.failures or len(load.seconds) != count:
        raise RuntimeError(f"{len(load.failures)} requests failed: {load.failures[:3]}")
    return {
        "p50_ms": percentile(load.seconds, 0.5) * 1e3,
        "p95_ms": percentile(load.seconds, 0.95) * 1e3,
        "rate": load.rate,
        "picker_us": (after[0] - before[0]) / count * 1e6,
        "envoy_us": (after[1] - before[1]) / count * 1e6,
    }


def _added(
    work: str, taken: Mapping[str, Sample], figure: str, budget: Budget | None = None
) -> Row:
    """What the hub adds to Envoy alone; the floor is what the bare picker adds."""
    beside = taken["alone"][figure]
    return Row(
        work=f"Envoy, {work}: added {figure[:3]}",
        unit="ms",
        subject=taken["hub"][figure] - beside,
        floor=taken["bare"][figure] - beside,
        budget=budget,
    )


def _closed_rows(work: str, taken: Mapping[str, Sample], size: int) -> list[Row]:
    hub, bare, alone = taken["hub"], taken["bare"], taken["alone"]
    return [
        Row(work=f"Envoy alone, {work}: p50", unit="ms", subject=alone["p50_ms"]),
        _added(work, taken, "p50_ms", ratio(1.3)),
        _added(work, taken, "p95_ms"),
        Row(
            work=f"Envoy, {work}: requests",
            unit="1/s",
            subject=hub["rate"],
            floor=bare["rate"],
            budget=ratio_at_least(0.85) if size == _LARGE else None,
        ),
        Row(
            work=f"Envoy, {work}: the picker's CPU",
            unit="µs/request",
            subject=hub["picker_us"],
            floor=bare["picker_us"],
        ),
    ]


def _paced_rows(taken: Mapping[str, Sample]) -> list[Row]:
    work = f"{_size(_SMALL)}, {_RATE:g} requests/s"
    return [
        Row(work=f"Envoy alone, {work}: p50", unit="ms", subject=taken["alone"]["p50_ms"]),
        _added(work, taken, "p50_ms", at_most(0.7)),
        _added(work, taken, "p95_ms", at_most(4.5)),
        Row(
            work=f"Envoy, {work}: the picker's CPU",
            unit="µs/request",
            subject=taken["hub"]["picker_us"],
            floor=taken["bare"]["picker_us"],
        ),
    ]


async def _memory(hub: _Contender, requests: int) -> Row:
    """How much the hub's memory grows with more requests, after all those before."""
    assert hub.picker is not None
    before = hub.picker.resident_bytes
    for size, count in ((_SMALL, requests), (_LARGE, requests // 10)):
        await _closed(hub, size, 16, count)()
    grown = (hub.picker.resident_bytes - before) / _MIB
    return Row(
        work=f"Envoy, {requests * 11 // 10:,} further requests: growth of the hub",
        unit="MiB resident",
        subject=grown,
        budget=at_most(8),
    )


def _size(size: int) -> str:
    return f"{size // 1000} kB"


def _callers(count: int) -> str:
    return "1 caller" if count == 1 else f"{count} callers"

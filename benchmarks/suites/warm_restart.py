"""The cost of storing and restoring observed facts of 10,000 endpoints and hosts.

It is measured in this process, with the hub's own registry, publisher and file, because
their CPU time would disappear in the noise of a whole hub.
"""

import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.rows import Row, at_most
from hub.base.clock import ManualClock
from hub.base.moment import SystemTime
from hub.cluster.learned import LearnedLoadTimes
from hub.cluster.publisher import FactPublisher
from hub.cluster.warm_start import Restored, WarmStart
from hub.registry.observation import Observation
from hub.registry.state import Registry
from hub.stores.local_facts import LocalFacts
from llmhub.v1.endpoint_pb2 import BACKEND_OLLAMA, Endpoint, Model
from llmhub.v1.frame_pb2 import ReportResourcesRequest

_COUNT: Final = 10_000
_MODELS: Final = 5
_INTERVAL_MS: Final = 30_000
_ROUND_MS: Final = 100
# In each interval, one of this many endpoints shows different models.
_CHANGED: Final = 100
_MIB: Final = 1024 * 1024


class _Fleet:
    """A registry whose endpoints and hosts all report once per interval, in turn."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.registry = Registry(first_revision=1)
        self.ids = [f"10.0.{n // 250}.{n % 250 + 1}:11434" for n in range(_COUNT)]
        for id_ in self.ids:
            host, _, port = id_.partition(":")
            self.registry.put_endpoint(
                Endpoint(id=id_, host=host, port=int(port), scheme="http", name=id_)
            )
        self._models = [_models("")] * _COUNT
        self._done = 0

    def advance(self) -> None:
        """Makes the share of the fleet that is due in a round be probed and report."""
        self.clock.advance(_ROUND_MS)
        share = _COUNT * _ROUND_MS / _INTERVAL_MS
        until = round((self.clock.now_ms() - ManualClock().now_ms()) / _ROUND_MS * share)
        for turn in range(self._done, until):
            self._observe(turn % _COUNT, turn // _COUNT)
        self._done = until

    def _observe(self, number: int, interval: int) -> None:
        now_ms = self.clock.now_ms()
        if (number + interval) % _CHANGED == 0:
            self._models[number] = _models(f"-{interval}")
        seen = Observation(
            checked_at_ms=now_ms,
            next_check_at_ms=now_ms + _INTERVAL_MS,
            backend=BACKEND_OLLAMA,
            version="0.17.4",
            models=self._models[number],
            latency_ms=1 + number % 7,
        )
        self.registry.observe(self.ids[number], seen)
        report = ReportResourcesRequest(cpu_percent=(number + 7 * interval) % 100)
        self.registry.report_resources(f"node-{number}", report, now_ms)


def _models(suffix: str) -> tuple[Model, ...]:
    return tuple(
        Model(name=f"model-{n}{suffix}", digest=f"{n:064x}", size_bytes=4_000_000_000)
        for n in range(_MODELS)
    )


async def run(*, quick: bool) -> list[Row]:
    """Measures the intervals after the first, and a start with the stored facts."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "facts.bin"
        first_s, usual_s = await _publish(path, intervals=1 if quick else 4)
        size = path.stat().st_size / _MIB
        restored, restore_s = await _restore(path)
    if restored.endpoints != _COUNT:
        raise RuntimeError(f"{restored.endpoints} endpoints were restored, expected {_COUNT}")
    name = "facts of 10,000 endpoints and hosts"
    whole_s = _INTERVAL_MS / 1000
    return [
        Row(
            work=f"{name} kept, every 30 s",
            unit="% of a core",
            subject=usual_s / whole_s * 100,
            budget=at_most(3),
        ),
        Row(
            work=f"{name} kept, first interval of a new fleet",
            unit="% of a core",
            subject=first_s / whole_s * 100,
        ),
        Row(work=f"{name}: the file", unit="MiB", subject=size),
        Row(work=f"{name}: restored at a start", unit="s", subject=restore_s, budget=at_most(2)),
    ]


async def _publish(path: Path, *, intervals: int) -> tuple[float, float]:
    """CPU seconds of the publisher in the first interval, and the mean of the others."""
    fleet = _Fleet()
    facts = LocalFacts(path, SystemTime())
    await facts.open()
    learned = {"load_times": LearnedLoadTimes(fleet.registry.health.load_times)}
    publisher = FactPublisher(fleet.registry, facts, fleet.clock, learned, interval_ms=_INTERVAL_MS)
    task = publisher.start(Restored())
    # The loop below runs and measures the rounds instead.
    task.cancel()
    spent = []
    for _ in range(1 + intervals):
        spent.append(0.0)
        for _ in range(_INTERVAL_MS // _ROUND_MS):
            fleet.advance()
            started = time.process_time()
            await publisher.publish_changes()
            spent[-1] += time.process_time() - started
    await publisher.stop()
    await facts.close()
    return spent[0], sum(spent[1:]) / intervals


async def _restore(path: Path) -> tuple[Restored, float]:
    """What a start restores, and how many seconds it takes."""
    registry = _Fleet().registry
    facts = LocalFacts(path, SystemTime())
    started = time.perf_counter()
    found = await facts.open()
    restored = WarmStart(registry, {}).restore(found, ManualClock().now_ms())
    elapsed_s = time.perf_counter() - started
    await facts.close()
    return restored, elapsed_s

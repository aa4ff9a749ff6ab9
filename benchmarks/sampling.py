"""Rounds of subject and floor, taken in turn, so that what disturbs one disturbs both."""

from collections.abc import Awaitable, Callable, Mapping
from statistics import median

from benchmarks.process import ServerProcess

Sample = Mapping[str, float]


async def in_turn(
    rounds: int, **contenders: Callable[[], Awaitable[Sample]]
) -> dict[str, dict[str, float]]:
    """Runs every contender once a round; returns the medians by contender and figure.

    A first round that is not counted warms all of them up.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, take in contenders.items():
            sample = await take()
            if number:
                samples[name].append(sample)
    return {
        name: {figure: median(sample[figure] for sample in taken) for figure in taken[0]}
        for name, taken in samples.items()
    }


async def cpu_us_each(
    server: ServerProcess, count: int, work: Callable[[], Awaitable[None]]
) -> float:
    """The server's CPU microseconds for each of the `count` things that `work` has it do."""
    before = server.cpu_s
    await work()
    return (server.cpu_s - before) / count * 1e6


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0..1) of the values lie."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]

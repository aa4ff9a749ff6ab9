"""Rounds of subject and floor, taken in turn, so that what disturbs one disturbs both."""

from collections.abc import Awaitable, Callable, Mapping
from statistics import median

Sample = Mapping[str, float]


async def in_turn(
    rounds: int, *, warm_up: bool = True, **contenders: Callable[[], Awaitable[Sample]]
) -> dict[str, dict[str, float]]:
    """Runs every contender once a round; returns the medians by contender and figure.

    A first round that is not counted warms all of them up, unless they do that
    themselves.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for number in range(rounds + warm_up):
        for name, take in contenders.items():
            sample = await take()
            if number >= warm_up:
                samples[name].append(sample)
    return {
        name: {figure: median(sample[figure] for sample in taken) for figure in taken[0]}
        for name, taken in samples.items()
    }


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0..1) of the values lie."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]

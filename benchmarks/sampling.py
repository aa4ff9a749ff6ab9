"""Alternating rounds of subject and floor, so that a disturbance affects both."""

from collections.abc import Awaitable, Callable, Mapping
from statistics import median

Sample = Mapping[str, float]


async def in_turn(
    rounds: int, *, warm_up: bool = True, **contenders: Callable[[], Awaitable[Sample]]
) -> dict[str, dict[str, float]]:
    """Runs every contender once per round; returns the medians by contender and figure.

    With `warm_up`, a first round that is not counted warms up all contenders.
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
    """The value below which `share` (0 to 1) of the values lie."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]

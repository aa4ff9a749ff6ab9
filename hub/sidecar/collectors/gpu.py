"""One accelerator's figures, and what the devices of a host add up to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device, in the units of the frames; None is unknown."""

    index: int
    name: str | None = None
    uuid: str | None = None
    utilization_percent: float | None = None
    vram_used_bytes: int | None = None
    vram_total_bytes: int | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None

    def frame(self) -> dict[str, object]:
        """The device as it stands in a `resource_report`; unknown figures are left out."""
        figures = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in figures.items() if value is not None}


ReadGpus = Callable[[], Sequence[Gpu]]
"""Reads the devices of one vendor; none where there are none or it cannot tell."""


def total(values: Sequence[int | None]) -> int | None:
    """The sum, or None where there is nothing to add or a part of it is unknown."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None

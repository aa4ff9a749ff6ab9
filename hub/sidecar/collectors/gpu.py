"""The figures of one accelerator, and sums over the devices of a host."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device, in the units of the frames; None means unknown."""

    index: int
    name: str | None = None
    uuid: str | None = None
    utilization_percent: float | None = None
    vram_used_bytes: int | None = None
    vram_total_bytes: int | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None

    def frame(self) -> dict[str, object]:
        """The device as an entry of a `resource_report`; unknown figures are omitted."""
        figures = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in figures.items() if value is not None}


ReadGpus = Callable[[], Sequence[Gpu]]
"""Reads the devices of one vendor; empty if there are none or they cannot be read."""


def total(values: Sequence[int | None]) -> int | None:
    """The sum, or None if there is no value or one of them is unknown."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None

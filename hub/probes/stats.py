"""Statistics of the probes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """Figures for metrics. Counts are of endpoints or probes, times are milliseconds.

    `own_faults` counts the probes that the hub could not make; they are neither
    counted in `probes` nor reported. `worst_lateness_ms` is the greatest delay of a
    probe of an endpoint that answered the last time, in the current and the last
    interval.
    """

    watched: int
    active: dict[str, int]
    queued: dict[str, int]
    probes: int
    failures: int
    own_faults: int
    worst_lateness_ms: int


class WorstOf:
    """The greatest value of the current and the last period, each `period_ms` long."""

    def __init__(self, period_ms: int) -> None:
        self._period_ms = period_ms
        self._period = 0
        self._now = 0
        self._last = 0

    def add(self, now_ms: int, value: int) -> None:
        """Adds a value."""
        self._turn(now_ms)
        self._now = max(self._now, value)

    def worst(self, now_ms: int) -> int:
        """The greatest value; 0 if there is none."""
        self._turn(now_ms)
        return max(self._now, self._last)

    def _turn(self, now_ms: int) -> None:
        period = now_ms // self._period_ms
        if period != self._period:
            self._last = self._now if period == self._period + 1 else 0
            self._now = 0
            self._period = period

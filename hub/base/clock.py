"""The hub's clock. Only shells hold one; everything else is told the time."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch; never goes back within a process."""
        ...


class SystemClock:
    """Wall time at the start plus monotonic time since.

    A wall clock that is set back must not stretch a deadline or reorder
    timestamps, so it is read once and the monotonic clock carries it on.
    CLOCK_BOOTTIME, where there is one, also counts the time a laptop sleeps.
    """

    def __init__(self) -> None:
        self._clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        self._offset_ns = time.time_ns() - time.clock_gettime_ns(self._clock)

    def now_ms(self) -> int:
        """See `Clock`."""
        return (time.clock_gettime_ns(self._clock) + self._offset_ns) // 1_000_000


class ManualClock:
    """A clock that stands still until it is moved: time as an argument."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """See `Clock`."""
        return self._now_ms

    def advance(self, milliseconds: int) -> None:
        """Moves the clock forward."""
        self._now_ms += milliseconds

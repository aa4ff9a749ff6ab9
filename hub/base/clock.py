"""The hub's clock. Only code that does I/O holds one; everywhere else time is an argument."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

# The event loop's clock stops while the machine sleeps, but the hub's clock does not.
# After a sleep, an alarm is late by at most this time.
_LONGEST_WAIT_S: Final = 60.0


class Clock(Protocol):
    """A source of the current time."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch; never goes backwards within a process."""
        ...


class SystemClock:
    """The wall time at the start plus the monotonic time since then.

    A wall clock that is set back must not stretch a deadline or reorder timestamps, so
    it is read only once. CLOCK_BOOTTIME, if the system has it, also counts the time that
    a laptop sleeps.
    """

    def __init__(self) -> None:
        self._clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        self._offset_ns = time.time_ns() - time.clock_gettime_ns(self._clock)

    def now_ms(self) -> int:
        """See `Clock`."""
        return (time.clock_gettime_ns(self._clock) + self._offset_ns) // 1_000_000


class ManualClock:
    """A clock for tests, which changes only when `advance` is called."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """See `Clock`."""
        return self._now_ms

    def advance(self, milliseconds: int) -> None:
        """Moves the clock forward."""
        self._now_ms += milliseconds


class Alarm:
    """Calls back once when the hub's clock reaches a time, unless it is cancelled."""

    def __init__(self, clock: Clock, at_ms: int, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._at_ms = at_ms
        self._callback = callback
        self._timer: asyncio.TimerHandle
        self._wait()

    def cancel(self) -> None:
        """Prevents the call. Idempotent."""
        self._timer.cancel()

    def _wait(self) -> None:
        wait_s = max(0.0, (self._at_ms - self._clock.now_ms()) / 1000)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(min(wait_s, _LONGEST_WAIT_S), self._check)

    def _check(self) -> None:
        if self._clock.now_ms() >= self._at_ms:
            self._callback()
        else:
            self._wait()

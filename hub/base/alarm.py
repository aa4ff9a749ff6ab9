"""A callback at a time of the hub's clock."""

import asyncio
from collections.abc import Callable

from hub.base.clock import Clock

# The loop's clock stands still while a machine sleeps, the hub's does not: after a
# sleep an alarm is late by no more than this.
_LONGEST_WAIT_S = 60.0


class Alarm:
    """Calls back once, when the hub's clock has reached a time, unless it is cancelled."""

    def __init__(self, clock: Clock, at_ms: int, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._at_ms = at_ms
        self._callback = callback
        self._timer: asyncio.TimerHandle
        self._wait()

    def cancel(self) -> None:
        """Nothing is called any more. Idempotent."""
        self._timer.cancel()

    def _wait(self) -> None:
        wait_s = max(0.0, (self._at_ms - self._clock.now_ms()) / 1000)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(min(wait_s, _LONGEST_WAIT_S), self._look)

    def _look(self) -> None:
        if self._clock.now_ms() >= self._at_ms:
            self._callback()
        else:
            self._wait()

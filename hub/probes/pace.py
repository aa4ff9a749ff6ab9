"""Limits an average rate: credit grows with time, and each start uses one unit. Pure."""

import math


class Pace:
    """Credit for at most `burst` starts, initially full. The rate is an argument.

    Times are epoch milliseconds, rates are starts per millisecond.
    """

    def __init__(self, burst: int) -> None:
        self._burst = burst
        self._credit = float(burst)
        self._earned_ms = 0

    def earn(self, now_ms: int, per_ms: float) -> None:
        """Adds the credit earned since the last call."""
        earned = max(0, now_ms - self._earned_ms) * per_ms
        self._credit = min(self._burst, self._credit + earned)
        self._earned_ms = now_ms

    @property
    def is_ready(self) -> bool:
        """Whether there is credit for a start."""
        return self._credit >= 1

    def take(self) -> bool:
        """Uses one unit of credit; False if there is none."""
        if not self.is_ready:
            return False
        self._credit -= 1
        return True

    def ready_ms(self, per_ms: float) -> int:
        """When there will be credit for a start, in epoch milliseconds."""
        missing = max(0.0, 1.0 - self._credit)
        return self._earned_ms + math.ceil(missing / per_ms)

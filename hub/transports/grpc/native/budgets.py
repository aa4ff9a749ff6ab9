"""Limits how often a peer may make the server work for nothing."""


class RateBudget:
    """A token bucket: holds `burst`, refills by `per_s` per second, and can be topped up."""

    __slots__ = ("_burst", "_left", "_per_s", "_updated")

    def __init__(self, *, burst: int, per_s: float, now: float) -> None:
        self._burst = float(burst)
        self._left = float(burst)
        self._per_s = per_s
        self._updated = now

    def earn(self, count: float) -> None:
        """Adds tokens, up to the burst."""
        left = self._left + count
        self._left = min(left, self._burst)

    def spend(self, count: float, now: float) -> bool:
        """Takes tokens; returns False if there are not enough."""
        self._left -= count
        if self._left >= 0:
            return True
        refilled = self._left + count + (now - self._updated) * self._per_s
        self._left = min(self._burst, refilled) - count
        self._updated = now
        return self._left >= 0

"""When to come back after a connection has ended: exponential back-off with full jitter.

Full jitter draws from the whole span, so that ten thousand sidecars that lost
their hub in the same moment come back evenly instead of in waves.
"""

from collections.abc import Callable

from hub.sidecar.ending import Ending

BASE_MS = 1_000
CAP_MS = 60_000
# After a restart that the hub announced, within this time.
SOON_MS = 3_000
# A connection that lasted this long was a good one.
STABLE_MS = 60_000


class ReconnectDelay:
    """Counts the failures in a row; `draw` returns a number in [0, 1)."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._failures = 0

    def delay_ms(self, ending: Ending, identified_for_ms: int | None) -> int:
        """How long to wait after a connection that was identified for so long, or never."""
        if ending.is_soon or (identified_for_ms is not None and identified_for_ms >= STABLE_MS):
            self._failures = 0
        # 2**16 seconds are beyond the cap; the exponent itself needs a bound too.
        span_ms = min(CAP_MS, BASE_MS << min(self._failures, 16))
        if ending.is_soon:
            span_ms = SOON_MS
        else:
            self._failures += 1
        return ending.wait_ms + int(self._draw() * span_ms)

"""Why a connection to the hub ended, and when to reconnect. Pure.

The delay has full jitter: it is random over the whole span, so that ten thousand
sidecars that lost their hub at the same moment reconnect evenly instead of in waves.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

_COOLDOWN = re.compile(r"retry in (\d{1,6})s")

# A refused token stays refused until an admin acts.
REFUSED_WAIT_MS = 30_000


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ended.

    `reason` is for the log. `wait_ms` is the minimum time before reconnecting.
    `is_soon`: the hub announced that it will be back. `is_replaced`: another
    connection has taken this agent's place.
    """

    reason: str
    wait_ms: int = 0
    is_soon: bool = False
    is_replaced: bool = False


def ending_of_close(code: int | None, reason: str) -> Ending:
    """Interprets a close frame from the hub: its code and reason (RFC 6455, section 7.1.5)."""
    said = f"{reason} ({code})" if reason else f"code {code}"
    match code:
        case 1001:
            return Ending(f"the hub is stopping: {said}", is_soon=True)
        case 1008:
            cooldown = _COOLDOWN.search(reason)
            wait_ms = int(cooldown[1]) * 1000 if cooldown else REFUSED_WAIT_MS
            return Ending(f"the hub refused: {said}", wait_ms=wait_ms)
        case 4001:
            return Ending("another sidecar identified as this agent", is_replaced=True)
        case None | 1006:
            return Ending("the connection was lost")
    return Ending(f"the hub closed the connection: {said}")


BASE_MS = 1_000
CAP_MS = 60_000
# The maximum delay after a restart that the hub announced.
SOON_MS = 3_000
# A connection that lasted this long resets the delay.
STABLE_MS = 60_000


class ReconnectDelay:
    """Counts consecutive failures; `draw` returns a number in [0, 1)."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._failures = 0

    def delay_ms(self, ending: Ending, identified_for_ms: int | None) -> int:
        """The delay after a connection that was identified for so long; None if never."""
        if ending.is_soon or (identified_for_ms is not None and identified_for_ms >= STABLE_MS):
            self._failures = 0
        # 2**16 seconds exceed the cap; the exponent itself must be bounded, too.
        span_ms = min(CAP_MS, BASE_MS << min(self._failures, 16))
        if ending.is_soon:
            span_ms = SOON_MS
        else:
            self._failures += 1
        return ending.wait_ms + int(self._draw() * span_ms)

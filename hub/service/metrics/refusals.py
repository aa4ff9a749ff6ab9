"""What the bounds refuse: counted each time, logged at most once per second.

A caller that is refused may come back at once and often. A log line for each refusal would
itself be a way to load the hub.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger()

_EVERY_S: Final = 1.0


class Refusals:
    """Counts refusals by transport and bound.

    Take both from a bounded set: the counts are kept for ever, and become labels of metrics.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds."""
        self._clock = clock
        self._logged: dict[tuple[str, str], tuple[float, int]] = {}
        self.counts: Counter[tuple[str, str]] = Counter()

    def note(self, transport: str, bound: str, remote_address: str = "") -> None:
        """Counts one refusal. Logs it if the last line about this bound is a second old."""
        kind = transport, bound
        self.counts[kind] += 1
        now = self._clock()
        logged_at, counted = self._logged.get(kind, (now - _EVERY_S, 0))
        if now - logged_at < _EVERY_S:
            return
        self._logged[kind] = now, self.counts[kind]
        log.warning(
            "refused beyond a bound",
            transport=transport,
            bound=bound,
            remote_address=remote_address,
            refused=self.counts[kind] - counted,
        )

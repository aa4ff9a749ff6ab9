"""The circuit breaker of one model of an endpoint. Pure.

    closed ─ failures ─► open ─ time ─► half open ─ the trial succeeds, or time ─► closed
                          ▲                 │
                          └─ the trial fails ┘

An open breaker keeps selections away. A half-open one lets a single selection with a lease
through; the outcome of that lease decides. If no trial ends in time, it closes: the
failures are then too old to count.
"""

from dataclasses import dataclass
from typing import Final

from llmhub.v1.endpoint_pb2 import (
    BREAKER_STATE_CLOSED,
    BREAKER_STATE_HALF_OPEN,
    BREAKER_STATE_OPEN,
    BreakerState,
)

FIRST_EJECTION_MS: Final = 10_000
"""How long a breaker stays open the first time, in milliseconds; doubled each time in a row."""

MAX_EJECTION_MS: Final = 300_000
"""How long a breaker stays open at most, in milliseconds."""

HALF_OPEN_MS: Final = 60_000
"""How long a half-open breaker waits for the end of a trial, in milliseconds."""

FORGIVEN_MS: Final = 300_000
"""A breaker that stayed closed this long begins with the first ejection time again."""


@dataclass(frozen=True, slots=True)
class _Trial:
    lease_id: str
    ends_ms: int


class Breaker:
    """The state of one breaker. `blamed_by` is the token that alone caused it to open, or ""."""

    def __init__(self) -> None:
        self.state: BreakerState = BREAKER_STATE_CLOSED
        self.reason = ""
        self.ejections = 0
        self.blamed_by = ""
        self._until_ms = 0
        self._closed_ms = 0
        self._trial: _Trial | None = None

    @property
    def is_closed(self) -> bool:
        """Whether it lets all requests through."""
        return self.state == BREAKER_STATE_CLOSED

    @property
    def on_trial(self) -> bool:
        """Whether the single trial is under way."""
        return self._trial is not None

    @property
    def changes_ms(self) -> int | None:
        """When the state changes by itself, in epoch milliseconds; None if it is closed."""
        return None if self.is_closed else self._until_ms

    @property
    def due_ms(self) -> int | None:
        """When to call `pass_time` next, in epoch milliseconds, or None."""
        if self.is_closed:
            return None
        return min(self._until_ms, self._trial.ends_ms) if self._trial else self._until_ms

    def open(self, reason: str, now_ms: int, blamed_by: str = "") -> None:
        """Opens, for longer than the last time unless that is long ago."""
        if self.is_closed and now_ms - self._closed_ms > FORGIVEN_MS:
            self.ejections = 0
        self.ejections += 1
        self.state = BREAKER_STATE_OPEN
        self.reason = reason
        self.blamed_by = blamed_by
        self._trial = None
        doubled = FIRST_EJECTION_MS * 2 ** min(self.ejections - 1, 10)
        self._until_ms = now_ms + min(doubled, MAX_EJECTION_MS)

    def pass_time(self, now_ms: int) -> bool:
        """Changes what changes by itself; returns whether the state did."""
        if self.is_closed:
            return False
        if self._trial is not None and self._trial.ends_ms <= now_ms:
            self._trial = None
        if self._until_ms > now_ms:
            return False
        if self.state == BREAKER_STATE_OPEN:
            self.state = BREAKER_STATE_HALF_OPEN
            self._until_ms = now_ms + HALF_OPEN_MS
        else:
            self.close(now_ms)
        return True

    def begin_trial(self, lease_id: str, ends_ms: int) -> bool:
        """Makes a lease the single trial; False if the breaker waits for none."""
        if self.state != BREAKER_STATE_HALF_OPEN or self._trial is not None:
            return False
        self._trial = _Trial(lease_id, ends_ms)
        return True

    def end_trial(self, lease_id: str) -> bool:
        """Ends the trial if it is of this lease; returns whether it was."""
        if self._trial is None or self._trial.lease_id != lease_id:
            return False
        self._trial = None
        return True

    def close(self, now_ms: int) -> None:
        """Closes."""
        self.state = BREAKER_STATE_CLOSED
        self.reason = self.blamed_by = ""
        self._trial = None
        self._closed_ms = now_ms

"""Flap damping: marks endpoints whose probes change their outcome too often. Pure.

It counts changes of outcome, not of status: an endpoint that fails every other probe never
becomes unhealthy, but cannot be trusted either. The mark does not change the status, which
still reflects the probes; the mark helps to choose an endpoint.
"""

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FlapMark:
    """Why an endpoint is not trusted, and when it is trusted again."""

    reason: str
    trusted_at_ms: int


@dataclass(slots=True, eq=False)
class _Outcomes:
    changes_ms: deque[int]
    trusted_at_ms: int | None = None
    reason: str = field(default="")


class Damper:
    """The recent changes of outcome of each endpoint.

    An endpoint is flapping after `changes` of them within `window_ms`, until it has been
    steady for `hold_ms`. Steady endpoints take no memory.
    """

    def __init__(self, *, changes: int, window_ms: int, hold_ms: int) -> None:
        if changes < 2:
            raise ValueError("flapping requires at least two changes of outcome")
        self._changes = changes
        self._window_ms = window_ms
        self._hold_ms = hold_ms
        self._records: dict[str, _Outcomes] = {}

    def __len__(self) -> int:
        """The number of endpoints with recent changes."""
        return len(self._records)

    def judge(self, id_: str, now_ms: int, *, changed: bool) -> FlapMark | None:
        """The mark after a probe, or None; `changed`: its outcome differs from the one before."""
        record = self._records.get(id_)
        if record is None:
            if not changed:
                return None
            record = self._records[id_] = _Outcomes(deque(maxlen=self._changes))
        if changed:
            self._count(record, now_ms)
        if record.trusted_at_ms is not None and now_ms >= record.trusted_at_ms:
            del self._records[id_]
            return None
        if record.trusted_at_ms is None:
            if record.changes_ms[-1] <= now_ms - self._window_ms:
                del self._records[id_]
            return None
        return FlapMark(record.reason, record.trusted_at_ms)

    def forget(self, id_: str) -> None:
        """Forgets an endpoint."""
        self._records.pop(id_, None)

    def _count(self, record: _Outcomes, now_ms: int) -> None:
        changes = record.changes_ms
        changes.append(now_ms)
        spread_ms = now_ms - changes[0]
        if len(changes) == self._changes and spread_ms < self._window_ms:
            record.reason = (
                f"probes changed between success and failure {self._changes} times "
                f"in {spread_ms / 1000:.0f} s"
            )
            record.trusted_at_ms = now_ms + self._hold_ms
        elif record.trusted_at_ms is not None:
            record.trusted_at_ms = now_ms + self._hold_ms

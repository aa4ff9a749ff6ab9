"""The lanes in which due probes wait, and the slots of each lane and host. Pure."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum


class Lane(Enum):
    """A queue of due probes with a limit of its own; lanes are served in this order."""

    ASKED = "asked"
    CONFIRM = "confirm"
    LIVE = "live"
    DOUBTFUL = "doubtful"


@dataclass(slots=True, eq=False)
class Run:
    """One probe in flight. It holds a slot of its lane until `Schedule.finish`."""

    id: str
    host: str
    lane: Lane
    due_ms: int
    started_ms: int
    ticket: int

    @property
    def lateness_ms(self) -> int:
        """How many milliseconds after its due time the probe started."""
        return max(0, self.started_ms - self.due_ms)


Waiting = tuple[int, str, str]
"""A due probe: its ticket, the endpoint's id, and the host."""


@dataclass(slots=True, eq=False)
class LaneQueue:
    """The due probes of one lane, at most `limit` in flight and `per_host` to one host."""

    limit: int
    per_host: int
    running: int = 0
    ready: deque[Waiting] = field(default_factory=deque)
    _host_running: dict[str, int] = field(default_factory=dict)
    # Due, but the host has no free slot. Kept separately, so that they need not be scanned.
    _parked: dict[str, deque[Waiting]] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        """Whether no slot of the lane is free."""
        return self.running >= self.limit

    @property
    def is_waited_for(self) -> bool:
        """Whether a due probe is waiting for a slot of the lane or of its host."""
        return bool(self.ready or self._parked)

    def waiting(self) -> int:
        """The number of waiting probes; removed ones may still be counted."""
        return len(self.ready) + sum(map(len, self._parked.values()))

    def has_room_for(self, host: str) -> bool:
        """Whether the host has a free slot."""
        return self._host_running.get(host, 0) < self.per_host

    def park(self, item: Waiting) -> None:
        """Sets a due probe aside until its host has a free slot."""
        self._parked.setdefault(item[2], deque()).append(item)

    def occupy(self, host: str) -> None:
        """Takes a slot."""
        self.running += 1
        self._host_running[host] = self._host_running.get(host, 0) + 1

    def vacate(self, host: str, is_current: Callable[[Waiting], bool]) -> None:
        """Releases a slot; a probe that waits for the host becomes ready."""
        self.running -= 1
        left = self._host_running[host] - 1
        if left:
            self._host_running[host] = left
        else:
            del self._host_running[host]
        self.unpark(host, is_current)

    def unpark(self, host: str, is_current: Callable[[Waiting], bool]) -> None:
        """Makes the first parked probe of a host ready, skipping those that are not current."""
        parked = self._parked.get(host)
        while parked:
            item = parked.popleft()
            if is_current(item):
                self.ready.appendleft(item)
                break
        if parked is not None and not parked:
            del self._parked[host]

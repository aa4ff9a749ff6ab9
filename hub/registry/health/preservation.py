"""Self-preservation: the hub doubts that many endpoints failed at once. Pure.

When more than a share of the healthy fleet fails at once, the fault is more likely
with the hub (its network, its DNS, its host) than with every server. Then no healthy
endpoint becomes unhealthy: callers still get the fleet as it was, marked as distrusted,
instead of an empty one.

    TRUSTING ──more than `share` fail──► FROZEN ──at most half of `share`──► TRUSTING
                                           │
                                           └──lasts `confirm_ms`──► CONFIRMED
    CONFIRMED ──at most half of `share`──► TRUSTING

The first failed probe already counts. It is repeated within seconds, long before the rest
of the fleet has been probed. So an endpoint becomes unhealthy early only if the other
probes since its first failure show that the hub itself works: at most `share` of them
failed. Otherwise it waits for most of an interval, by which time the freeze considers the
whole fleet. Only the status is frozen: errors, failures and times are still recorded, and
unhealthy endpoints stay unhealthy.
"""

from dataclasses import dataclass
from enum import Enum
from itertools import islice


class State(Enum):
    """How the hub interprets the failures of its endpoints."""

    TRUSTING = "trusting"
    FROZEN = "frozen"
    CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True)
class PreservationReport:
    """The current state; times in epoch milliseconds.

    `base` counts the healthy endpoints and those that became unhealthy within the last
    interval; `failing` counts those of them that failed their last probe.
    """

    state: State
    since_ms: int | None
    failing: int
    base: int
    confirmed_at_ms: int | None
    freezes: int


@dataclass(frozen=True, slots=True)
class _Miss:
    """A healthy endpoint's first failed probe: its time, and the counts before it."""

    at_ms: int
    misses: int
    successes: int


# After this share of the interval, enough of the fleet has been probed for the freeze.
_EARLY_SHARE = 0.75
# The number of waiting endpoints to examine after each success.
_LOOKED_AT = 8


class Preservation:
    """Decides whether endpoints may become unhealthy now.

    `share` (0..1) of the healthy fleet and at least `least` endpoints must fail to start a
    freeze; a share of 1 never freezes. Time and memory grow with the failing endpoints.
    """

    def __init__(self, *, share: float, least: int, interval_ms: int, confirm_ms: int) -> None:
        self._share = share
        self._least = least
        self._interval_ms = interval_ms
        self._confirm_ms = confirm_ms
        self._failing: dict[str, _Miss] = {}
        self._misses = 0
        self._successes = 0
        # Those that failed often enough while too few other probes succeeded, oldest first.
        self._waiting: dict[str, None] = {}
        # Those that became unhealthy, oldest first.
        self._fallen: dict[str, int] = {}
        self._state = State.TRUSTING
        self._since_ms: int | None = None
        self._freezes = 0

    @property
    def state(self) -> State:
        """The last decision."""
        return self._state

    @property
    def freezes(self) -> int:
        """The number of freezes so far."""
        return self._freezes

    def failed(self, id_: str, now_ms: int) -> None:
        """A probe of a healthy endpoint has failed."""
        if id_ not in self._failing:
            self._failing[id_] = _Miss(now_ms, self._misses, self._successes)
            self._misses += 1

    def succeeded(self, id_: str) -> None:
        """A probe has succeeded."""
        self._successes += 1
        self.recovered(id_)

    def fell(self, id_: str, now_ms: int) -> None:
        """A healthy endpoint became unhealthy."""
        self._forget(id_)
        self._fallen[id_] = now_ms

    def recovered(self, id_: str) -> None:
        """An endpoint's probe has succeeded, or it is no longer probed."""
        self._forget(id_)

    def wait(self, id_: str) -> None:
        """An endpoint has failed often enough, but may not become unhealthy yet."""
        if self._state is not State.FROZEN:
            self._waiting[id_] = None

    def next_to_fall(self, healthy: int, now_ms: int) -> str | None:
        """A waiting endpoint that may become unhealthy now, or None."""
        for id_ in [*islice(self._waiting, _LOOKED_AT)]:
            if self.may_fall(id_, healthy, now_ms):
                return id_
        return None

    def may_fall(self, id_: str, healthy: int, now_ms: int, *, is_confirmed: bool = False) -> bool:
        """Whether an endpoint may become unhealthy now, in a fleet with `healthy` healthy ones.

        `is_confirmed`: something other than the hub's own probes also finds it down.
        """
        self._forget_old_falls(now_ms)
        state = self._judge(healthy, len(self._fallen), now_ms)
        if state is not self._state:
            self._freezes += state is State.FROZEN
            self._state = state
            self._since_ms = now_ms
        if state is State.FROZEN:
            # The freeze decides about them now, so they no longer wait.
            self._waiting.clear()
            return False
        return is_confirmed or self._hub_works(id_, healthy + len(self._fallen), now_ms)

    def report(self, healthy: int, now_ms: int) -> PreservationReport:
        """The current state of a fleet with `healthy` healthy endpoints.

        Changes nothing: the state is the one that the next probe would find.
        """
        fallen = sum(fell_ms > now_ms - self._interval_ms for fell_ms in self._fallen.values())
        state = self._judge(healthy, fallen, now_ms)
        since_ms = self._since_ms if state is self._state else now_ms
        confirmed_at_ms = None
        if state is State.FROZEN and since_ms is not None:
            confirmed_at_ms = since_ms + self._confirm_ms
        failing = len(self._failing) + fallen
        return PreservationReport(
            state, since_ms, failing, healthy + fallen, confirmed_at_ms, self._freezes
        )

    def _hub_works(self, id_: str, base: int, now_ms: int) -> bool:
        """Whether the other probes since an endpoint's first failure show that the hub works."""
        miss = self._failing.get(id_)
        if miss is None or base < self._least or self._state is State.CONFIRMED:
            return True
        if now_ms >= miss.at_ms + self._interval_ms * _EARLY_SHARE:
            return True
        misses = self._misses - miss.misses
        return misses <= self._share * (misses + self._successes - miss.successes)

    def _judge(self, healthy: int, fallen: int, now_ms: int) -> State:
        failing, base = len(self._failing) + fallen, healthy + fallen
        if failing <= self._share / 2 * base:
            return State.TRUSTING
        match self._state:
            case State.TRUSTING if failing > self._share * base and failing >= self._least:
                return State.FROZEN
            case State.FROZEN if now_ms >= (self._since_ms or 0) + self._confirm_ms:
                return State.CONFIRMED
        return self._state

    def _forget(self, id_: str) -> None:
        self._failing.pop(id_, None)
        self._fallen.pop(id_, None)
        self._waiting.pop(id_, None)

    def _forget_old_falls(self, now_ms: int) -> None:
        while self._fallen:
            id_, fell_ms = next(iter(self._fallen.items()))
            if fell_ms > now_ms - self._interval_ms:
                return
            del self._fallen[id_]

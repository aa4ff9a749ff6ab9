"""Recent changes of endpoints' status and admin state. Pure.

One bounded ring serves the whole fleet: a flapping endpoint shortens the others' history,
but never takes more memory.
"""

from collections import deque
from dataclasses import dataclass

from hub.registry.following import EndpointEvent
from llmhub.v1.endpoint_pb2 import AdminState, Endpoint, Status

_MAX_REASON_CHARACTERS = 160


@dataclass(frozen=True, slots=True)
class Transition:
    """An endpoint entered a state; `reason` is the start of its error at that time, or ""."""

    at_ms: int
    id: str
    status: Status
    admin_state: AdminState
    reason: str


class TransitionHistory:
    """The last `capacity` transitions, and when each endpoint entered its current state."""

    def __init__(self, capacity: int = 16_384) -> None:
        self._recent: deque[Transition] = deque(maxlen=capacity)
        self._since: dict[str, int] = {}

    def begin(self, endpoint: Endpoint, now_ms: int) -> Transition:
        """Adds an endpoint in the state that it has now."""
        transition = Transition(
            now_ms,
            endpoint.id,
            endpoint.status,
            endpoint.admin_state,
            endpoint.last_error[:_MAX_REASON_CHARACTERS],
        )
        self._recent.append(transition)
        self._since[endpoint.id] = now_ms
        return transition

    def take(self, event: EndpointEvent, now_ms: int) -> Transition | None:
        """Adds a change; returns the transition if the state has changed."""
        if event.after is None:
            self._since.pop(event.id, None)
            return None
        after = event.after.message
        if event.before is not None and _state(event.before.message) == _state(after):
            return None
        return self.begin(after, now_ms)

    def since(self) -> dict[str, int]:
        """When each endpoint entered its current state, in epoch milliseconds by id."""
        return self._since

    def window(self, from_ms: int) -> list[Transition]:
        """The transitions at or after `from_ms`, oldest first.

        Before them comes the last earlier transition of each endpoint that still exists,
        which gives its state at `from_ms`.
        """
        before: dict[str, Transition] = {}
        within = []
        for each in self._recent:
            if each.at_ms >= from_ms:
                within.append(each)
            elif each.id in self._since:
                before[each.id] = each
        return [*before.values(), *within]


def _state(endpoint: Endpoint) -> tuple[Status, AdminState]:
    return endpoint.status, endpoint.admin_state

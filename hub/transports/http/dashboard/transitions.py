"""When endpoints changed their state of health or of administration: the recent past, pure.

One bounded ring for the whole fleet, not one per endpoint: an endpoint that flaps
shortens what is remembered of the others, and never costs more memory.
"""

from collections import deque
from dataclasses import dataclass

from hub.registry.state import EndpointEvent
from llmhub.v1.endpoint_pb2 import AdminState, Endpoint, Status

_MAX_REASON_CHARACTERS = 160


@dataclass(frozen=True, slots=True)
class Transition:
    """An endpoint entered a state; `reason` is its error then, cut, or ""."""

    at_ms: int
    id: str
    status: Status
    admin_state: AdminState
    reason: str


class TransitionHistory:
    """The last `capacity` transitions, and since when each endpoint is as it is."""

    def __init__(self, capacity: int = 16_384) -> None:
        self._recent: deque[Transition] = deque(maxlen=capacity)
        self._since: dict[str, int] = {}

    def begin(self, endpoint: Endpoint, now_ms: int) -> Transition:
        """Takes in an endpoint as it is found."""
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
        """Takes in a change; returns the transition where it is one."""
        if event.after is None:
            self._since.pop(event.id, None)
            return None
        after = event.after.message
        if event.before is not None and _state(event.before.message) == _state(after):
            return None
        return self.begin(after, now_ms)

    def since(self) -> dict[str, int]:
        """When each endpoint entered the state that it is in, epoch ms by id."""
        return self._since

    def window(self, from_ms: int) -> list[Transition]:
        """The transitions at or after that time, oldest first.

        Before them, of each endpoint that is still there, the one that says in what
        state it was then.
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

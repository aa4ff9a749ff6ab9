"""How many endpoints there are of each kind, kept in step by a follower of the ring.

Counting ten thousand endpoints at every scrape would block the event loop for tens of
milliseconds. Following the changes since the last scrape costs only what has changed.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from heapq import nlargest
from typing import Final

from hub.contract.dialect.names import enum_word
from hub.registry.filters import answers
from hub.registry.following import EndpointRecord
from hub.registry.history.ring import Follower
from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import (
    MODEL_STATE_LOADED,
    STATUS_HEALTHY,
    AdminState,
    Backend,
    Status,
)

MAX_MODELS: Final = 50
"""How many models have their own series; bounded, because servers can invent model names."""

OTHER: Final = "other"
"""The label under which all other models are counted."""

# Changes counted in one turn of the event loop: about a millisecond.
_CHUNK = 100


@dataclass(frozen=True, slots=True)
class ModelCounts:
    """Endpoints that have a model.

    `loaded` counts those that answer and have it in memory.
    """

    name: str
    endpoints: int
    healthy: int
    loaded: int


class FleetCounts:
    """Endpoints by status, backend and admin state, and by model."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._follower = Follower(registry.ring, registry.first_revision)
        self._catching_up = asyncio.Lock()
        self._kinds: Counter[tuple[int, int, int]] = Counter()
        self._endpoints: Counter[str] = Counter()
        self._healthy: Counter[str] = Counter()
        self._loaded: Counter[str] = Counter()

    async def catch_up(self) -> None:
        """Counts what has changed, in slices of about a millisecond."""
        async with self._catching_up:
            while events := self._follower.take(_CHUNK):
                for event in events:
                    self._add(event.before, -1)
                    self._add(event.after, 1)
                await asyncio.sleep(0)
            if events is None:
                await self._count_all()

    def kinds(self) -> dict[tuple[str, str, str], int]:
        """The number of endpoints by status, backend and admin state, in the JSON dialect."""
        return {
            (
                enum_word(Status.DESCRIPTOR, status),
                enum_word(Backend.DESCRIPTOR, backend),
                enum_word(AdminState.DESCRIPTOR, admin_state),
            ): count
            for (status, backend, admin_state), count in self._kinds.items()
            if count
        }

    def model_count(self) -> int:
        """How many models the fleet has."""
        return len(self._endpoints)

    def models(self) -> list[ModelCounts]:
        """The `MAX_MODELS` most common models, and the sum of the rest as `OTHER`."""
        most = nlargest(MAX_MODELS, self._endpoints.items(), key=lambda item: (item[1], item[0]))
        shown = [
            ModelCounts(name, count, self._healthy[name], self._loaded[name])
            for name, count in most
        ]
        if len(self._endpoints) > len(most):
            rest = [
                total.total() - sum(total[name] for name, _ in most)
                for total in (self._endpoints, self._healthy, self._loaded)
            ]
            shown.append(ModelCounts(OTHER, *rest))
        return shown

    async def _count_all(self) -> None:
        """Counts every endpoint as of now; if cancelled, the next `catch_up` starts again."""
        for counter in (self._kinds, self._endpoints, self._healthy, self._loaded):
            counter.clear()
        revision = self._registry.revision
        for counted, record in enumerate(list(self._registry.endpoints()), 1):
            self._add(record, 1)
            if counted % _CHUNK == 0:
                await asyncio.sleep(0)
        self._follower.go_to(revision)

    def _add(self, record: EndpointRecord | None, sign: int) -> None:
        if record is None:
            return
        endpoint = record.message
        status = endpoint.status
        self._kinds[status, endpoint.backend, endpoint.admin_state] += sign
        models = endpoint.models
        if not models or endpoint.same_server_as:
            return
        for name in {model.name for model in models}:
            _count(self._endpoints, name, sign)
            if status == STATUS_HEALTHY:
                _count(self._healthy, name, sign)
        if not answers(endpoint):
            return
        for name in {model.name for model in models if model.state == MODEL_STATE_LOADED}:
            _count(self._loaded, name, sign)


def _count(counter: Counter[str], name: str, sign: int) -> None:
    """Adds `sign`, and drops a name that has reached zero: names come and go."""
    count = counter[name] + sign
    if count:
        counter[name] = count
    else:
        del counter[name]

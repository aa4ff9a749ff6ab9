"""How many endpoints there are of each kind, kept up with a cursor into the registry's ring.

Counting ten thousand endpoints at every scrape would stop the hub for tens of
milliseconds; following the changes since the last scrape costs what has changed.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import nlargest
from typing import Final

from hub.registry.history.ring import Compacted
from hub.registry.state import EndpointRecord, Registry
from llmhub.v1.endpoint_pb2 import (
    MODEL_STATE_LOADED,
    STATUS_HEALTHY,
    AdminState,
    Backend,
    Status,
)

MAX_MODELS: Final = 50
"""The most models with a series of their own; anybody can name models."""

OTHER: Final = "other"
"""What the models beyond those are counted under."""

# Changes taken in before others get their turn in the loop: about a millisecond.
_CHUNK = 100


@dataclass(frozen=True, slots=True)
class ModelCounts:
    """Endpoints that have a model: all, the healthy ones, those with it in memory."""

    name: str
    endpoints: int
    healthy: int
    loaded: int


class FleetCounts:
    """Endpoints by status, backend and admin state, and by model."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._seen = registry.first_revision
        self._catching_up = asyncio.Lock()
        self._kinds: Counter[tuple[int, int, int]] = Counter()
        self._endpoints: Counter[str] = Counter()
        self._healthy: Counter[str] = Counter()
        self._loaded: Counter[str] = Counter()

    async def catch_up(self) -> None:
        """Takes in what has changed; lets others run in between."""
        async with self._catching_up:
            for taken, _ in enumerate(self._changes(), 1):
                if taken % _CHUNK == 0:
                    await asyncio.sleep(0)

    def kinds(self) -> dict[tuple[str, str, str], int]:
        """The number of endpoints by status, backend and admin state, in the JSON dialect."""
        return {
            (
                Status.Name(status).removeprefix("STATUS_").lower(),
                Backend.Name(backend).removeprefix("BACKEND_").lower(),
                AdminState.Name(admin_state).removeprefix("ADMIN_STATE_").lower(),
            ): count
            for (status, backend, admin_state), count in self._kinds.items()
            if count
        }

    def model_count(self) -> int:
        """How many models the fleet has."""
        return len(self._endpoints)

    def models(self) -> list[ModelCounts]:
        """The `MAX_MODELS` that most endpoints have, and the sum of the rest as `OTHER`."""
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

    def _changes(self) -> Iterator[None]:
        """Takes in one change a step. What it walks over does not change meanwhile."""
        ring = self._registry.ring
        try:
            events = ring.after(self._seen, ring.capacity)
        except Compacted:
            yield from self._count_all()
            return
        for event in events:
            self._add(event.before, -1)
            self._add(event.after, 1)
            self._seen = event.revision
            yield

    def _count_all(self) -> Iterator[None]:
        # A caller that gives up half-way leaves this behind, so that the next one counts again.
        self._seen = -1
        for counter in (self._kinds, self._endpoints, self._healthy, self._loaded):
            counter.clear()
        revision = self._registry.revision
        for record in list(self._registry.endpoints()):
            self._add(record, 1)
            yield
        self._seen = revision

    def _add(self, record: EndpointRecord | None, sign: int) -> None:
        if record is None:
            return
        endpoint = record.message
        status = endpoint.status
        self._kinds[status, endpoint.backend, endpoint.admin_state] += sign
        models = endpoint.models
        if not models:
            return
        for name in {model.name for model in models}:
            _count(self._endpoints, name, sign)
            if status == STATUS_HEALTHY:
                _count(self._healthy, name, sign)
        for name in {model.name for model in models if model.state == MODEL_STATE_LOADED}:
            _count(self._loaded, name, sign)


def _count(counter: Counter[str], name: str, sign: int) -> None:
    """Counts, and forgets what is down to nothing: names come and go."""
    count = counter[name] + sign
    if count:
        counter[name] = count
    else:
        del counter[name]

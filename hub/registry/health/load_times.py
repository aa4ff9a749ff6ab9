"""Learned load times: how long a model takes to load, from observed loads. Pure.

A load counts if at least one observation saw it in progress, or if a sidecar measured it.
A model that is on disk in one observation and in memory in the next does not count: it may
have begun to load before the first one, because servers list a loading model either way
(Ollama lists it as loaded).
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from statistics import median_low
from typing import Final, TypeVar

from llmhub.v1.endpoint_pb2 import MODEL_STATE_LOADED, MODEL_STATE_LOADING, Model

LAST_LOADS: Final = 5
"""The number of recent loads of a model on an endpoint whose median is used."""

_LAST_LOADS_OF_FLEET: Final = 15
_LONGEST_MS: Final = 86_400_000

K = TypeVar("K")


class LoadTimes:
    """The last load times by endpoint and model, and by model across the fleet.

    At most `capacity` of each are stored; the one that was updated longest ago is
    evicted first.
    """

    def __init__(self, capacity: int = 50_000) -> None:
        self._capacity = capacity
        self._own: OrderedDict[tuple[str, str], deque[int]] = OrderedDict()
        self._fleet: OrderedDict[str, deque[int]] = OrderedDict()
        # When each load in progress began. The empty name stands for a server that
        # loads its only model and does not say which.
        self._began_ms: dict[str, dict[str, int]] = {}
        self._changed: dict[tuple[str, str], None] = {}

    def __bool__(self) -> bool:
        """Whether any load has been observed."""
        return bool(self._fleet)

    def expected_ms(self, endpoint_id: str, model: str) -> int | None:
        """The expected duration of a load in milliseconds; None if none was observed."""
        seen = self._own.get((endpoint_id, model)) or self._fleet.get(model)
        return median_low(seen) if seen else None

    def measured(self, endpoint_id: str, model: str, took_ms: int) -> None:
        """Adds a load that took `took_ms`."""
        if 0 < took_ms <= _LONGEST_MS:
            key = (endpoint_id, model)
            evicted = _remember(self._own, key, took_ms, LAST_LOADS, self._capacity)
            _remember(self._fleet, model, took_ms, _LAST_LOADS_OF_FLEET, self._capacity)
            self._note_change(key)
            if evicted is not None:
                self._note_change(evicted)

    def observe(
        self,
        endpoint_id: str,
        models: Iterable[Model],
        now_ms: int,
        *,
        before_ms: int | None,
        server_loads: bool = False,
    ) -> bool:
        """Adds an observation of an endpoint. Returns whether a load has ended.

        `before_ms` is the time of the observation before, None if there is none.
        `server_loads`: the server as a whole is loading and lists no models.
        """
        began = self._began_ms.get(endpoint_id, {})
        loading = {""} if server_loads else set()
        ended = False
        for model in models:
            if model.state == MODEL_STATE_LOADING:
                loading.add(model.name)
            elif model.state == MODEL_STATE_LOADED and began:
                since_ms = began.get(model.name, began.get(""))
                if since_ms is not None:
                    self.measured(endpoint_id, model.name, now_ms - since_ms)
                    ended = True
        if loading:
            # It began between the observation before and the first that saw it.
            start_ms = now_ms if before_ms is None else (before_ms + now_ms) // 2
            self._began_ms[endpoint_id] = {name: began.get(name, start_ms) for name in loading}
        elif began:
            del self._began_ms[endpoint_id]
        return ended

    def take_changed(self) -> list[tuple[str, str]]:
        """The endpoints and models whose load times changed since the last call."""
        changed, self._changed = list(self._changed), {}
        return changed

    def of(self, endpoint_id: str, model: str) -> list[int]:
        """The last load times of a model on an endpoint in ms, oldest first; [] if unknown."""
        return list(self._own.get((endpoint_id, model), ()))

    def forget(self, endpoint_id: str) -> None:
        """Forgets the loads in progress on an endpoint; the learned load times stay."""
        self._began_ms.pop(endpoint_id, None)

    def _note_change(self, key: tuple[str, str]) -> None:
        self._changed[key] = None
        # Evicted keys are among them.
        if len(self._changed) > 2 * self._capacity:
            del self._changed[next(iter(self._changed))]


def _remember(
    seen: OrderedDict[K, deque[int]], key: K, value: int, last: int, capacity: int
) -> K | None:
    """Adds a value. Returns the key that was evicted, or None."""
    seen.setdefault(key, deque(maxlen=last)).append(value)
    seen.move_to_end(key)
    if len(seen) > capacity:
        return seen.popitem(last=False)[0]
    return None

"""Which endpoints have a model, and how many of them are healthy or have it loaded. Pure.

It is updated with every change. So a query about a model costs only as much as its answer
is long, however many endpoints and models there are.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from typing import Final

from hub.registry.filters import answers, tagged
from llmhub.v1.endpoint_pb2 import (
    MODEL_STATE_LOADED,
    MODEL_STATE_UNSPECIFIED,
    STATUS_HEALTHY,
    Endpoint,
)
from llmhub.v1.resources_pb2 import ModelSummary


class _Entry:
    """The endpoints that have one model, and the number of their servers."""

    __slots__ = ("encoded", "healthy", "ids", "loaded", "servers", "unknown")

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.servers = 0
        self.healthy = 0
        self.loaded = 0
        self.unknown = 0
        self.encoded: bytes | None = None

    def count(self, share: "_Share", was: "_Share") -> None:
        """Replaces an endpoint's former contribution to the counts by its current one."""
        self.servers += share[0] - was[0]
        self.healthy += share[1] - was[1]
        self.loaded += share[2] - was[2]
        self.unknown += share[3] - was[3]
        self.encoded = None


# Whether an endpoint counts as a server, as a healthy server, as a server that has the model
# in memory, and as a server that does not report whether it has.
_Share = tuple[bool, bool, bool, bool]
_NONE: Final[_Share] = (False, False, False, False)


class ModelIndex:
    """Models by name, sorted."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._by_name: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._names)

    def names(self, after: str = "") -> Iterator[str]:
        """The names that sort after `after`, sorted. Only valid until the next change."""
        start = bisect_right(self._names, after) if after else 0
        return (self._names[i] for i in range(start, len(self._names)))

    def around(self, name: str, count: int) -> list[str]:
        """The `count` sorted names nearest to the position that `name` would have."""
        start = min(bisect_left(self._names, name) - count // 2, len(self._names) - count)
        start = max(start, 0)
        return self._names[start : start + count]

    def ids(self, name: str) -> list[str]:
        """The endpoints that have a model with that name, sorted. Must not be changed."""
        entry = self._by_name.get(name)
        return entry.ids if entry is not None else []

    def ids_meant(self, name: str) -> list[str]:
        """The endpoints that have a model that `name` means, sorted. Must not be changed.

        A name without a tag means the same name with the tag `latest`, too.
        """
        exact = self.ids(name)
        with_tag = self.ids(full) if (full := tagged(name)) else []
        if not with_tag or not exact:
            return exact or with_tag
        return sorted({*exact, *with_tag})

    def counts(self) -> dict[str, int]:
        """The number of servers that have each model, by the model's name, sorted."""
        return {name: self._by_name[name].servers for name in self._names}

    def summary(self, name: str) -> ModelSummary:
        """The summary of a model of the fleet. Raises KeyError if there is no such model."""
        entry = self._by_name[name]
        return ModelSummary(
            name=name,
            endpoint_count=entry.servers,
            loaded_count=entry.loaded,
            unknown_count=entry.unknown,
            healthy_count=entry.healthy,
            endpoint_ids=entry.ids,
        )

    def encoded(self, name: str, encode: Callable[[ModelSummary], bytes]) -> bytes:
        """The summary as `encode` writes it, cached until it changes; always pass one function.

        Raises KeyError.
        """
        entry = self._by_name[name]
        if entry.encoded is None:
            entry.encoded = encode(self.summary(name))
        return entry.encoded

    def change(self, before: Endpoint | None, after: Endpoint | None) -> None:
        """Records that an endpoint changed from `before` to `after`; None means absent."""
        old, new = _shares(before), _shares(after)
        if old == new:
            return
        # One string for all its models, because each access to a message's field makes one.
        id_ = after.id if after is not None else ""
        for name, was in old.items():
            share = new.get(name)
            if share == was:
                continue
            entry = self._by_name[name]
            if share is None:
                assert before is not None
                self._remove(name, before.id)
            entry.count(share or _NONE, was)
        for name, share in new.items():
            if name not in old:
                self._add(name, id_).count(share, _NONE)

    def _add(self, name: str, id_: str) -> _Entry:
        entry = self._by_name.get(name)
        if entry is None:
            entry = self._by_name[name] = _Entry()
            insort(self._names, name)
        insort(entry.ids, id_)
        return entry

    def _remove(self, name: str, id_: str) -> None:
        entry = self._by_name[name]
        del entry.ids[bisect_left(entry.ids, id_)]
        if not entry.ids:
            del self._by_name[name]
            del self._names[bisect_left(self._names, name)]


def _shares(endpoint: Endpoint | None) -> dict[str, _Share]:
    """What an endpoint contributes to the counts of each of its models, by name.

    A server may list a model twice: it is loaded if either of the two is. Another address
    of a server that is already counted contributes nothing. A server that does not answer
    has nothing in memory that counts.
    """
    if endpoint is None:
        return {}
    if endpoint.same_server_as:
        return dict.fromkeys((model.name for model in endpoint.models), _NONE)
    is_healthy = endpoint.status == STATUS_HEALTHY
    if not answers(endpoint):
        down = (True, is_healthy, False, False)
        return dict.fromkeys((model.name for model in endpoint.models), down)
    shares: dict[str, _Share] = {}
    for model in endpoint.models:
        if model.state == MODEL_STATE_LOADED:
            shares[model.name] = (True, True, True, False)
        elif (share := shares.get(model.name)) is None or share[3]:
            is_unknown = model.state == MODEL_STATE_UNSPECIFIED
            shares[model.name] = (True, True, False, is_unknown)
    return shares

"""Which endpoints have a model, and how many of them are healthy or have it loaded. Pure.

Updated with every change, so that a question about a model costs only as much as its
answer is long, however many endpoints and models there are.
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


class _Having:
    """The endpoints that have one model, and how many servers they are."""

    __slots__ = ("encoded", "healthy", "ids", "loaded", "servers", "unknown")

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.servers = 0
        self.healthy = 0
        self.loaded = 0
        self.unknown = 0
        self.encoded: bytes | None = None

    def count(self, share: "_Share", was: "_Share") -> None:
        """Counts what an endpoint adds now instead of what it added before."""
        self.servers += share[0] - was[0]
        self.healthy += share[1] - was[1]
        self.loaded += share[2] - was[2]
        self.unknown += share[3] - was[3]
        self.encoded = None


# Whether an endpoint adds to the numbers of servers, healthy servers, servers that have
# the model in memory, and servers that do not report whether they have.
_Share = tuple[bool, bool, bool, bool]
_NONE: Final[_Share] = (False, False, False, False)


class ModelIndex:
    """Models by name, in the order of names."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._by_name: dict[str, _Having] = {}

    def __len__(self) -> int:
        return len(self._names)

    def names(self, after: str = "") -> Iterator[str]:
        """The names that sort after `after`, sorted. Only valid until the next change."""
        start = bisect_right(self._names, after) if after else 0
        return (self._names[i] for i in range(start, len(self._names)))

    def around(self, name: str, count: int) -> list[str]:
        """The `count` sorted names nearest to the place where `name` would be."""
        start = min(bisect_left(self._names, name) - count // 2, len(self._names) - count)
        start = max(start, 0)
        return self._names[start : start + count]

    def ids(self, name: str) -> list[str]:
        """The endpoints that have a model with that name, sorted. Must not be changed."""
        having = self._by_name.get(name)
        return having.ids if having is not None else []

    def ids_meant(self, name: str) -> list[str]:
        """The endpoints that have a model that the name means, sorted. Must not be changed.

        A name without a tag means the same name with the tag `latest`, too.
        """
        exact = self.ids(name)
        with_tag = self.ids(full) if (full := tagged(name)) else []
        if not with_tag or not exact:
            return exact or with_tag
        return sorted({*exact, *with_tag})

    def counts(self) -> dict[str, int]:
        """The number of servers that have a model, by its name, sorted."""
        return {name: self._by_name[name].servers for name in self._names}

    def summary(self, name: str) -> ModelSummary:
        """The summary of a model of the fleet. Raises KeyError for any other."""
        having = self._by_name[name]
        return ModelSummary(
            name=name,
            endpoint_count=having.servers,
            loaded_count=having.loaded,
            unknown_count=having.unknown,
            healthy_count=having.healthy,
            endpoint_ids=having.ids,
        )

    def encoded(self, name: str, encode: Callable[[ModelSummary], bytes]) -> bytes:
        """The summary as `encode` writes it, cached until it changes; pass one function only.

        Raises KeyError.
        """
        having = self._by_name[name]
        if having.encoded is None:
            having.encoded = encode(self.summary(name))
        return having.encoded

    def change(self, before: Endpoint | None, after: Endpoint | None) -> None:
        """An endpoint has changed from `before` to `after`; None: it is not there."""
        old, new = _shares(before), _shares(after)
        if old == new:
            return
        # One string for all its models: each access of a message's field makes a new one.
        id_ = after.id if after is not None else ""
        for name, was in old.items():
            share = new.get(name)
            if share == was:
                continue
            having = self._by_name[name]
            if share is None:
                assert before is not None
                self._remove(name, before.id)
            having.count(share or _NONE, was)
        for name, share in new.items():
            if name not in old:
                self._add(name, id_).count(share, _NONE)

    def _add(self, name: str, id_: str) -> _Having:
        having = self._by_name.get(name)
        if having is None:
            having = self._by_name[name] = _Having()
            insort(self._names, name)
        insort(having.ids, id_)
        return having

    def _remove(self, name: str, id_: str) -> None:
        having = self._by_name[name]
        del having.ids[bisect_left(having.ids, id_)]
        if not having.ids:
            del self._by_name[name]
            del self._names[bisect_left(self._names, name)]


def _shares(endpoint: Endpoint | None) -> dict[str, _Share]:
    """What an endpoint adds to the counts of each of its models, by name.

    A server may list a model twice: it is loaded if one of the two is. A further address
    of a server that is counted already adds nothing. A server that does not answer has
    nothing in memory that counts.
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

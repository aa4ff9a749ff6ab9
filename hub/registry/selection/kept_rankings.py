"""Cached rankings for the criteria of requests, updated with the fleet. Pure.

Callers repeat the same few requests again and again, so a ranking is made at the first
request of its kind and then follows the changes.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from hub.registry.selection.criteria import Criteria, FleetView
from hub.registry.selection.ranking import Ranking
from llmhub.v1.model_alias_pb2 import ModelAlias
from llmhub.v1.registry_service_pb2 import SelectEndpointRequest

_MAX_RANKINGS: Final = 64
_CHEAP: Final = 100
_MAX_VERDICTS: Final = 200_000
_REMEMBERED: Final = 1024

# The fields that apply only at the time of the request; see `ranking.Limits`.
_MOMENTARY: Final = (
    "count",
    "max_fact_age",
    "lease_ttl",
    "explain",
    "max_in_flight",
    "max_in_flight_per_slot",
    "exclude_ids",
    "fallbacks",
    "affinity_key",
    "wait",
    "priority",
)

Key = tuple[int, bytes]


@dataclass(slots=True, eq=False)
class Kept:
    """A cached ranking, and the endpoints to judge again or to recount before it is used.

    A new one has all endpoints to judge: those with `model`, or all if that is None.
    """

    model: str | None
    ranking: Ranking
    changed: set[str]
    is_cheap: bool
    """The ranking had few candidates, so making it again is fast."""
    recounted: set[str] = field(default_factory=set)
    all_changed: bool = False
    """`changed` is incomplete until the next request for the ranking."""

    def behind(self) -> int:
        """The number of endpoints to judge or recount."""
        return len(self.changed) + len(self.recounted)

    def size(self) -> int:
        """The number of endpoints that take up memory in it."""
        return len(self.ranking) + len(self.changed)

    def catch_up(self) -> Iterator[None]:
        """Judges and recounts, one endpoint per step.

        Changes between two steps are included.
        """
        while self.changed or self.recounted:
            # Removed first: an endpoint that cannot be judged must not fail every later call.
            if self.changed:
                id_ = self.changed.pop()
                self.recounted.discard(id_)
                self.ranking.update(id_)
            else:
                self.ranking.recount(self.recounted.pop())
            yield


class Rankings:
    """The most recently requested rankings, with bounds on their number and their verdicts.

    There are at most `max_rankings` with up to `cheap` candidates, and as many with more,
    so that many cheap rankings do not evict the expensive ones. A ranking without
    candidates is not cached. `candidates` returns the ids of the endpoints that may have
    the model with that name, or all ids for None.
    """

    def __init__(
        self,
        facts: FleetView,
        candidates: Callable[[str | None], Collection[str]],
        *,
        max_rankings: int = _MAX_RANKINGS,
        max_verdicts: int = _MAX_VERDICTS,
        cheap: int = _CHEAP,
    ) -> None:
        self._facts = facts
        self._candidates = candidates
        self._max_rankings = max_rankings
        self._max_verdicts = max_verdicts
        self._cheap = cheap
        self._kept: OrderedDict[Key, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def touch(self, ids: Collection[str]) -> None:
        """Endpoints, or the reports of their hosts, have changed."""
        for kept in self._kept.values():
            if not kept.all_changed:
                kept.changed.update(ids)

    def touch_leases(self, id_: str) -> None:
        """The number of an endpoint's leases has changed."""
        for kept in self._kept.values():
            kept.recounted.add(id_)

    def touch_all(self) -> None:
        """Everything may have changed."""
        for kept in self._kept.values():
            kept.all_changed = True

    def ranking(
        self, request: SelectEndpointRequest, alias: ModelAlias | None, alias_revision: int
    ) -> Ranking:
        """The ranking of a request's criteria, as of now; see `kept`."""
        kept = self.kept(request, alias, alias_revision)
        for _ in kept.catch_up():
            pass
        return kept.ranking

    def kept(
        self,
        request: SelectEndpointRequest,
        alias: ModelAlias | None,
        alias_revision: int,
        admit: Callable[[int], None] = lambda _candidates: None,
    ) -> Kept:
        """The ranking of a request's criteria, which may still have to catch up.

        `alias` is the alias that the request's model names, or None, and
        `alias_revision` changes whenever the alias does. `admit` is called with the
        number of candidates before a ranking is made; if it raises, none is made. A
        caller that does not catch up at once must call this again later, because the
        ranking may be evicted meanwhile.
        """
        model = request.model if alias is None else None
        key = (alias_revision, _lasting(request.SerializeToString(deterministic=True)))
        kept = self._kept.get(key)
        if kept is None:
            criteria = Criteria(request, alias.targets if alias is not None else None)
            ids = self._candidates(model)
            admit(len(ids))
            is_cheap = len(ids) <= self._cheap
            kept = Kept(model, Ranking(criteria, self._facts), set(ids), is_cheap)
            if ids:
                self._kept[key] = kept
                self._make_room()
        else:
            self._kept.move_to_end(key)
            if kept.all_changed:
                kept.all_changed = False
                kept.changed = {*self._candidates(model), *kept.ranking.ids()}
            elif kept.changed and model is not None:
                self._narrow(kept)
        return kept

    def _narrow(self, kept: Kept) -> None:
        """Drops changes of endpoints that neither have the model nor had it."""
        ids = self._candidates(kept.model)
        if len(kept.changed) > len(ids) + len(kept.ranking):
            kept.changed.intersection_update({*ids, *kept.ranking.ids()})

    def _make_room(self) -> None:
        for is_cheap in (True, False):
            alike = [key for key, kept in self._kept.items() if kept.is_cheap is is_cheap]
            for key in alike[: -self._max_rankings]:
                del self._kept[key]
        verdicts = sum(kept.size() for kept in self._kept.values())
        while len(self._kept) > 1 and verdicts > self._max_verdicts:
            _, oldest = self._kept.popitem(last=False)
            verdicts -= oldest.size()


@lru_cache(maxsize=_REMEMBERED)
def _lasting(encoded: bytes) -> bytes:
    """An encoded request without the momentary fields. Few requests differ in the others."""
    request = SelectEndpointRequest.FromString(encoded)
    for name in _MOMENTARY:
        request.ClearField(name)
    return request.SerializeToString(deterministic=True)

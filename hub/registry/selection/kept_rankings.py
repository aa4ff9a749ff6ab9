"""Rankings for the criteria that are asked for, kept in step with the fleet. Pure.

Callers ask for the same few things again and again, so a ranking is made at the
first request of its kind and then follows the changes.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from hub.registry.selection.ranking import Criteria, FleetView, Ranking
from llmhub.v1.model_alias_pb2 import ModelAlias
from llmhub.v1.registry_service_pb2 import SelectEndpointRequest

_MAX_RANKINGS: Final = 64
_CHEAP: Final = 100
_MAX_VERDICTS: Final = 200_000
_REMEMBERED: Final = 1024

# What is no question to the fleet but to the moment; see `selection.Limits`.
_MOMENTARY: Final = (
    "count",
    "max_fact_age",
    "lease_ttl",
    "explain",
    "max_in_flight",
    "exclude_ids",
)

Key = tuple[int, bytes]


@dataclass(slots=True, eq=False)
class Kept:
    """A ranking, and the endpoints that it has yet to judge anew or to recount.

    A new one has yet to judge them all. It is of those that have `model`, or of
    any where that is None.
    """

    model: str | None
    ranking: Ranking
    changed: set[str]
    is_cheap: bool
    """It had few candidates, and is soon made anew."""
    recounted: set[str] = field(default_factory=set)
    all_changed: bool = False
    """`changed` lacks some that have changed, until it is asked for again."""

    def behind(self) -> int:
        """How many endpoints there are to judge or recount."""
        return len(self.changed) + len(self.recounted)

    def size(self) -> int:
        """How many endpoints it remembers something of."""
        return len(self.ranking) + len(self.changed)

    def catch_up(self) -> Iterator[None]:
        """Judges and recounts, an endpoint at each step.

        More may change between two steps, and is caught up with, too.
        """
        while self.changed or self.recounted:
            # Taken out first: one that cannot be judged must not make this fail for ever.
            if self.changed:
                id_ = self.changed.pop()
                self.recounted.discard(id_)
                self.ranking.update(id_)
            else:
                self.ranking.recount(self.recounted.pop())
            yield


class Rankings:
    """The rankings asked for last; their number, and that of their verdicts, is bounded.

    There are at most `max_rankings` of up to `cheap` candidates, and as many of more:
    the criteria of many cheap ones must not put out the dear ones. One that has no
    candidates is not kept.
    `candidates` returns the ids of the endpoints that may have the model of that
    name, or all of them for None.
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
        """Endpoints, or what is known of their hosts, have changed."""
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
        """The ranking of a request's criteria, with what it has to catch up with.

        `alias` is what the request's model stands for, where it is an alias, and
        `alias_revision` changes whenever that does. `admit` is told of how many
        candidates a ranking is about to be made; what it raises prevents it. Who
        does not catch up at once asks again later: it may be put out meanwhile.
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
        """Forgets changes of endpoints that neither have the model nor had it."""
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
    """An encoded request without what is of the moment. Callers send few different ones."""
    request = SelectEndpointRequest.FromString(encoded)
    for name in _MOMENTARY:
        request.ClearField(name)
    return request.SerializeToString(deterministic=True)

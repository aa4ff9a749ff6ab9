"""Which endpoint to send a request to: candidates, rejections and the best choice. Pure.

    criteria ─► judge one endpoint ─► rejected, or a score made of parts
                     ranking: all verdicts in order, updated with the fleet

A ranking judges an endpoint again only after something about it has changed, and keeps
the suitable endpoints sorted. A selection then reads the head of the ranking, however
large the fleet is.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

from hub.base.address import spellings
from hub.registry.same_server import server_id
from hub.registry.selection.criteria import Criteria, FleetView, Verdict
from llmhub.v1.registry_service_pb2 import (
    REJECTION_EXCLUDED,
    REJECTION_IN_FLIGHT,
    REJECTION_SAME_SERVER,
    REJECTION_STALE,
    REJECTION_UNSPECIFIED,
    Rejection,
    SelectEndpointRequest,
)

# (is failing, has unknown facts, -score, last pick, id): the smallest is the best.
_Key = tuple[bool, bool, float, int, str]


class Ranking:
    """The verdicts of one set of criteria on a whole fleet, in order.

    It starts empty. Its owner calls `update` for every endpoint whose record or host has
    changed, and `recount` if only its leases have. Endpoints whose last probe did not fail
    come first, then those that are known to fit, then those with the highest score. Among
    equals, the endpoint that was picked longest ago comes first.
    """

    def __init__(self, criteria: Criteria, facts: FleetView) -> None:
        self.criteria = criteria
        self._facts = facts
        self._verdicts: dict[str, Verdict] = {}
        self._picks: dict[str, int] = {}
        self._pick = 0
        self._order: list[_Key] = []

    def __len__(self) -> int:
        return len(self._verdicts)

    def ids(self) -> Collection[str]:
        """The endpoints that have a verdict, in no order."""
        return self._verdicts.keys()

    def update(self, id_: str) -> None:
        """Judges an endpoint again."""
        self._drop(id_)
        endpoint = self._facts.endpoint(id_)
        verdict = self.criteria.judge(endpoint, self._facts) if endpoint is not None else None
        if verdict is not None:
            self._keep(id_, verdict)
        else:
            self._picks.pop(id_, None)

    def recount(self, id_: str) -> None:
        """Updates the number of leases on an endpoint."""
        verdict = self._drop(id_)
        if verdict is not None:
            verdict.in_flight = self._facts.in_flight(id_)
            self._keep(id_, verdict)

    def picked(self, id_: str) -> None:
        """Records that an endpoint was chosen, so its equals come first from now on."""
        verdict = self._drop(id_)
        self._pick += 1
        self._picks[id_] = self._pick
        if verdict is not None:
            self._keep(id_, verdict)

    def best(self) -> Iterator[Verdict]:
        """The suitable endpoints, best first. Only valid until the next change."""
        return (self._verdicts[key[-1]] for key in self._order)

    def rejected(self) -> Iterator[Verdict]:
        """The rejected endpoints, sorted by id."""
        return (verdict for _, verdict in sorted(self._verdicts.items()) if verdict.rejection)

    def _keep(self, id_: str, verdict: Verdict) -> None:
        self._verdicts[id_] = verdict
        if not verdict.rejection:
            insort(self._order, self._key(id_, verdict))

    def _drop(self, id_: str) -> Verdict | None:
        verdict = self._verdicts.pop(id_, None)
        if verdict is not None and not verdict.rejection:
            order = self._order
            # The best one, which was picked, is dropped most often.
            first = order[0][-1] == id_
            del order[0 if first else bisect_left(order, self._key(id_, verdict))]
        return verdict

    def _key(self, id_: str, verdict: Verdict) -> _Key:
        return (
            verdict.is_failing,
            bool(verdict.unknown),
            -verdict.score,
            self._picks.get(id_, 0),
            id_,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """The requirements of a request at the time it is made; 0 requires nothing."""

    max_fact_age_ms: int = 0
    max_in_flight: int = 0
    needs_report: bool = False
    excluded: frozenset[str] = frozenset()

    @classmethod
    def of(cls, request: SelectEndpointRequest) -> "Limits":
        """The limits of a request."""
        if not (request.max_in_flight or request.exclude_ids or request.HasField("max_fact_age")):
            return _NO_LIMITS
        age_ms = 0
        if request.HasField("max_fact_age"):
            # Rounded up, because an age below a millisecond is a requirement too.
            age = request.max_fact_age
            age_ms = age.seconds * 1000 - (-age.nanos // 1_000_000)
        return cls(
            max_fact_age_ms=age_ms,
            max_in_flight=request.max_in_flight,
            needs_report=bool(request.min_free_vram_bytes),
            excluded=frozenset(chain.from_iterable(map(spellings, request.exclude_ids))),
        )

    def objection(self, verdict: Verdict, now_ms: int) -> tuple[Rejection, str]:
        """Why a suitable endpoint is rejected now; unspecified if it is accepted."""
        if verdict.endpoint.id in self.excluded:
            return REJECTION_EXCLUDED, "excluded by the request"
        if self.max_fact_age_ms:
            oldest_ms = verdict.checked_ms
            if self.needs_report and "free_vram" not in verdict.unknown:
                oldest_ms = min(oldest_ms, verdict.reported_ms)
            if now_ms - oldest_ms > self.max_fact_age_ms:
                return REJECTION_STALE, f"its facts are {now_ms - oldest_ms} ms old"
        if self.max_in_flight and verdict.in_flight >= self.max_in_flight:
            return REJECTION_IN_FLIGHT, f"already has {verdict.in_flight} leases"
        return REJECTION_UNSPECIFIED, ""


_NO_LIMITS: Final = Limits()


def pick(
    ranking: Ranking,
    limits: Limits,
    count: int,
    now_ms: int,
    reject: Callable[[Verdict, Rejection, str], None] | None = None,
) -> list[Verdict]:
    """At most `count` of the best endpoints now; calls `reject` for those that it skips.

    If several endpoints are the same server, only the best of them is chosen.
    """
    if count == 1 and reject is None and limits is _NO_LIMITS:
        # The usual case.
        return [*islice(ranking.best(), 1)]
    chosen: list[Verdict] = []
    servers: dict[str, str] = {}
    for verdict in ranking.best():
        rejection, detail = limits.objection(verdict, now_ms)
        if not rejection:
            id_ = verdict.endpoint.id
            chosen_id = servers.setdefault(server_id(verdict.endpoint), id_)
            if chosen_id != id_:
                rejection, detail = REJECTION_SAME_SERVER, f"the same server as {chosen_id}"
        if not rejection:
            chosen.append(verdict)
            if len(chosen) == count:
                break
        elif reject is not None:
            reject(verdict, rejection, detail)
    return chosen


def rejections(
    ranking: Ranking, limits: Limits, now_ms: int
) -> list[tuple[Verdict, Rejection, str]]:
    """Every endpoint that has the model and is rejected now, with the reason."""
    found: list[tuple[Verdict, Rejection, str]] = []
    pick(ranking, limits, len(ranking), now_ms, lambda *why: found.append(why))
    found += ((each, each.rejection, each.detail) for each in ranking.rejected())
    return found

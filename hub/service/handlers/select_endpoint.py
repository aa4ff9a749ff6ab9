"""RegistryService.SelectEndpoint and ReleaseSelection; also resolves model aliases."""

from collections.abc import Coroutine
from typing import Any

from hub.base.clock import Clock
from hub.registry.outcomes.fleet_outcomes import FleetOutcomes
from hub.registry.selection.affinity import affinity_of
from hub.registry.selection.ranking import Limits, Ranking, pick
from hub.registry.state import Registry
from hub.service.access.caller import Caller
from hub.service.handlers.explained_candidates import explained
from hub.service.handlers.followed_rankings import FollowedRankings
from hub.service.handlers.leased_selections import (
    MAX_LEASES,
    MAX_LEASES_PER_TOKEN,
    LeasedSelections,
)
from hub.service.handlers.ranking_queue import FEW, Admission, CatchingUp
from hub.service.handlers.selection_refusals import SelectionRefusals
from hub.service.metrics.selection_counts import SelectionCounts
from llmhub.v1.registry_service_pb2 import (
    ReleaseSelectionRequest,
    ReleaseSelectionResponse,
    SelectEndpointRequest,
    SelectEndpointResponse,
)


class SelectionHandlers:
    """Chooses endpoints from the registry, and keeps the leases.

    It waits for turns of the event loop, and reads the clock, only if there are many
    endpoints to judge.
    """

    def __init__(
        self,
        registry: Registry,
        clock: Clock,
        outcomes: FleetOutcomes | None = None,
        counts: SelectionCounts | None = None,
        *,
        max_leases: int = MAX_LEASES,
        max_leases_per_token: int = MAX_LEASES_PER_TOKEN,
    ) -> None:
        self._registry = registry
        self._clock = clock
        self.counts = counts or SelectionCounts()
        self._followed = FollowedRankings(
            registry,
            self._leases_changed,
            max_leases=max_leases,
            max_leases_per_token=max_leases_per_token,
        )
        self.leases = self._followed.leases
        self._leased = LeasedSelections(registry, outcomes or FleetOutcomes(registry), self.leases)
        self.outcomes = self._leased.outcomes.book
        self._admission = Admission()
        self._catching_up = CatchingUp()
        self._refusals = SelectionRefusals(registry)

    def in_flight(self, id_: str) -> int:
        """The number of leases on an endpoint's server."""
        return self._followed.in_flight(id_)

    def in_flight_now(self, id_: str, now_ms: int) -> int:
        """How many leases of an endpoint have not expired."""
        self.leases.expire(now_ms)
        return self.in_flight(id_)

    # The RPCs.

    def select_endpoint(
        self, request: SelectEndpointRequest, caller: Caller, now_ms: int
    ) -> bytes | Coroutine[Any, Any, bytes]:
        """Raises ModelUnknown, NoHealthyEndpoint, NoCapacity, LimitReached, RateLimited.

        Returns a coroutine, which raises the same, if there are many endpoints to judge.
        """
        token = caller.principal.token_id
        kept = self._followed.kept(
            request, now_ms, lambda candidates: self._admission.charge(candidates, token, now_ms)
        )
        if kept.behind() > FEW:
            return self._answer_later(request, caller)
        for _ in kept.catch_up():
            pass
        return self._answer(request, kept.ranking, caller, now_ms)

    async def _answer_later(self, request: SelectEndpointRequest, caller: Caller) -> bytes:
        """Answers as of the time when all endpoints are judged, which is after the request."""
        kept = await self._catching_up.wait(
            caller.principal.token_id,
            # The ranking may be evicted meanwhile; making it again is not charged.
            lambda: self._followed.kept(request, self._clock.now_ms()),
        )
        for _ in kept.catch_up():
            pass
        return self._answer(request, kept.ranking, caller, self._clock.now_ms())

    def _answer(
        self, request: SelectEndpointRequest, ranking: Ranking, caller: Caller, now_ms: int
    ) -> bytes:
        limits = Limits.of(request)
        affinity = affinity_of(ranking, request.affinity_key) if request.affinity_key else None
        order = affinity.order() if affinity is not None else None
        chosen = pick(ranking, limits, request.count or 1, now_ms, order=order)
        if not chosen:
            raise self._refusals.why_none(request, ranking, limits, caller, now_ms)
        candidates = (
            [*explained(ranking, limits, now_ms, self._followed, affinity)]
            if request.explain
            else ()
        )
        if affinity is not None:
            self.counts.affinity["own" if affinity.rank(chosen[0]) == 0 else "other"] += 1
        rest = SelectEndpointResponse(revision=self._registry.revision, candidates=candidates)
        taken = self._leased.take(request, chosen, caller, now_ms, affinity)
        for verdict in chosen:
            ranking.picked(verdict.endpoint.id)
        return b"".join((*taken.fragments, rest.SerializeToString()))

    def release_selection(
        self, request: ReleaseSelectionRequest, caller: Caller, now_ms: int
    ) -> ReleaseSelectionResponse:
        """Raises LeaseNotFound. Only the token that took the lease may report an outcome."""
        self._leased.release(request, caller, now_ms)
        return ReleaseSelectionResponse()

    def _leases_changed(self) -> None:
        """Nothing waits for leases."""

"""RegistryService.SelectEndpoint and ReleaseSelection; also resolves model aliases."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog

from hub.base.clock import Clock
from hub.contract.errors import HubError, LimitReached, ModelUnknown
from hub.registry.outcomes.fleet_outcomes import FleetOutcomes
from hub.registry.selection.affinity import Affinity, affinity_of
from hub.registry.selection.leases import Lease
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
from hub.service.handlers.waiting_selections import Answer, WaitingSelections
from hub.service.metrics.selection_counts import SelectionCounts
from llmhub.v1.registry_service_pb2 import (
    Outcome,
    ReleaseSelectionRequest,
    ReleaseSelectionResponse,
    SelectEndpointRequest,
    SelectEndpointResponse,
)

log = structlog.get_logger()


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
            max_leases=max_leases,
            max_leases_per_token=max_leases_per_token,
        )
        self.leases = self._followed.leases
        self._leased = LeasedSelections(registry, outcomes or FleetOutcomes(registry), self.leases)
        self.outcomes = self._leased.outcomes.book
        self._waiting = WaitingSelections(clock, self, self.leases, self.counts)
        # The task that catches up a ranking for those that wait.
        self._behind: asyncio.Task[None] | None = None
        registry.on_change(self._waiting.changed)
        self._followed.on_lease_change(self._waiting.changed)
        self._admission = Admission()
        # The end of an answer without explanations, and its revision.
        self._end = -1, b""
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

        Returns a coroutine, which raises the same, if there are many endpoints to judge or
        if the request waits for an endpoint.
        """
        token = caller.principal.token_id
        kept = self._followed.kept(
            request, now_ms, lambda candidates: self._admission.charge(candidates, token, now_ms)
        )
        if self._waiting.is_stale:
            # What has become free belongs to those that wait.
            self._waiting.serve(now_ms)
            kept = self._followed.kept(request, now_ms)
        if kept.behind() > FEW:
            return self._answer_later(request, caller)
        for _ in kept.catch_up():
            pass
        return self._answer(request, kept.ranking, caller, now_ms)

    async def _answer_later(self, request: SelectEndpointRequest, caller: Caller) -> bytes:
        """Answers as of the time when all endpoints are judged, which is after the request."""
        ranking = await self._caught_up(request, caller)
        answer = self._answer(request, ranking, caller, self._clock.now_ms())
        return answer if isinstance(answer, bytes) else await answer

    async def _caught_up(self, request: SelectEndpointRequest, caller: Caller) -> Ranking:
        kept = await self._catching_up.wait(
            caller.principal.token_id,
            # The ranking may be evicted meanwhile; making it again is not charged.
            lambda: self._followed.kept(request, self._clock.now_ms()),
        )
        for _ in kept.catch_up():
            pass
        return kept.ranking

    def _answer(
        self, request: SelectEndpointRequest, ranking: Ranking, caller: Caller, now_ms: int
    ) -> bytes | Coroutine[Any, Any, bytes]:
        answer = self._choose(request, ranking, caller, now_ms)
        if answer is not None:
            return answer.encoded
        if request.HasField("wait") and len(ranking):
            return self._waiting.wait(request, caller)
        refusal = self._refusals.why_none(request, ranking, Limits.of(request), caller, now_ms)
        if request.HasField("wait") and not isinstance(refusal, ModelUnknown):
            return self._waiting.wait(request, caller)
        raise refusal

    def _choose(
        self,
        request: SelectEndpointRequest,
        ranking: Ranking,
        caller: Caller,
        now_ms: int,
        waited_ms: int | None = None,
    ) -> Answer | None:
        """Selects and takes the leases; None if no endpoint fits."""
        limits = Limits.of(request)
        affinity = affinity_of(ranking, request.affinity_key) if request.affinity_key else None
        order = affinity.order() if affinity is not None else None
        count = request.count or 1
        chosen = pick(ranking, limits, count + request.fallbacks, now_ms, order=order)
        if not chosen:
            return None
        if affinity is not None:
            self.counts.affinity["own" if affinity.rank(chosen[0]) == 0 else "other"] += 1
        end = (
            self._explanation(ranking, limits, now_ms, affinity)
            if request.explain
            else self._revision()
        )
        fragments, leases = self._leased.take(request, chosen, caller, now_ms, affinity, waited_ms)
        for verdict in chosen[:count]:
            ranking.picked(verdict.endpoint.id)
        return Answer(b"".join((*fragments, end)), leases)

    def _explanation(
        self, ranking: Ranking, limits: Limits, now_ms: int, affinity: Affinity | None
    ) -> bytes:
        candidates = [*explained(ranking, limits, now_ms, self._followed, affinity)]
        end = SelectEndpointResponse(revision=self._registry.revision, candidates=candidates)
        encoded: bytes = end.SerializeToString()
        return encoded

    def _revision(self) -> bytes:
        revision, encoded = self._end
        if revision != self._registry.revision:
            revision = self._registry.revision
            encoded = SelectEndpointResponse(revision=revision).SerializeToString()
            self._end = revision, encoded
        return encoded

    def release_selection(
        self, request: ReleaseSelectionRequest, caller: Caller, now_ms: int
    ) -> ReleaseSelectionResponse:
        """Raises LeaseNotFound. Only the token that took the lease may report an outcome."""
        self._leased.release(request, caller, now_ms)
        if self._waiting.is_stale:
            self._waiting.serve(now_ms)
        return ReleaseSelectionResponse()

    def report(
        self, endpoint_id: str, model: str, outcome: Outcome, caller: Caller, now_ms: int
    ) -> None:
        """Adds the outcome of a request that a gateway sent to a fallback, without a lease."""
        lease = Lease("", endpoint_id, now_ms, caller.principal.token_id, model)
        self._leased.outcomes.report(lease, outcome, now_ms)

    # For those that wait, see `hub.service.handlers.waiting_selections.Chooser`.

    def try_now(
        self, request: SelectEndpointRequest, caller: Caller, now_ms: int, began_ms: int
    ) -> Answer | None:
        """See `Chooser`."""
        kept = self._followed.kept(request, now_ms)
        if kept.behind() > FEW:
            self._catch_up_soon(request, caller)
            return None
        for _ in kept.catch_up():
            pass
        waited_ms = max(now_ms - began_ms, 0)
        return self._choose(request, kept.ranking, caller, now_ms, waited_ms)

    def why_none(self, request: SelectEndpointRequest, caller: Caller, now_ms: int) -> HubError:
        """See `Chooser`."""
        ranking = self._followed.kept(request, now_ms).ranking
        return self._refusals.why_none(request, ranking, Limits.of(request), caller, now_ms)

    def give_back(self, leases: Sequence[Lease], now_ms: int) -> None:
        """See `Chooser`."""
        self._leased.give_back(leases, now_ms)

    def _catch_up_soon(self, request: SelectEndpointRequest, caller: Caller) -> None:
        """Judges many endpoints in slices, one ranking at a time, and tries again."""
        if self._behind is None:
            self._behind = asyncio.create_task(self._catch_up(request, caller), name="waiting")

    async def _catch_up(self, request: SelectEndpointRequest, caller: Caller) -> None:
        try:
            await self._caught_up(request, caller)
        except LimitReached as error:
            log.warning("a waiting selection has to wait longer", why=error.message)
        finally:
            self._behind = None
            self._waiting.changed()

"""RegistryService.SelectEndpoint and ReleaseSelection; also resolves model aliases."""

import secrets
from collections.abc import Callable, Collection, Coroutine, Iterator
from typing import Any, Final

from google.protobuf.wrappers_pb2 import BytesValue

from hub.base.clock import Clock
from hub.base.timestamps import to_timestamp
from hub.contract.errors import (
    LeaseNotFound,
    LimitReached,
    RateLimited,
)
from hub.contract.rpcs import Tier
from hub.registry import listings
from hub.registry.history.ring import Follower
from hub.registry.selection.criteria import Verdict
from hub.registry.selection.kept_rankings import Kept, Rankings
from hub.registry.selection.leases import Leases, TooManyLeases
from hub.registry.selection.ranking import Limits, Ranking, pick, rejections
from hub.registry.state import EndpointRecord, Registry
from hub.service.access.caller import Caller
from hub.service.access.rate_limits import RateLimiter
from hub.service.handlers.ranking_queue import FEW, CatchingUp
from hub.service.handlers.selection_refusals import SelectionRefusals
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.registry_service_pb2 import (
    Candidate,
    ReleaseSelectionRequest,
    ReleaseSelectionResponse,
    SelectEndpointRequest,
    SelectEndpointResponse,
    Selection,
)
from llmhub.v1.resources_pb2 import HostResources, VramAccount

MAX_LEASES: Final = 100_000
MAX_LEASES_PER_TOKEN: Final = 10_000
MAX_CANDIDATES: Final = 1000
"""How many candidates an explanation has: the best ones, then the first of the others."""

LARGE_RANKING: Final = 1000
"""A ranking of more candidates than this is expensive to make."""

LARGE_RANKINGS: Final = 30
"""How many large rankings one token may request per minute.

Each costs 50 µs of CPU per candidate and evicts others, because there is room for 20
rankings of 10,000 candidates. While the hub makes one, other large ones wait.
"""

_READ_AT_ONCE: Final = 10_000
# About 1 KB each: the endpoints that take turns at the head of the rankings.
_REMEMBERED: Final = 1_024

_Encoded = tuple[EndpointRecord, float, bytes]


class SelectionHandlers:
    """Chooses endpoints from the registry, and keeps the leases.

    It waits for turns of the event loop, and reads the clock, only if there are many
    endpoints to judge.
    """

    def __init__(
        self,
        registry: Registry,
        clock: Clock,
        *,
        max_leases: int = MAX_LEASES,
        max_leases_per_token: int = MAX_LEASES_PER_TOKEN,
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._rankings = Rankings(self, self._candidates)
        self.leases = Leases(
            max_leases=max_leases,
            max_per_owner=max_leases_per_token,
            on_change=self._leases_changed,
        )
        # Callers choose the weights freely, so every request may need a new ranking.
        self._large = RateLimiter({Tier.HEAVY: LARGE_RANKINGS})
        self._catching_up = CatchingUp()
        self._refusals = SelectionRefusals(registry)
        self._events = Follower(registry.ring, registry.revision)
        self._checks = Follower(registry.checks, registry.revision)
        self._reports = Follower(registry.resources, registry.revision)
        self._claims = Follower(registry.claims, registry.revision)
        self._seen = registry.revision
        # By endpoint and model: the record and the score that were encoded, and the encoding.
        self._encoded: dict[tuple[str, str], _Encoded] = {}
        # The end of an answer without explanations, and its revision.
        self._end = -1, b""

    # The facts that rankings use, see `hub.registry.selection.ranking.FleetView`.

    def endpoint(self, id_: str) -> Endpoint | None:
        """See `FleetView`."""
        record = self._registry.get(id_)
        return record.message if record is not None else None

    def resources(self, agent_id: str) -> HostResources | None:
        """See `FleetView`."""
        record = self._registry.resources.get(agent_id)
        return record.message if record is not None else None

    def vram(self, agent_id: str) -> VramAccount:
        """See `FleetView`."""
        return self._registry.vram(agent_id).message

    def in_flight(self, id_: str) -> int:
        """See `FleetView`."""
        ids = self._registry.addresses_of_server(id_)
        return sum(map(self.leases.in_flight, ids))

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
        kept = self._kept(
            request, now_ms, lambda candidates: self._admit(candidates, caller, now_ms)
        )
        if behind := kept.behind():
            if behind > FEW:
                return self._answer_later(request, caller)
            for _ in kept.catch_up():
                pass
        return self._answer(request, kept.ranking, caller, now_ms)

    async def _answer_later(self, request: SelectEndpointRequest, caller: Caller) -> bytes:
        """Answers as of the time when all endpoints are judged, which is after the request."""
        kept = await self._catching_up.wait(
            caller.principal.token_id,
            # The ranking may be evicted meanwhile; making it again is not charged.
            lambda: self._kept(request, self._clock.now_ms()),
        )
        for _ in kept.catch_up():
            pass
        return self._answer(request, kept.ranking, caller, self._clock.now_ms())

    def _kept(
        self,
        request: SelectEndpointRequest,
        now_ms: int,
        admit: Callable[[int], None] = lambda _candidates: None,
    ) -> Kept:
        """The ranking for a request's criteria, with every change applied."""
        self._follow(now_ms)
        alias = self._registry.aliases.get(request.model)
        return self._rankings.kept(
            request,
            alias.message if alias is not None else None,
            alias.revision if alias is not None else 0,
            admit,
        )

    def _answer(
        self, request: SelectEndpointRequest, ranking: Ranking, caller: Caller, now_ms: int
    ) -> bytes:
        limits = Limits.of(request)
        chosen = pick(ranking, limits, request.count or 1, now_ms)
        if not chosen:
            raise self._refusals.why_none(request, ranking, limits, caller, now_ms)
        end = self._explanation(ranking, limits, now_ms) if request.explain else self._revision()
        fragments = self._selections(request, chosen, caller, now_ms)
        for verdict in chosen:
            ranking.picked(verdict.endpoint.id)
        return b"".join((*fragments, end))

    def _explanation(self, ranking: Ranking, limits: Limits, now_ms: int) -> bytes:
        candidates = [*_explained(ranking, limits, now_ms, self)]
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
        self, request: ReleaseSelectionRequest, _caller: Caller, now_ms: int
    ) -> ReleaseSelectionResponse:
        """Raises LeaseNotFound."""
        self.leases.expire(now_ms)
        if not self.leases.release(request.lease_id):
            raise LeaseNotFound("the lease has expired or never existed")
        return ReleaseSelectionResponse()

    def _admit(self, candidates: int, caller: Caller, now_ms: int) -> None:
        """Charges for a new ranking of that many candidates. Raises RateLimited."""
        if candidates > LARGE_RANKING:
            verdict = self._large.take(caller.principal.token_id, Tier.HEAVY, now_ms)
            if not verdict.allowed:
                raise RateLimited(Tier.HEAVY.wire_name, verdict.retry_after_ms)

    def _selections(
        self, request: SelectEndpointRequest, chosen: list[Verdict], caller: Caller, now_ms: int
    ) -> list[bytes]:
        """Takes the leases and encodes the selections. Raises LimitReached."""
        if not request.HasField("lease_ttl"):
            return [self._without_lease(verdict) for verdict in chosen]
        ttl_ms = max(1, request.lease_ttl.ToMilliseconds())
        taken: list[str] = []
        fragments = []
        for verdict in chosen:
            id_ = verdict.endpoint.id
            said = Selection(score=verdict.score, model=verdict.model.name)
            try:
                lease = self.leases.take(
                    secrets.token_hex(16), id_, ttl_ms, now_ms, caller.principal.token_id
                )
            except TooManyLeases as error:
                for lease_id in taken:
                    self.leases.release(lease_id)
                raise LimitReached(str(error)) from error
            taken.append(lease.id)
            said.lease_id = lease.id
            said.lease_expires_at.CopyFrom(to_timestamp(lease.expires_ms))
            fragments.append(_fragment(self._record(id_), said))
        return fragments

    def _without_lease(self, verdict: Verdict) -> bytes:
        """An encoded selection; the same bytes until the endpoint or its score changes."""
        id_, score = verdict.endpoint.id, verdict.score
        record, key = self._record(id_), (id_, verdict.model.name)
        known = self._encoded.get(key)
        if known is not None and known[0] is record and known[1] == score:
            return known[2]
        encoded = _fragment(record, Selection(score=score, model=verdict.model.name))
        if len(self._encoded) >= _REMEMBERED:
            self._encoded.clear()
        self._encoded[key] = record, score, encoded
        return encoded

    def _record(self, id_: str) -> EndpointRecord:
        record = self._registry.get(id_)
        assert record is not None
        return record

    def _follow(self, now_ms: int) -> None:
        """Applies the changes since the last call to the rankings."""
        registry = self._registry
        registry.expire(now_ms)
        self.leases.expire(now_ms)
        if self._seen == registry.revision:
            return
        self._seen = registry.revision
        changed = self._changed() if self._rankings else None
        if changed is not None:
            self._rankings.touch(changed)
            return
        self._rankings.touch_all()
        for follower in (self._events, self._checks, self._reports, self._claims):
            follower.go_to(registry.revision)

    def _changed(self) -> set[str] | None:
        """The endpoints with changes; None if any endpoint may have changed."""
        events = self._events.take(_READ_AT_ONCE)
        checks, reports, claims = self._checks.take(), self._reports.take(), self._claims.take()
        if checks is None or reports is None or claims is None or events is None:
            return None
        if len(events) == _READ_AT_ONCE:
            return None
        changed = {event.id for event in events}
        changed.update(check.key for check in checks)
        # Memory that one server claims is not available to other servers on the host.
        hosts = {report.key for report in reports} | {claim.key for claim in claims}
        changed.update(*map(self._registry.of_agent, hosts))
        # An endpoint counts the leases of all addresses of its server.
        changed.update(*map(self._registry.addresses_of_server, [*changed]))
        return changed

    def _leases_changed(self, id_: str) -> None:
        for each in self._registry.addresses_of_server(id_):
            self._rankings.touch_leases(each)

    def _candidates(self, model: str | None) -> Collection[str]:
        if model is not None:
            return self._registry.model_index.ids_meant(model)
        return [record.message.id for record in self._registry.endpoints()]


def _fragment(record: EndpointRecord, said: Selection) -> bytes:
    # The endpoint is field 1 of a Selection and of GetEndpointResponse, and the selections
    # are field 1 of SelectEndpointResponse.
    selection = listings.get_endpoint(record) + said.SerializeToString()
    encoded: bytes = BytesValue(value=selection).SerializeToString()
    return encoded


def _explained(
    ranking: Ranking, limits: Limits, now_ms: int, facts: SelectionHandlers
) -> Iterator[Candidate]:
    """Every candidate: the selectable ones, then those rejected for now, then the others."""
    fit = pick(ranking, limits, MAX_CANDIDATES, now_ms)
    for verdict in fit:
        candidate = _candidate(verdict)
        candidate.score = verdict.score
        candidate.detail = verdict.detail
        candidate.parts.update(ranking.criteria.explain(verdict, facts))
        yield candidate
    rejected = rejections(ranking, limits, now_ms)
    for verdict, rejection, detail in rejected[: MAX_CANDIDATES - len(fit)]:
        candidate = _candidate(verdict)
        candidate.rejection, candidate.detail = rejection, detail
        yield candidate


def _candidate(verdict: Verdict) -> Candidate:
    return Candidate(
        endpoint_id=verdict.endpoint.id,
        model=verdict.model.name,
        in_flight=verdict.in_flight,
    )

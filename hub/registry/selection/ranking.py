"""Which endpoint to send a request to: candidates, rejections, the best one. Pure.

    criteria ─► judge one endpoint ─► rejected, or a score made of parts
                     ranking: all verdicts in order, kept in step with the fleet

A ranking judges an endpoint again only after something about it has changed, and keeps
the suitable endpoints sorted. A selection then reads the head of the ranking, however
large the fleet is.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final, Protocol

from hub.base.address import spellings
from hub.base.timestamps import to_ms
from hub.contract.dialect.names import enum_word
from hub.registry.filters import has_labels
from hub.registry.selection.scoring import is_failing, parts, slots_of, weighed, weights_of
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    ADMIN_STATE_DRAINING,
    FAULT_DEAD,
    MODEL_STATE_LOADED,
    STATUS_HEALTHY,
    Endpoint,
    Model,
    Status,
)
from llmhub.v1.model_alias_pb2 import AliasTarget
from llmhub.v1.registry_service_pb2 import (
    REJECTION_CAPABILITIES,
    REJECTION_DISABLED,
    REJECTION_DRAINING,
    REJECTION_EXCLUDED,
    REJECTION_IN_FLIGHT,
    REJECTION_LABELS,
    REJECTION_MODEL,
    REJECTION_NOT_HEALTHY,
    REJECTION_STALE,
    REJECTION_UNSPECIFIED,
    REJECTION_VRAM,
    Rejection,
    SelectEndpointRequest,
)
from llmhub.v1.resources_pb2 import HostResources, VramAccount

NOT_SELECTABLE: Final = frozenset({REJECTION_DISABLED, REJECTION_DRAINING, REJECTION_NOT_HEALTHY})
"""The rejections that do not depend on the request."""


class FleetView(Protocol):
    """What a judgement is based on."""

    def endpoint(self, id_: str) -> Endpoint | None:
        """The endpoint with that id, or None."""
        ...

    def resources(self, agent_id: str) -> HostResources | None:
        """The last report of an agent's host, or None."""
        ...

    def vram(self, agent_id: str) -> VramAccount:
        """What is measured and what is claimed in the memory of an agent's host."""
        ...

    def in_flight(self, id_: str) -> int:
        """The number of leases on an endpoint."""
        ...


@dataclass(slots=True, eq=False)
class Verdict:
    """The suitability of one endpoint for one request.

    `rejection` is unspecified if the endpoint is suitable. `is_failing`: its last probe
    failed, so it ranks below all others whatever its score, and `detail` says so. `merit`
    is the score without leases, each of which subtracts `lease_weight`. `resources` is the
    last report of its host, if there was one.
    """

    endpoint: Endpoint
    model: Model
    merit: float = 0.0
    lease_weight: float = 0.0
    rejection: Rejection = REJECTION_UNSPECIFIED
    is_failing: bool = False
    detail: str = ""
    in_flight: int = 0
    resources: HostResources | None = None

    @property
    def checked_ms(self) -> int:
        """When the endpoint was last probed, in epoch milliseconds; 0 if never."""
        return to_ms(self.endpoint.last_checked_at)

    @property
    def reported_ms(self) -> int:
        """When its host last reported, in epoch milliseconds; 0 if never."""
        return to_ms(self.resources.reported_at) if self.resources is not None else 0

    @property
    def score(self) -> float:
        """Higher is better."""
        return self.merit - self.lease_weight * self.in_flight


class Criteria:
    """The requirements of a request that do not depend on the moment.

    `targets` are those of the alias that the request names, or None if it names a model.
    """

    def __init__(
        self, request: SelectEndpointRequest, targets: Collection[AliasTarget] | None
    ) -> None:
        self._targets = list(targets) if targets is not None else None
        self._name = request.model
        self._labels = frozenset(request.labels.items())
        wanted = AliasTarget(
            digest=request.digest,
            family=request.family,
            quantization=request.quantization,
            min_context_length=request.min_context_length,
        )
        self._wanted = wanted if wanted.ListFields() else None
        self._capabilities = frozenset(request.capabilities)
        self._min_free_vram = request.min_free_vram_bytes
        self._weights = weights_of(request.strategy, request.weights)

    def judge(self, endpoint: Endpoint, facts: FleetView) -> Verdict | None:
        """The verdict on an endpoint; None if it does not have the model at all."""
        if self._targets is None:
            # Making a ranking spends most of its time here.
            name = self._name
            having = [model for model in endpoint.models if model.name == name]
        else:
            having = [model for model in endpoint.models if _is_meant(model, self._targets)]
        if not having:
            return None
        fitting = having
        if self._wanted is not None:
            fitting = [model for model in having if meets(model, self._wanted)]
        able = fitting
        if self._capabilities:
            able = [model for model in fitting if self._capabilities <= set(model.capabilities)]
        best = able or fitting or having
        model = best[0] if len(best) == 1 else min(best, key=_not_loaded)
        in_flight = facts.in_flight(endpoint.id)
        agent_id = endpoint.agent_id
        resources = facts.resources(agent_id) if agent_id else None
        vram = facts.vram(agent_id) if agent_id else None
        rejection, detail = self._objection(endpoint, fitting, able, vram)
        if rejection:
            return Verdict(endpoint, model, rejection=rejection, detail=detail, in_flight=in_flight)
        return Verdict(
            endpoint,
            model,
            merit=sum(weighed(parts(endpoint, model, resources, vram), self._weights).values()),
            lease_weight=self._weights["in_flight"] / slots_of(endpoint),
            is_failing=is_failing(endpoint),
            detail=f"ranks last, as its last probe failed: {endpoint.last_error[:200]}"
            if is_failing(endpoint)
            else "",
            in_flight=in_flight,
            resources=resources,
        )

    def explain(self, verdict: Verdict, facts: FleetView) -> dict[str, float]:
        """The weighted parts of a verdict's score, as of now."""
        agent_id = verdict.endpoint.agent_id
        resources = facts.resources(agent_id) if agent_id else None
        vram = facts.vram(agent_id) if agent_id else None
        found = weighed(parts(verdict.endpoint, verdict.model, resources, vram), self._weights)
        return found | {"in_flight": -verdict.lease_weight * verdict.in_flight}

    def _objection(
        self,
        endpoint: Endpoint,
        fitting: list[Model],
        able: list[Model],
        vram: VramAccount | None,
    ) -> tuple[Rejection, str]:
        if endpoint.admin_state == ADMIN_STATE_DISABLED:
            return REJECTION_DISABLED, "disabled by an admin"
        if endpoint.admin_state == ADMIN_STATE_DRAINING:
            return REJECTION_DRAINING, "being drained by an admin"
        if endpoint.status != STATUS_HEALTHY:
            status = enum_word(Status.DESCRIPTOR, endpoint.status)
            error = f": {endpoint.last_error[:200]}" if endpoint.last_error else ""
            return REJECTION_NOT_HEALTHY, f"{status}{error}"
        if endpoint.fault == FAULT_DEAD:
            # Healthy still, by the misses that are forgiven or by self-preservation.
            error = endpoint.last_error[:200]
            return REJECTION_NOT_HEALTHY, f"dead, as the hub and its sidecar find: {error}"
        if not has_labels(endpoint, self._labels):
            return REJECTION_LABELS, "lacks a requested label"
        if not fitting:
            return REJECTION_MODEL, "the model's digest, family, quantization or context differs"
        if not able:
            return REJECTION_CAPABILITIES, "the model lacks a requested capability"
        if self._min_free_vram:
            if vram is None or not vram.HasField("free_bytes"):
                return REJECTION_VRAM, "the host does not report its free VRAM"
            if vram.free_bytes < self._min_free_vram:
                return REJECTION_VRAM, (
                    f"{vram.free_bytes} of {vram.total_bytes} bytes of VRAM are free: "
                    f"{vram.measured_bytes} are measured in use, "
                    f"{vram.claimed_bytes} claimed by loaded models"
                )
        return REJECTION_UNSPECIFIED, ""


def _not_loaded(model: Model) -> bool:
    return model.state != MODEL_STATE_LOADED


def _is_meant(model: Model, targets: Iterable[AliasTarget]) -> bool:
    return any(
        (not target.model or model.name == target.model) and meets(model, target)
        for target in targets
    )


def meets(model: Model, target: AliasTarget) -> bool:
    """Whether a model matches a target, apart from its name."""
    return (
        (not target.digest or model.digest == target.digest)
        and (not target.family or model.family.casefold() == target.family.casefold())
        and (
            not target.quantization
            or model.quantization.casefold() == target.quantization.casefold()
        )
        and (not target.min_context_length or model.context_length >= target.min_context_length)
    )


# (is failing, -score, last pick, id): the smallest is the best.
_Key = tuple[bool, float, int, str]


class Ranking:
    """The verdicts of one set of criteria on a whole fleet, in order.

    It starts empty. Its owner calls `update` for every endpoint whose record or host has
    changed, and `recount` if only the leases have. The best are those whose last probe did
    not fail, then those with the highest score; among equals it is the endpoint that was
    picked longest ago.
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
        """An endpoint was chosen, so its equals come first from now on."""
        verdict = self._drop(id_)
        self._pick += 1
        self._picks[id_] = self._pick
        if verdict is not None:
            self._keep(id_, verdict)

    def best(self) -> Iterator[Verdict]:
        """The suitable endpoints, best first. Only valid until the next change."""
        return (self._verdicts[id_] for *_, id_ in self._order)

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
            del self._order[bisect_left(self._order, self._key(id_, verdict))]
        return verdict

    def _key(self, id_: str, verdict: Verdict) -> _Key:
        return (verdict.is_failing, -verdict.score, self._picks.get(id_, 0), id_)


@dataclass(frozen=True, slots=True)
class Limits:
    """The requirements of a request at the moment it is made; 0 requires nothing."""

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
            # Rounded up: an age of less than a millisecond is a requirement too.
            age = request.max_fact_age
            age_ms = age.seconds * 1000 - (-age.nanos // 1_000_000)
        return cls(
            max_fact_age_ms=age_ms,
            max_in_flight=request.max_in_flight,
            needs_report=bool(request.min_free_vram_bytes),
            excluded=frozenset(chain.from_iterable(map(spellings, request.exclude_ids))),
        )

    def objection(self, verdict: Verdict, now_ms: int) -> tuple[Rejection, str]:
        """Why a suitable endpoint is rejected now; unspecified if it is not."""
        if verdict.endpoint.id in self.excluded:
            return REJECTION_EXCLUDED, "excluded by the request"
        if self.max_fact_age_ms:
            oldest_ms = verdict.checked_ms
            if self.needs_report:
                oldest_ms = min(oldest_ms, verdict.reported_ms)
            if now_ms - oldest_ms > self.max_fact_age_ms:
                return REJECTION_STALE, f"what is known of it is {now_ms - oldest_ms} ms old"
        if self.max_in_flight and verdict.in_flight >= self.max_in_flight:
            return REJECTION_IN_FLIGHT, f"{verdict.in_flight} leases already"
        return REJECTION_UNSPECIFIED, ""


_NO_LIMITS: Final = Limits()


def pick(
    ranking: Ranking,
    limits: Limits,
    count: int,
    now_ms: int,
    reject: Callable[[Verdict, Rejection, str], None] | None = None,
) -> list[Verdict]:
    """At most `count` of the best endpoints now; `reject` is called for those passed over."""
    chosen: list[Verdict] = []
    for verdict in ranking.best():
        rejection, detail = limits.objection(verdict, now_ms)
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

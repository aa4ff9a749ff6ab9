"""A request's requirements on one endpoint: met, not met, or met as far as known. Pure.

A fact that the backend does not report is unknown, which is not the same as false. Such an
endpoint ranks after those that are known to fit, and the verdict names the unknown fact.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, Protocol

from hub.base.timestamps import to_ms
from hub.contract.dialect.names import enum_word
from hub.registry.filters import has_labels, names_model, tagged
from hub.registry.outcomes.shown import needs_trial, why_open, with_closed_circuit
from hub.registry.selection.scoring import is_failing, parts, slots_of, weighted, weights_of
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
    REJECTION_CIRCUIT_OPEN,
    REJECTION_DISABLED,
    REJECTION_DRAINING,
    REJECTION_LABELS,
    REJECTION_MODEL,
    REJECTION_NOT_HEALTHY,
    REJECTION_UNKNOWN,
    REJECTION_UNSPECIFIED,
    REJECTION_VRAM,
    Rejection,
    SelectEndpointRequest,
)
from llmhub.v1.resources_pb2 import HostResources, VramAccount

_Unfit = tuple[Rejection, str]
_FITS: Final[_Unfit] = (REJECTION_UNSPECIFIED, "")

NOT_SELECTABLE: Final = frozenset(
    {REJECTION_DISABLED, REJECTION_DRAINING, REJECTION_NOT_HEALTHY, REJECTION_CIRCUIT_OPEN}
)
"""The rejections that do not depend on the request."""


class FleetView(Protocol):
    """The facts that a verdict is based on."""

    def endpoint(self, id_: str) -> Endpoint | None:
        """The endpoint with that id, or None."""
        ...

    def resources(self, agent_id: str) -> HostResources | None:
        """The last report of an agent's host, or None."""
        ...

    def vram(self, agent_id: str) -> VramAccount:
        """The measured use of, and the claims on, the memory of an agent's host."""
        ...

    def in_flight(self, id_: str) -> int:
        """The number of leases on an endpoint."""
        ...


@dataclass(slots=True, eq=False)
class Verdict:
    """The suitability of one endpoint for one request.

    `rejection` is unspecified if the endpoint is suitable. `is_failing`: its last probe
    failed, so it ranks below all others, whatever its score. `unknown` names the required
    facts that nothing reports; such an endpoint ranks below those that are known to fit.
    `detail` explains both in words. `merit` is the score without leases; each lease
    subtracts `lease_weight`. `resources` is the last report of its host, or None.
    `needs_trial`: its circuit breaker is half open, so only a selection with a lease may
    choose it.
    """

    endpoint: Endpoint
    model: Model
    merit: float = 0.0
    lease_weight: float = 0.0
    rejection: Rejection = REJECTION_UNSPECIFIED
    is_failing: bool = False
    unknown: tuple[str, ...] = ()
    detail: str = ""
    in_flight: int = 0
    resources: HostResources | None = None
    needs_trial: bool = False
    # What `affinity` reads from the messages, once per verdict.
    affinity_facts: tuple[str, int, int, bool] | None = None

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

    `targets` are those of the alias that the request names, or None if it names no alias.
    """

    def __init__(
        self, request: SelectEndpointRequest, targets: Collection[AliasTarget] | None
    ) -> None:
        self._targets = list(targets) if targets is not None else None
        self._name = request.model
        self._tagged = tagged(request.model)
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
        self._requires_known_facts = request.require_known_facts
        self._weights = weights_of(request.strategy, request.weights)

    @property
    def prefers_loaded(self) -> bool:
        """Whether it matters that the model is in memory."""
        return self._weights["loaded"] > 0

    def judge(self, endpoint: Endpoint, facts: FleetView) -> Verdict | None:
        """The verdict on an endpoint; None if it does not have the model at all."""
        if self._targets is None:
            # A new ranking spends most of its time here.
            name = self._name
            matching = [model for model in endpoint.models if model.name == name]
            if not matching and self._tagged:
                matching = [model for model in endpoint.models if model.name == self._tagged]
        else:
            matching = [
                model
                for model in endpoint.models
                if _unknown_of_alias(model, self._targets) is not None
            ]
        if not matching:
            return None
        has_outcomes = bool(endpoint.outcomes)
        if has_outcomes and len(matching) > 1:
            matching = with_closed_circuit(endpoint, matching)
        in_flight = facts.in_flight(endpoint.id)
        agent_id = endpoint.agent_id
        resources = facts.resources(agent_id) if agent_id else None
        vram = facts.vram(agent_id) if agent_id else None
        model, unknown, unfit = self._fit(matching)
        if self._min_free_vram and (vram is None or not vram.HasField("free_bytes")):
            unknown = (*unknown, "free_vram")
        rejection, detail = self._objection(endpoint, unfit, unknown, vram)
        if has_outcomes and not rejection and (detail := why_open(endpoint, model.name)):
            rejection = REJECTION_CIRCUIT_OPEN
        if rejection:
            return Verdict(endpoint, model, rejection=rejection, detail=detail, in_flight=in_flight)
        return Verdict(
            endpoint,
            model,
            merit=sum(weighted(parts(endpoint, model, resources, vram), self._weights).values()),
            lease_weight=self._weights["in_flight"] / slots_of(endpoint),
            is_failing=is_failing(endpoint),
            unknown=unknown,
            detail=_reservations(endpoint, unknown),
            in_flight=in_flight,
            resources=resources,
            needs_trial=has_outcomes and needs_trial(endpoint, model.name),
        )

    def explain(self, verdict: Verdict, facts: FleetView) -> dict[str, float]:
        """The weighted parts of a verdict's score, as of now."""
        agent_id = verdict.endpoint.agent_id
        resources = facts.resources(agent_id) if agent_id else None
        vram = facts.vram(agent_id) if agent_id else None
        found = weighted(parts(verdict.endpoint, verdict.model, resources, vram), self._weights)
        # As in `weighted`: nothing in flight is 0.0, not -0.0.
        return found | {"in_flight": -verdict.lease_weight * verdict.in_flight + 0.0}

    def _fit(self, matching: list[Model]) -> tuple[Model, tuple[str, ...], _Unfit]:
        """The most suitable of an endpoint's models, its unknown facts, and why none fits."""
        if self._wanted is None and not self._capabilities and self._targets is None:
            first = matching[0] if len(matching) == 1 else min(matching, key=_not_loaded)
            return first, (), _FITS
        fits = []
        unfit: _Unfit = (
            REJECTION_MODEL,
            "the model's digest, family, quantization or context differs",
        )
        for model in matching:
            described = unknown_facts(model, self._wanted) if self._wanted is not None else ()
            if described is None:
                continue
            if self._targets is not None:
                by_alias = _unknown_of_alias(model, self._targets) or ()
                described = tuple(dict.fromkeys((*by_alias, *described)))
            able = unknown_capabilities(model, self._capabilities)
            if able is None:
                unfit = (REJECTION_CAPABILITIES, "the model lacks a requested capability")
                continue
            fits.append(
                (len(described) + len(able), _not_loaded(model), (*described, *able), model)
            )
        if not fits:
            return min(matching, key=_not_loaded), (), unfit
        _, _, unknown, model = min(fits, key=itemgetter(0, 1))
        return model, unknown, _FITS

    def _objection(
        self,
        endpoint: Endpoint,
        unfit: _Unfit,
        unknown: tuple[str, ...],
        vram: VramAccount | None,
    ) -> _Unfit:
        if endpoint.admin_state == ADMIN_STATE_DISABLED:
            return REJECTION_DISABLED, "disabled by an admin"
        if endpoint.admin_state == ADMIN_STATE_DRAINING:
            return REJECTION_DRAINING, "being drained by an admin"
        if endpoint.status != STATUS_HEALTHY:
            status = enum_word(Status.DESCRIPTOR, endpoint.status)
            error = f": {endpoint.last_error[:200]}" if endpoint.last_error else ""
            return REJECTION_NOT_HEALTHY, f"{status}{error}"
        if endpoint.fault == FAULT_DEAD:
            # Still healthy, because of forgiven failures or self-preservation.
            error = endpoint.last_error[:200]
            return REJECTION_NOT_HEALTHY, f"the hub and its sidecar both find it dead: {error}"
        if not has_labels(endpoint, self._labels):
            return REJECTION_LABELS, "lacks a requested label"
        if unfit[0]:
            return unfit
        has_less = (
            self._min_free_vram
            and vram is not None
            and vram.HasField("free_bytes")
            and vram.free_bytes < self._min_free_vram
        )
        if has_less:
            assert vram is not None
            return REJECTION_VRAM, (
                f"{vram.free_bytes} of {vram.total_bytes} bytes of VRAM are free: "
                f"{vram.measured_bytes} are measured in use, "
                f"{vram.claimed_bytes} claimed by loaded models"
            )
        if unknown and self._requires_known_facts:
            return REJECTION_UNKNOWN, f"unknown: {', '.join(unknown)}"
        return REJECTION_UNSPECIFIED, ""


def _reservations(endpoint: Endpoint, unknown: tuple[str, ...]) -> str:
    """Why a suitable endpoint ranks below others, in words."""
    reasons = []
    if is_failing(endpoint):
        reasons.append(f"ranks last because its last probe failed: {endpoint.last_error[:200]}")
    if unknown:
        reasons.append(f"ranks after those that are known to fit; unknown: {', '.join(unknown)}")
    return "; ".join(reasons)


def _not_loaded(model: Model) -> bool:
    return model.state != MODEL_STATE_LOADED


def _unknown_of_alias(model: Model, targets: Iterable[AliasTarget]) -> tuple[str, ...] | None:
    """The unknown facts of a model, by the target of an alias that it meets best.

    None if the alias does not mean the model. A target without a name requires known facts.
    """
    least: tuple[str, ...] | None = None
    for target in targets:
        unknown = unknown_facts(model, target)
        if unknown is None:
            continue
        is_meant = names_model(target.model, model.name) if target.model else not unknown
        if is_meant and (least is None or len(unknown) < len(least)):
            least = unknown
    return least


def is_meant_by(model: Model, targets: Iterable[AliasTarget]) -> bool:
    """Whether an alias with these targets means the model, as far as is known."""
    return _unknown_of_alias(model, targets) is not None


def unknown_facts(model: Model, target: AliasTarget) -> tuple[str, ...] | None:
    """The facts, apart from the name, that a target requires and a model does not report.

    None if the model is known to differ in any of them.
    """
    unknown = []
    for fact in ("digest", "family", "quantization"):
        wanted, known = getattr(target, fact), getattr(model, fact)
        if not wanted:
            continue
        if not known:
            unknown.append(fact)
        elif known != wanted if fact == "digest" else known.casefold() != wanted.casefold():
            return None
    if target.min_context_length:
        if not model.HasField("context_length"):
            unknown.append("context_length")
        elif model.context_length < target.min_context_length:
            return None
    return tuple(unknown)


def unknown_capabilities(model: Model, wanted: Collection[str]) -> tuple[str, ...] | None:
    """The wanted capabilities that are unknown of a model; None if it is known to lack one."""
    missing = [each for each in wanted if each not in model.capabilities]
    if not missing:
        return ()
    if model.capabilities_known or any(each in model.absent_capabilities for each in missing):
        return None
    return tuple(f"capability {each}" for each in sorted(missing))

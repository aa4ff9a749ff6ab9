"""A local copy of the fleet that is always current and answers in microseconds."""

import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from hub.client.call_errors import ClientError, NoSelection, NotSynced
from hub.client.requests import select_request, watch_request
from hub.client.retry import Resumption
from hub.registry.history.versioned import Versioned
from hub.registry.selection.affinity import affinity_of
from hub.registry.selection.criteria import NOT_SELECTABLE
from hub.registry.selection.kept_rankings import Rankings
from hub.registry.selection.ranking import Limits, Ranking, pick, rejections
from hub.registry.vram import VramLedger
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.model_alias_pb2 import ModelAlias
from llmhub.v1.registry_service_pb2 import (
    REJECTION_UNKNOWN,
    STRATEGY_UNSPECIFIED,
    ScoreWeights,
    SelectEndpointRequest,
    Strategy,
    WatchRegistryResponse,
)
from llmhub.v1.resources_pb2 import EVENT_TYPE_DELETE, HostResources, RegistryEvent, VramAccount


@dataclass(frozen=True, slots=True)
class Choice:
    """An endpoint to send a request to.

    `model` is the endpoint's own name of the model. `endpoint` is shared and
    must not be changed.
    """

    endpoint: Endpoint
    model: str
    score: float

    @property
    def base_url(self) -> str:
        """The base URL of the endpoint, such as "http://10.0.0.1:11434"."""
        return base_url(self.endpoint)


@dataclass(frozen=True, slots=True)
class Freshness:
    """How current a copy is.

    `revision` is the revision that it has reached (0: no state has arrived yet). `age_s` is the
    seconds since the hub's last response, with or without events; infinite before the
    first. `connected` says whether the stream is connected, as far as is known.
    """

    revision: int
    age_s: float
    connected: bool

    @property
    def synced(self) -> bool:
        """Whether a complete state has arrived."""
        return self.revision > 0


def base_url(endpoint: Endpoint) -> str:
    """The base URL of an endpoint, such as "http://10.0.0.1:11434"."""
    return f"{endpoint.scheme or 'http'}://{endpoint.id}{endpoint.base_path}"


class FleetCopy:
    """The copy itself; `FleetCache` and `AsyncFleetCache` keep it current.

    Any thread may read it, and no read waits for the network. Returned objects are
    shared and must not be changed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._resumption = Resumption(
            watch_request(include_resources=True, include_checks=True, include_aliases=True)
        )
        self._endpoints: dict[str, Endpoint] = {}
        self._resources: dict[str, Versioned[HostResources]] = {}
        self._ledger = VramLedger()
        self._aliases: dict[str, tuple[ModelAlias, int]] = {}
        self._of_agent: dict[str, set[str]] = {}
        self._rankings = Rankings(self, self._candidates)
        self._revision = 0
        self._heard_at: float | None = None
        self._connected = False
        self._failure: ClientError | None = None

    # Reads.

    @property
    def freshness(self) -> Freshness:
        """How current the copy is."""
        heard_at = self._heard_at
        age_s = time.monotonic() - heard_at if heard_at is not None else float("inf")
        return Freshness(self._revision, age_s, self._connected)

    @property
    def failure(self) -> ClientError | None:
        """Why the copy no longer follows the hub, such as a revoked token; else None."""
        return self._failure

    def get(self, endpoint_id: str) -> Endpoint | None:
        """The endpoint with that id, or None."""
        return self._endpoints.get(endpoint_id)

    def endpoints(self) -> list[Endpoint]:
        """All endpoints, sorted by id."""
        with self._lock:
            return [endpoint for _, endpoint in sorted(self._endpoints.items())]

    def resources(self, agent_id: str) -> HostResources | None:
        """The last report of an agent's host, or None."""
        record = self._resources.get(agent_id)
        return record.message if record is not None else None

    def all_resources(self) -> dict[str, HostResources]:
        """The last report of every host, by agent_id."""
        with self._lock:
            return {agent_id: record.message for agent_id, record in self._resources.items()}

    def aliases(self) -> dict[str, ModelAlias]:
        """The model aliases by name."""
        with self._lock:
            return {name: alias for name, (alias, _) in self._aliases.items()}

    def select(
        self,
        model: str,
        *,
        labels: Mapping[str, str] | None = None,
        min_context_length: int = 0,
        quantization: str = "",
        digest: str = "",
        family: str = "",
        capabilities: Iterable[str] = (),
        min_free_vram_bytes: int = 0,
        max_fact_age_s: float | None = None,
        strategy: Strategy = STRATEGY_UNSPECIFIED,
        weights: ScoreWeights | None = None,
        exclude_ids: Collection[str] = (),
        require_known_facts: bool = False,
        affinity_key: str = "",
        max_staleness_s: float | None = None,
    ) -> Choice:
        """The endpoint that serves a model best, by the hub's own rules, without leases.

        `max_staleness_s` is how long the hub may have been silent. Raises NoSelection,
        or NotSynced if there is no state or it is too old.
        """
        request = select_request(
            model,
            labels=labels,
            min_context_length=min_context_length,
            quantization=quantization,
            digest=digest,
            family=family,
            capabilities=capabilities,
            min_free_vram_bytes=min_free_vram_bytes,
            max_fact_age_s=max_fact_age_s,
            strategy=strategy,
            weights=weights,
            exclude_ids=exclude_ids,
            require_known_facts=require_known_facts,
        )
        if not self._revision:
            raise NotSynced("the copy has no whole state yet")
        if max_staleness_s is not None and self.freshness.age_s > max_staleness_s:
            raise NotSynced(f"the hub has been silent for {self.freshness.age_s:.1f} s")
        limits = Limits.of(request)
        with self._lock:
            ranking = self._ranking(request)
            now_ms = time.time_ns() // 1_000_000
            order = affinity_of(ranking, affinity_key).order() if affinity_key else None
            for verdict in pick(ranking, limits, 1, now_ms, order=order):
                ranking.picked(verdict.endpoint.id)
                return Choice(verdict.endpoint, verdict.model.name, verdict.score)
            raise _why_none(model, ranking, limits, now_ms)

    # The facts behind the rankings, see `hub.registry.selection.ranking.FleetView`.

    def endpoint(self, id_: str) -> Endpoint | None:
        """See `FleetView`."""
        return self._endpoints.get(id_)

    def vram(self, agent_id: str) -> VramAccount:
        """See `FleetView`."""
        return self._ledger.account(agent_id, self._resources.get(agent_id)).message

    def in_flight(self, _id: str) -> int:
        """See `FleetView`. Always 0, because only the hub knows the leases."""
        return 0

    def _ranking(self, request: SelectEndpointRequest) -> Ranking:
        alias, revision = self._aliases.get(request.model, (None, 0))
        return self._rankings.ranking(request, alias, revision)

    def _candidates(self, _model: str | None) -> Collection[str]:
        return self._endpoints.keys()

    # Updates.

    def apply(self, response: WatchRegistryResponse) -> None:
        """Applies a response of the stream."""
        with self._lock:
            for event in self._resumption.receive(response):
                self._apply(event)
            self._heard_at = time.monotonic()
            self._connected = True
            # While the state is read again, this is still the revision of the last complete one.
            self._revision = self._resumption.revision or self._revision

    def disconnected(self) -> None:
        """Records that the stream broke."""
        self._connected = False

    def failed(self, failure: ClientError) -> None:
        """Records that the stream broke and will not be resumed."""
        self._connected = False
        self._failure = failure

    def _apply(self, event: RegistryEvent) -> None:
        gone = event.type == EVENT_TYPE_DELETE
        match event.WhichOneof("subject"):
            case "endpoint":
                self._put_endpoint(event.endpoint.id, None if gone else event.endpoint)
            case "resources":
                agent_id = event.resources.agent_id
                if gone:
                    self._resources.pop(agent_id, None)
                    self._ledger.drop(agent_id)
                else:
                    self._resources[agent_id] = Versioned(event.resources, event.revision)
                self._rankings.touch(self._of_agent.get(agent_id, ()))
            case "model_alias":
                if gone:
                    self._aliases.pop(event.model_alias.name, None)
                else:
                    self._aliases[event.model_alias.name] = (event.model_alias, event.revision)

    def _put_endpoint(self, id_: str, endpoint: Endpoint | None) -> None:
        before = self._endpoints.pop(id_, None)
        if before is not None and before.agent_id:
            of_agent = self._of_agent[before.agent_id]
            of_agent.discard(id_)
            if not of_agent:
                del self._of_agent[before.agent_id]
        if endpoint is not None:
            self._endpoints[id_] = endpoint
            if endpoint.agent_id:
                self._of_agent.setdefault(endpoint.agent_id, set()).add(id_)
        self._rankings.touch({id_})
        for agent_id in self._ledger.change(before, endpoint):
            self._rankings.touch(self._of_agent.get(agent_id, ()))


def _why_none(model: str, ranking: Ranking, limits: Limits, now_ms: int) -> NoSelection:
    if not len(ranking):
        return NoSelection("MODEL_UNKNOWN", f"no endpoint has {model}", {})
    rejected = rejections(ranking, limits, now_ms)
    details = {verdict.endpoint.id: detail for verdict, _, detail in rejected}
    reasons = {why for _, why, _ in rejected} - NOT_SELECTABLE
    if reasons:
        fits = "is known to fit" if REJECTION_UNKNOWN in reasons else "fits"
        return NoSelection("NO_CAPACITY", f"no healthy endpoint with {model} {fits}", details)
    return NoSelection("NO_HEALTHY_ENDPOINT", f"no endpoint with {model} is healthy", details)

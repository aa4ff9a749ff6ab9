"""Picks the endpoints for the requests that a gateway such as Envoy passes on."""

from collections.abc import Callable, Coroutine, Iterable
from types import CoroutineType
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration

from hub.base.settings import GatewaySettings
from hub.contract.errors import (
    FieldViolation,
    HubError,
    LeaseNotFound,
    ModelUnknown,
    NoCapacity,
    NoHealthyEndpoint,
    ValidationFailed,
)
from hub.registry.outcomes.http_results import result_of_status
from hub.registry.selection.affinity_key import key_of_head
from hub.registry.state import Registry
from hub.service.access.caller import Caller
from hub.service.changes.endpoint_keys import EndpointKeys
from hub.service.handlers.select_endpoint import SelectionHandlers
from hub.service.handlers.select_in_view import ViewSelectionHandlers
from hub.service.picks import Pick, PickOutcome, PickRequest
from llmhub.v1.endpoint_pb2 import BACKEND_OLLAMA, Endpoint
from llmhub.v1.registry_service_pb2 import (
    OUTCOME_RESULT_CANCELLED,
    OUTCOME_RESULT_CONNECT_FAILED,
    Outcome,
    ReleaseSelectionRequest,
    SelectEndpointRequest,
    SelectEndpointResponse,
)

MAX_MODEL_CHARS: Final = 512
"""The longest name of a model, as in SelectEndpoint."""

# A pick is released when its request ends. This bounds what a lost release holds.
_LEASE: Final = Duration(seconds=3600)
_RETRY_MS: Final = 5_000
_NOT_SERVED: Final = Outcome(result=OUTCOME_RESULT_CONNECT_FAILED)

AddressOf = Callable[[Endpoint], str | None]
"""The "ip:port" of an endpoint; None if its host's name is not resolved."""

# Any: as the selection returns it.
_Select = Callable[[SelectEndpointRequest, Caller, int], Any]


class PickHandlers:
    """Turns a selection into addresses that a gateway can connect to."""

    def __init__(
        self,
        registry: Registry,
        selection: SelectionHandlers,
        address_of: AddressOf,
        keys: EndpointKeys,
        settings: GatewaySettings,
    ) -> None:
        """Adds to each selection what the settings say."""
        self._registry = registry
        self._selection = selection
        self._in_view = ViewSelectionHandlers(registry, selection)
        self._address_of = address_of
        self._keys = keys
        self._settings = settings

    # Any: a Pick, or a coroutine of one.
    def pick_endpoint(self, request: PickRequest, caller: Caller, now_ms: int) -> Any:
        """Returns a Pick, or a coroutine of it where many endpoints are to be judged.

        Raises ValidationFailed, and what SelectEndpoint raises.
        """
        return self._pick(request, caller, now_ms, self._selection.select_endpoint)

    # Any: as `pick_endpoint`.
    def pick_endpoint_in_view(self, request: PickRequest, caller: Caller, now_ms: int) -> Any:
        """As `pick_endpoint`, for a token that is limited to a part of the fleet."""
        return self._pick(request, caller, now_ms, self._in_view.select_endpoint_in_view)

    # Any: as `pick_endpoint`.
    def _pick(self, request: PickRequest, caller: Caller, now_ms: int, select: _Select) -> Any:
        if not 0 < len(request.model) <= MAX_MODEL_CHARS:
            detail = f"must have 1 to {MAX_MODEL_CHARS} characters"
            raise ValidationFailed([FieldViolation("model", "invalid", detail)])
        settings = self._settings
        wanted = SelectEndpointRequest(
            model=request.model,
            fallbacks=settings.fallbacks,
            lease_ttl=_LEASE,
            affinity_key=key_of_head(request.head) if settings.affinity else "",
            max_in_flight_per_slot=settings.max_in_flight_per_slot,
        )
        if request.needs_ollama or request.subset is not None:
            wanted.exclude_ids.extend(self._beyond(request))
        # What no endpoint within reach has does not become free either.
        if settings.wait_s and not self._is_beyond_reach(request, wanted):
            wanted.wait.FromMilliseconds(round(settings.wait_s * 1000))
        try:
            answer = select(wanted, caller, now_ms)
        except NoCapacity as error:
            raise self._why_none(request, wanted, error) from None
        if isinstance(answer, CoroutineType):
            return self._pick_later(answer, request, wanted, caller, now_ms)
        return self._picked(answer, caller, now_ms)

    async def _pick_later(
        self,
        answer: Coroutine[Any, Any, SelectEndpointResponse | bytes],
        request: PickRequest,
        wanted: SelectEndpointRequest,
        caller: Caller,
        now_ms: int,
    ) -> Pick:
        try:
            return self._picked(await answer, caller, now_ms)
        except NoCapacity as error:
            raise self._why_none(request, wanted, error) from None

    def _why_none(
        self, request: PickRequest, wanted: SelectEndpointRequest, error: NoCapacity
    ) -> HubError:
        """The error where every endpoint with the model is beyond the request's reach."""
        if not self._is_beyond_reach(request, wanted):
            return error
        if request.subset is not None:
            return NoHealthyEndpoint(
                f"the gateway allows no endpoint that has {request.model} for this path",
                metadata={"model": request.model},
                retry_after_ms=_RETRY_MS,
            )
        return ModelUnknown(
            f"no Ollama server has {request.model}; its other servers take OpenAI's paths",
            metadata={"model": request.model},
        )

    def _is_beyond_reach(self, request: PickRequest, wanted: SelectEndpointRequest) -> bool:
        excluded = set(wanted.exclude_ids)
        return bool(excluded) and excluded == set(self._with_model(request.model))

    def _picked(self, answer: SelectEndpointResponse | bytes, caller: Caller, now_ms: int) -> Pick:
        if isinstance(answer, bytes):
            answer = SelectEndpointResponse.FromString(answer)
        best = answer.selections[0]
        lease_id, model, base_path = best.lease_id, best.model, best.endpoint.base_path

        def finish(outcome: PickOutcome, now_ms: int) -> None:
            self.finish(lease_id, outcome, caller, now_ms)
            served = dict(zip(addresses, ids, strict=True)).get(outcome.address)
            if outcome.tried and served is not None:
                self._selection.report(served, model, outcome_of(outcome), caller, now_ms)

        key = self._keys.get(best.endpoint.id)
        addresses, ids = [], []
        for selection in answer.selections:
            endpoint = selection.endpoint
            address = self._address_of(endpoint)
            # The request is written once, for whichever of them serves it.
            if (
                address is not None
                and selection.model == model
                and endpoint.base_path == base_path
                and self._keys.get(endpoint.id) == key
            ):
                addresses.append(address)
                ids.append(endpoint.id)
        if not addresses:
            finish(PickOutcome(ok=False, error="no_response"), now_ms)
            raise NoHealthyEndpoint(
                f"the name {best.endpoint.host} of the best endpoint is not resolved yet",
                retry_after_ms=_RETRY_MS,
            )
        return Pick(tuple(addresses), tuple(ids), model, base_path, key, finish)

    def finish(self, lease_id: str, outcome: PickOutcome, caller: Caller, now_ms: int) -> None:
        """Ends a picked request: releases its lease, and reports the outcome there.

        The lease is on the first endpoint of the pick, which has failed if others were tried.
        """
        reported = _NOT_SERVED if outcome.tried else outcome_of(outcome)
        try:
            self._selection.release_selection(
                ReleaseSelectionRequest(lease_id=lease_id, outcome=reported), caller, now_ms
            )
        except LeaseNotFound:
            # It has expired: the request took longer than a lease may last.
            return

    def _with_model(self, name: str) -> Iterable[str]:
        """The endpoints that may have a model, or one that an alias stands for."""
        index = self._registry.model_index
        alias = self._registry.aliases.get(name)
        if alias is None:
            return index.ids_meant(name)
        targets = alias.message.targets
        # A target may name no model, only facts that any endpoint's models may have.
        if all(target.model for target in targets):
            return {id_ for each in targets for id_ in index.ids_meant(each.model)}
        return [record.message.id for record in self._registry.endpoints()]

    def _beyond(self, request: PickRequest) -> Iterable[str]:
        """The endpoints that have the model and cannot serve this request."""
        for id_ in self._with_model(request.model):
            record = self._registry.get(id_)
            if record is None:
                continue
            endpoint = record.message
            if (request.needs_ollama and endpoint.backend != BACKEND_OLLAMA) or (
                request.subset is not None and self._address_of(endpoint) not in request.subset
            ):
                yield id_


def outcome_of(picked: PickOutcome) -> Outcome:
    """The outcome to learn from: how the endpoint answered that served the request."""
    outcome = Outcome(response_bytes=picked.bytes)
    if not picked.status:
        # The client may have left, which says nothing about the server.
        outcome.result = OUTCOME_RESULT_CANCELLED
    elif not picked.address and picked.status >= 500:
        # The gateway's own answer: it reached no server.
        outcome.result = OUTCOME_RESULT_CONNECT_FAILED
    else:
        outcome.result = result_of_status(picked.status)
        if picked.ttft_ms is not None:
            outcome.time_to_first_token.FromMilliseconds(max(picked.ttft_ms, 0))
    outcome.duration.FromMilliseconds(max(picked.duration_ms, 0))
    return outcome

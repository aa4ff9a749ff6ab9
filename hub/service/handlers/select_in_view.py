"""Selections for callers whose tokens are limited to a part of the fleet."""

from collections.abc import Coroutine
from types import CoroutineType
from typing import Any

from hub.contract.errors import HubError, ModelUnknown, NoCapacity, NoHealthyEndpoint
from hub.registry.state import Registry
from hub.registry.views import View
from hub.service.access.caller import Caller
from hub.service.handlers.read_registry import JsonHandlers, RegistryHandlers
from hub.service.handlers.read_view import ViewHandlers
from hub.service.handlers.select_endpoint import SelectionHandlers
from llmhub.v1.registry_service_pb2 import (
    ReleaseSelectionRequest,
    ReleaseSelectionResponse,
    SelectEndpointRequest,
    SelectEndpointResponse,
)

# Their messages and metadata count, name or guess from the whole fleet.
_REFUSALS = (ModelUnknown, NoCapacity, NoHealthyEndpoint)


class ViewSelectionHandlers:
    """Selects among the endpoints that the caller may see, and names no others."""

    def __init__(self, registry: Registry, whole: SelectionHandlers) -> None:
        self._registry = registry
        self._whole = whole

    def select_endpoint_in_view(
        self, request: SelectEndpointRequest, caller: Caller, now_ms: int
    ) -> SelectEndpointResponse | Coroutine[Any, Any, SelectEndpointResponse]:
        """Raises ScopeForbidden and what `SelectionHandlers.select_endpoint` raises."""
        narrowed = _narrowed(request, caller)
        try:
            answer = self._whole.select_endpoint(narrowed, caller, now_ms)
        except _REFUSALS as error:
            raise _plain(error, request) from None
        if isinstance(answer, CoroutineType):
            return self._later(answer, request, caller)
        assert isinstance(answer, bytes)
        return self._shown(answer, caller.view)

    def release_selection_in_view(
        self, request: ReleaseSelectionRequest, caller: Caller, now_ms: int
    ) -> ReleaseSelectionResponse:
        """Raises LeaseNotFound. Only who was given a lease knows its id."""
        return self._whole.release_selection(request, caller, now_ms)

    async def _later(
        self, answer: Coroutine[Any, Any, bytes], request: SelectEndpointRequest, caller: Caller
    ) -> SelectEndpointResponse:
        try:
            return self._shown(await answer, caller.view)
        except _REFUSALS as error:
            raise _plain(error, request) from None

    def _shown(self, answer: bytes, view: View) -> SelectEndpointResponse:
        response = SelectEndpointResponse.FromString(answer)
        for selection in response.selections:
            # An alias in the view may stand for a model that is not.
            models = view.models | {selection.model} if view.models else view.models
            selection.endpoint.CopyFrom(View(models=models).shown(selection.endpoint))
        labelled = View(view.labels)
        for i in range(len(response.candidates) - 1, -1, -1):
            record = self._registry.get(response.candidates[i].endpoint_id)
            if record is None or not labelled.includes(record.message):
                del response.candidates[i]
        return response


def view_handlers(
    registry: Registry, whole: RegistryHandlers, as_json: JsonHandlers, selection: SelectionHandlers
) -> list[object]:
    """Everything that answers callers who see a part of the fleet, but for watches."""
    return [
        ViewHandlers(registry, whole, as_json),
        ViewSelectionHandlers(registry, selection),
    ]


def _narrowed(request: SelectEndpointRequest, caller: Caller) -> SelectEndpointRequest:
    """The request with the labels of the caller's scope added. Raises ScopeForbidden."""
    view = caller.view
    if not view.includes_model(request.model):
        raise caller.not_in_view(f"the model {request.model}")
    narrowed = SelectEndpointRequest()
    narrowed.CopyFrom(request)
    for key, value in view.labels:
        if request.labels.get(key, value) != value:
            raise caller.not_in_view(f"endpoints with the label {key}={request.labels[key]}")
        narrowed.labels[key] = value
    return narrowed


def _plain(error: HubError, request: SelectEndpointRequest) -> HubError:
    """The same error without what it says of the rest of the fleet."""
    return type(error)(
        f"no endpoint in the token's scope has {request.model} for this request now",
        metadata={"model": request.model},
        retry_after_ms=error.retry_after_ms,
    )

"""RegistryService: endpoints, models, resources and snapshots."""

from collections.abc import Iterable
from operator import attrgetter

from hub.contract.errors import EndpointNotFound, ResourcesNotFound
from hub.registry import listings
from hub.registry.filters import EndpointFilter
from hub.registry.state import EndpointRecord, Registry
from hub.service.access.caller import Caller
from hub.service.handlers.paging import Pager
from llmhub.v1.registry_service_pb2 import (
    GetEndpointRequest,
    GetResourcesRequest,
    GetResourcesResponse,
    GetSnapshotRequest,
    ListEndpointsRequest,
    ListModelsRequest,
)


class RegistryHandlers:
    """Answers questions about the fleet from the registry, without waiting."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._snapshot = listings.SnapshotView(registry)
        self._pages = listings.PageCache(registry)

    def get_endpoint(self, request: GetEndpointRequest, _caller: Caller, _now_ms: int) -> bytes:
        """Raises EndpointNotFound."""
        record = self._registry.get(request.id)
        if record is None:
            raise EndpointNotFound(
                f"there is no endpoint {request.id}", metadata={"id": request.id}
            )
        return listings.get_endpoint(record)

    def list_endpoints(self, request: ListEndpointsRequest, _caller: Caller, _now_ms: int) -> bytes:
        """Raises InvalidPageToken."""
        return self._pages.encoded(request, lambda: self._page(request))

    def _page(self, request: ListEndpointsRequest) -> bytes:
        pager = Pager(request)
        matching = self._matching(request, pager.after)
        return listings.page_of_endpoints(*pager.cut(matching, attrgetter("message.id")))

    def list_models(self, request: ListModelsRequest, _caller: Caller, _now_ms: int) -> bytes:
        """Raises InvalidPageToken."""
        pager = Pager(request)
        names, token = pager.cut(self._registry.model_index.names(pager.after), str)
        return listings.page_of_models(self._registry, names, token)

    def get_resources(
        self, request: GetResourcesRequest, _caller: Caller, now_ms: int
    ) -> GetResourcesResponse:
        """Raises ResourcesNotFound."""
        self._registry.expire(now_ms)
        record = self._registry.resources.get(request.agent_id)
        if record is None:
            raise ResourcesNotFound(
                f"agent {request.agent_id} has not reported recently",
                metadata={"agent_id": request.agent_id},
            )
        account = self._registry.vram(request.agent_id).message
        return GetResourcesResponse(resources=record.message, vram=account)

    def get_snapshot(self, _request: GetSnapshotRequest, _caller: Caller, now_ms: int) -> bytes:
        """The whole fleet, encoded once per revision."""
        return self._snapshot.encoded(now_ms)

    def _matching(self, request: ListEndpointsRequest, after_id: str) -> Iterable[EndpointRecord]:
        if request.model:
            having = self._registry.with_model(request.model)
            candidates: Iterable[EndpointRecord] = (
                record for record in having if record.message.id > after_id
            )
        else:
            candidates = self._registry.endpoints(after_id)
        wanted = EndpointFilter.of("", request.backend, request.status, request.labels)
        if not wanted:
            return candidates
        return (record for record in candidates if wanted.matches(record.message))

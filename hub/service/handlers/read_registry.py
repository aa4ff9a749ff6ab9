"""Reads the fleet: RegistryService as messages, the HTTP API in the JSON dialect.

Both join replies from cached fragments.
"""

from collections.abc import Iterable
from operator import attrgetter

import orjson

from hub.contract.descriptors import descriptor_set
from hub.contract.dialect.encode import to_json_bytes
from hub.contract.dialect.schemas import schemas
from hub.contract.errors import EndpointNotFound, ResourcesNotFound
from hub.registry import listings
from hub.registry.filters import EndpointFilter
from hub.registry.following import EndpointRecord
from hub.registry.state import Registry
from hub.service.access.caller import Caller
from hub.service.handlers.paging import Pager
from hub.service.handlers.snapshot_pages import SnapshotPages
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.registry_service_pb2 import (
    GetEndpointRequest,
    GetResourcesRequest,
    GetResourcesResponse,
    GetSnapshotRequest,
    ListEndpointsRequest,
    ListModelsRequest,
)


class RegistryHandlers:
    """Answers requests about the fleet from the registry, without waiting."""

    def __init__(self, registry: Registry, *, page_cache_bytes: int = 16_777_216) -> None:
        self._registry = registry
        self._snapshot = listings.SnapshotView(registry)
        self._snapshot_pages = SnapshotPages(registry)
        self._pages = listings.PageCache(registry, max_bytes=page_cache_bytes)

    def get_endpoint(self, request: GetEndpointRequest, _caller: Caller, _now_ms: int) -> bytes:
        """Raises EndpointNotFound."""
        record = self._registry.get(self._registry.known_id(request.id))
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
        page = pager.cut(matching, attrgetter("message.id"), listings.endpoint_bytes)
        return listings.page_of_endpoints(*page)

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

    def get_snapshot(self, request: GetSnapshotRequest, _caller: Caller, now_ms: int) -> bytes:
        """The whole fleet, encoded once per revision, or a page of it. Raises InvalidPageToken."""
        if request.page_size or request.page_token:
            return self._snapshot_pages.encoded(request, now_ms)
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


_HTTP_BODIES = {
    "llm_registry.register": (
        RegisterEndpointRequest,
        "POST /api/admin/llm-registry: registers an endpoint",
    ),
}


class JsonHandlers:
    """Reads the fleet as JSON; encodes each endpoint once per change."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._endpoints = b'{"endpoints":[]}'
        self._endpoints_revision: int | None = None
        self._schemas = orjson.dumps(schemas(_HTTP_BODIES))
        self._snapshot_pages = SnapshotPages(registry)
        self._descriptors = descriptor_set()
        self._snapshot = b""
        self._snapshot_revision: int | None = None

    def get_schemas(self, _request: None, _caller: Caller, _now_ms: int) -> bytes:
        """Returns JSON schemas of all frames and of the HTTP API's request bodies."""
        return self._schemas

    def get_descriptors(self, _request: None, _caller: Caller, _now_ms: int) -> bytes:
        """Returns the contract as an encoded FileDescriptorSet."""
        return self._descriptors

    def get_endpoint_json(self, id_: str, _caller: Caller, _now_ms: int) -> bytes:
        """Returns one endpoint. Raises EndpointNotFound."""
        record = self._registry.get(self._registry.known_id(id_))
        if record is None:
            raise EndpointNotFound(f"there is no endpoint {id_}", metadata={"id": id_})
        return _encoded(record)

    def list_endpoints_json(
        self, request: ListEndpointsRequest | None, _caller: Caller, _now_ms: int
    ) -> bytes:
        """Returns `{"endpoints": [...]}`, sorted by id, or a page of it with `next_page_token`.

        Raises InvalidPageToken.
        """
        if request is None:
            return self._list_endpoints()
        pager = Pager(request)
        page, token = pager.cut(
            self._registry.endpoints(pager.after),
            attrgetter("message.id"),
            lambda record: len(_encoded(record)),
        )
        joined = b",".join(map(_encoded, page))
        return b'{"endpoints":[%b],"next_page_token":%b}' % (joined, orjson.dumps(token))

    def get_snapshot_json(
        self, request: GetSnapshotRequest | None, _caller: Caller, now_ms: int
    ) -> bytes:
        """Returns endpoints, resources and VRAM by agent_id, fleet_models and the revision.

        With a request, a page of that. Raises InvalidPageToken.
        """
        if request is not None:
            return self._snapshot_pages.json(request, now_ms)
        registry = self._registry
        registry.expire(now_ms)
        if self._snapshot_revision != registry.revision:
            self._snapshot = self._join_snapshot()
            self._snapshot_revision = registry.revision
        return self._snapshot

    def _list_endpoints(self) -> bytes:
        registry = self._registry
        if self._endpoints_revision != registry.endpoints_revision:
            records = registry.endpoints()
            joined = b",".join(_encoded(record) for record in records)
            # Kept whole: ten thousand endpoints are 20 MB, and a copy takes noticeable time.
            self._endpoints = b'{"endpoints":[%b]}' % joined
            self._endpoints_revision = registry.endpoints_revision
        return self._endpoints

    def _join_snapshot(self) -> bytes:
        registry = self._registry
        resources = b",".join(
            orjson.dumps(agent_id) + b":" + record.encoded(to_json_bytes)
            for agent_id, record in sorted(registry.resources.items())
        )
        vram = b",".join(
            orjson.dumps(record.message.agent_id) + b":" + record.encoded(to_json_bytes)
            for record in registry.vram_accounts()
        )
        rest = b',"resources":{%b},"fleet_models":%b,"vram":{%b},"revision":%d}' % (
            resources,
            orjson.dumps(registry.fleet_models()),
            vram,
            registry.revision,
        )
        return b"".join((memoryview(self._list_endpoints())[:-1], rest))


def _encoded(record: EndpointRecord) -> bytes:
    return record.encoded(to_json_bytes)

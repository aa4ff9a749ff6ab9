"""Reads a part of the fleet, for callers whose tokens are limited to it.

Each method answers as the one without the suffix, as if the rest of the fleet did not exist.
What is beyond the view and what does not exist get the same error. Only the memory of a host
is accounted as a whole, whatever runs on it.
"""

from collections.abc import Iterable
from operator import attrgetter

import orjson

from hub.contract.dialect.encode import to_json_bytes
from hub.registry import listings
from hub.registry.filters import EndpointFilter
from hub.registry.following import EndpointRecord
from hub.registry.state import Registry
from hub.registry.views import View, summaries
from hub.service.access.caller import Caller
from hub.service.handlers.paging import Pager
from hub.service.handlers.read_registry import JsonHandlers, RegistryHandlers
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.registry_service_pb2 import (
    GetEndpointRequest,
    GetResourcesRequest,
    GetResourcesResponse,
    GetSnapshotRequest,
    GetSnapshotResponse,
    ListEndpointsRequest,
    ListEndpointsResponse,
    ListModelAliasesRequest,
    ListModelAliasesResponse,
    ListModelsRequest,
    ListModelsResponse,
)
from llmhub.v1.resources_pb2 import Snapshot


class ViewHandlers:
    """Answers from the registry, without waiting; nothing is cached per view."""

    def __init__(self, registry: Registry, whole: RegistryHandlers, json: JsonHandlers) -> None:
        self._registry = registry
        self._whole = whole
        self._json = json

    def get_endpoint_in_view(
        self, request: GetEndpointRequest, caller: Caller, _now_ms: int
    ) -> bytes:
        """Raises ScopeForbidden."""
        return listings.endpoint_in_view(self._record(request.id, caller), caller.view)

    def list_endpoints_in_view(
        self, request: ListEndpointsRequest, caller: Caller, _now_ms: int
    ) -> bytes:
        """Raises InvalidPageToken."""
        pager, view = Pager(request), caller.view
        wanted = EndpointFilter.of(request.model, request.backend, request.status, request.labels)
        matching = (
            record
            for record in view.of(self._registry, pager.after)
            if wanted.matches(view.shown(record.message))
        )
        page, token = pager.cut(matching, attrgetter("message.id"))
        rest = ListEndpointsResponse(next_page_token=token, revision=self._registry.revision)
        fragments = [listings.endpoint_in_view(record, view) for record in page]
        return b"".join((*fragments, rest.SerializeToString()))

    def list_models_in_view(
        self, request: ListModelsRequest, caller: Caller, _now_ms: int
    ) -> ListModelsResponse:
        """Raises InvalidPageToken."""
        pager = Pager(request)
        models = summaries(self._endpoints(caller.view)).values()
        following = (model for model in models if model.name > pager.after)
        page, token = pager.cut(following, attrgetter("name"))
        return ListModelsResponse(
            models=page, next_page_token=token, revision=self._registry.revision
        )

    def get_resources_in_view(
        self, request: GetResourcesRequest, caller: Caller, now_ms: int
    ) -> GetResourcesResponse:
        """Raises ResourcesNotFound, ScopeForbidden."""
        if not caller.view.includes_host(self._registry, request.agent_id):
            raise caller.not_in_view(f"the host of {request.agent_id}")
        return self._whole.get_resources(request, caller, now_ms)

    def get_snapshot_in_view(
        self, _request: GetSnapshotRequest, caller: Caller, now_ms: int
    ) -> GetSnapshotResponse:
        """The part of the fleet that the caller may see."""
        registry, view = self._registry, caller.view
        registry.expire(now_ms)
        endpoints = [*self._endpoints(view)]
        hosts = self._hosts(endpoints)
        counts = {name: each.endpoint_count for name, each in summaries(endpoints).items()}
        snapshot = Snapshot(
            endpoints=endpoints,
            resources={
                agent_id: record.message
                for agent_id, record in registry.resources.items()
                if agent_id in hosts
            },
            fleet_models=counts,
            revision=registry.revision,
            vram={
                record.message.agent_id: record.message
                for record in registry.vram_accounts()
                if record.message.agent_id in hosts
            },
        )
        return GetSnapshotResponse(snapshot=snapshot)

    def list_model_aliases_in_view(
        self, request: ListModelAliasesRequest, caller: Caller, _now_ms: int
    ) -> ListModelAliasesResponse:
        """Raises InvalidPageToken."""
        pager = Pager(request)
        aliases = {
            name: record.message
            for name, record in self._registry.aliases.items()
            if name > pager.after and caller.view.includes_model(name)
        }
        page, token = pager.cut((aliases[name] for name in sorted(aliases)), attrgetter("name"))
        return ListModelAliasesResponse(
            aliases=page, next_page_token=token, revision=self._registry.revision
        )

    # The HTTP API.

    def get_schemas_in_view(self, request: None, caller: Caller, now_ms: int) -> bytes:
        """The schemas say nothing of the fleet."""
        return self._json.get_schemas(request, caller, now_ms)

    def get_descriptors_in_view(self, request: None, caller: Caller, now_ms: int) -> bytes:
        """The contract says nothing of the fleet."""
        return self._json.get_descriptors(request, caller, now_ms)

    def get_endpoint_json_in_view(self, id_: str, caller: Caller, _now_ms: int) -> bytes:
        """Raises ScopeForbidden."""
        return to_json_bytes(caller.view.shown(self._record(id_, caller).message))

    def list_endpoints_json_in_view(self, _request: None, caller: Caller, _now_ms: int) -> bytes:
        """Returns `{"endpoints": [...]}`, sorted by id."""
        return b'{"endpoints":[%b]}' % _joined(self._endpoints(caller.view))

    def get_snapshot_json_in_view(self, _request: None, caller: Caller, now_ms: int) -> bytes:
        """Returns endpoints, resources and VRAM by agent_id, fleet_models and the revision."""
        registry = self._registry
        registry.expire(now_ms)
        endpoints = [*self._endpoints(caller.view)]
        hosts = self._hosts(endpoints)
        resources = b",".join(
            orjson.dumps(agent_id) + b":" + record.encoded(to_json_bytes)
            for agent_id, record in sorted(registry.resources.items())
            if agent_id in hosts
        )
        vram = b",".join(
            orjson.dumps(record.message.agent_id) + b":" + record.encoded(to_json_bytes)
            for record in registry.vram_accounts()
            if record.message.agent_id in hosts
        )
        counts = {name: each.endpoint_count for name, each in summaries(endpoints).items()}
        return (
            b'{"endpoints":[%b],"resources":{%b},"fleet_models":%b,"vram":{%b},"revision":%d}'
            % (_joined(endpoints), resources, orjson.dumps(counts), vram, registry.revision)
        )

    def _record(self, id_: str, caller: Caller) -> EndpointRecord:
        record = self._registry.get(self._registry.known_id(id_))
        if record is None or not caller.view.includes(record.message):
            raise caller.not_in_view(f"the endpoint {id_}")
        return record

    def _endpoints(self, view: View) -> Iterable[Endpoint]:
        return (view.shown(record.message) for record in view.of(self._registry))

    @staticmethod
    def _hosts(endpoints: Iterable[Endpoint]) -> set[str]:
        return {endpoint.agent_id for endpoint in endpoints} - {""}


def _joined(endpoints: Iterable[Endpoint]) -> bytes:
    return b",".join(map(to_json_bytes, endpoints))

"""The registry's answers as encoded messages, assembled from cached fragments.

Protobuf encodings can be concatenated: the joined encodings of a message's fields are
the encoding of the message. So a listing joins the encodings that each endpoint caches,
and a listing of an unchanged fleet encodes nothing at all
(https://protobuf.dev/programming-guides/encoding/, "Last One Wins" and
"Repeated Elements").
"""

from collections.abc import Callable, Iterable

from google.protobuf.wrappers_pb2 import BytesValue

from hub.registry.following import EndpointRecord
from hub.registry.state import Registry
from hub.registry.views import View
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.registry_service_pb2 import (
    ListEndpointsRequest,
    ListEndpointsResponse,
    ListModelsResponse,
)
from llmhub.v1.resources_pb2 import HostResources, ModelSummary, Snapshot, VramAccount

# Endpoints are field 1 in GetEndpointResponse, ListEndpointsResponse and Snapshot, so one
# fragment serves all three. A snapshot is field 1 of its response. test_listings.py checks
# this against the contract.


def _endpoint_fragment(endpoint: Endpoint) -> bytes:
    return ListEndpointsResponse(endpoints=[endpoint]).SerializeToString()


def _resources_fragment(resources: HostResources) -> bytes:
    return Snapshot(resources={resources.agent_id: resources}).SerializeToString()


def _vram_fragment(account: VramAccount) -> bytes:
    return Snapshot(vram={account.agent_id: account}).SerializeToString()


def get_endpoint(record: EndpointRecord) -> bytes:
    """An encoded GetEndpointResponse."""
    return record.encoded(_endpoint_fragment)


def endpoint_in_view(record: EndpointRecord, view: View) -> bytes:
    """The same as the view shows the endpoint."""
    shown = view.shown(record.message)
    return get_endpoint(record) if shown is record.message else _endpoint_fragment(shown)


def endpoint_bytes(record: EndpointRecord) -> int:
    """What an endpoint takes in an encoded page."""
    return len(record.encoded(_endpoint_fragment))


def page_of_endpoints(records: Iterable[EndpointRecord], next_page_token: str) -> bytes:
    """An encoded ListEndpointsResponse without its revision."""
    fragments = [record.encoded(_endpoint_fragment) for record in records]
    fragments.append(ListEndpointsResponse(next_page_token=next_page_token).SerializeToString())
    return b"".join(fragments)


def _model_fragment(summary: ModelSummary) -> bytes:
    return ListModelsResponse(models=[summary]).SerializeToString()


def page_of_models(registry: Registry, names: Iterable[str], next_page_token: str) -> bytes:
    """An encoded ListModelsResponse with some of the fleet's models."""
    fragments = [registry.model_index.encoded(name, _model_fragment) for name in names]
    rest = ListModelsResponse(next_page_token=next_page_token, revision=registry.revision)
    return b"".join((*fragments, rest.SerializeToString()))


class PageCache:
    """Encoded pages by request, kept until any endpoint changes.

    Services ask for the same pages again and again. At most `capacity` pages of at most
    `max_bytes` together are kept; the oldest is evicted first.
    """

    def __init__(
        self, registry: Registry, capacity: int = 16, *, max_bytes: int = 16_777_216
    ) -> None:
        self._registry = registry
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._bytes = 0
        self._pages: dict[bytes, _Page] = {}
        self._endpoints_revision: int | None = None

    def encoded(self, request: ListEndpointsRequest, make: Callable[[], bytes]) -> bytes:
        """An encoded ListEndpointsResponse; `make` makes the page if it is not cached.

        Raises what `make` raises.
        """
        registry = self._registry
        if self._endpoints_revision != registry.endpoints_revision:
            self._pages.clear()
            self._bytes = 0
            self._endpoints_revision = registry.endpoints_revision
        key = request.SerializeToString(deterministic=True)
        page = self._pages.get(key)
        if page is None:
            page = _Page(make())
            self._bytes += page.size
            self._pages[key] = page
            while len(self._pages) > self._capacity or self._bytes > self._max_bytes:
                self._bytes -= self._pages.pop(next(iter(self._pages))).size
        return page.at(registry.revision)


class _Page:
    """An encoded page with the revision at which it was last returned.

    A page of a thousand endpoints is a megabyte, so only a new revision copies it.
    """

    __slots__ = ("_encoded", "_revision", "size")

    def __init__(self, endpoints: bytes) -> None:
        self._encoded = endpoints
        self.size = len(endpoints)
        self._revision: int | None = None

    def at(self, revision: int) -> bytes:
        if revision != self._revision:
            tail = ListEndpointsResponse(revision=revision).SerializeToString()
            self._encoded = b"".join((memoryview(self._encoded)[: self.size], tail))
            self._revision = revision
        return self._encoded


class SnapshotView:
    """The encoded GetSnapshotResponse, made once per revision.

    Endpoints take up nearly all of it. They are joined again only after one of them has
    changed, not after every resource report.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._revision: int | None = None
        self._encoded = b""
        self._endpoints_revision: int | None = None
        self._endpoints = b""

    def encoded(self, now_ms: int) -> bytes:
        """An encoded GetSnapshotResponse as of now."""
        registry = self._registry
        registry.expire(now_ms)
        if self._revision != registry.revision:
            self._encoded = self._encode()
            self._revision = registry.revision
        return self._encoded

    def _encode(self) -> bytes:
        registry = self._registry
        fragments = [self._of_endpoints()]
        fragments += [
            record.encoded(_resources_fragment) for _, record in registry.resources.items()
        ]
        fragments += [record.encoded(_vram_fragment) for record in registry.vram_accounts()]
        fragments.append(Snapshot(revision=registry.revision).SerializeToString())
        snapshot = b"".join(fragments)
        # A message field and a bytes field with the same number look the same on the wire.
        # The bytes are never empty, because a revision is never 0.
        return BytesValue(value=snapshot).SerializeToString()

    def _of_endpoints(self) -> bytes:
        registry = self._registry
        if self._endpoints_revision != registry.endpoints_revision:
            fragments = [record.encoded(_endpoint_fragment) for record in registry.endpoints()]
            fragments.append(Snapshot(fleet_models=registry.fleet_models()).SerializeToString())
            self._endpoints = b"".join(fragments)
            self._endpoints_revision = registry.endpoints_revision
        return self._endpoints

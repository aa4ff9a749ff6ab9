"""A watcher's copy of the fleet, built from the responses of WatchRegistry."""

from collections.abc import Iterable

from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.model_alias_pb2 import ModelAlias
from llmhub.v1.registry_service_pb2 import WatchRegistryResponse
from llmhub.v1.resources_pb2 import EVENT_TYPE_DELETE, EVENT_TYPE_PUT, HostResources, RegistryEvent

BOOKKEEPING = ("last_checked_at", "next_check_at", "latency", "load", "consecutive_failures")


class Copy:
    """Applies responses, and fails the test if they violate the protocol."""

    def __init__(self) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self.resources: dict[str, HostResources] = {}
        self.aliases: dict[str, ModelAlias] = {}
        self.revision = 0
        self.events: list[RegistryEvent] = []
        self.marks = 0

    def apply(self, response: WatchRegistryResponse) -> None:
        revisions = [event.revision for event in response.events]
        if self.revision:
            assert revisions == sorted(revisions)
            assert not revisions or revisions[0] > self.revision, "an event was sent twice"
            assert response.revision >= self.revision
        if response.revision:
            assert not revisions or revisions[-1] <= response.revision
            self.revision = response.revision
        self.marks += not response.events
        self.events.extend(response.events)
        for event in response.events:
            self._apply(event)

    def _apply(self, event: RegistryEvent) -> None:
        match event.WhichOneof("subject"):
            case "endpoint":
                known, key, value = self.endpoints, event.endpoint.id, event.endpoint
            case "resources":
                known, key, value = self.resources, event.resources.agent_id, event.resources
            case "model_alias":
                known, key, value = self.aliases, event.model_alias.name, event.model_alias
            case other:
                raise AssertionError(other)
        if event.type == EVENT_TYPE_PUT:
            known[key] = value
        else:
            assert event.type == EVENT_TYPE_DELETE
            known.pop(key, None)


def without_bookkeeping(endpoints: Iterable[Endpoint]) -> dict[str, Endpoint]:
    """Endpoints by id, without the fields that every probe changes."""
    bare = {}
    for endpoint in endpoints:
        bare[endpoint.id] = Endpoint()
        bare[endpoint.id].CopyFrom(endpoint)
        for field in BOOKKEEPING:
            bare[endpoint.id].ClearField(field)
    return bare

"""The part of the fleet that a caller may see, and its models counted within that part. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from hub.registry.filters import has_labels, tagged
from hub.registry.following import EndpointRecord
from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import MODEL_STATE_LOADED, STATUS_HEALTHY, Endpoint
from llmhub.v1.resources_pb2 import ModelSummary


@dataclass(frozen=True, slots=True)
class View:
    """The endpoints that have all the labels and one of the models; empty: all endpoints.

    Of an endpoint that it includes, it shows only the models that it includes.
    """

    labels: frozenset[tuple[str, str]] = frozenset()
    models: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.labels or self.models)

    def includes(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint is in the view."""
        return has_labels(endpoint, self.labels) and (
            not self.models or any(self.includes_model(model.name) for model in endpoint.models)
        )

    def includes_model(self, name: str) -> bool:
        """Whether a model or an alias of that name is in the view."""
        # As `names_model` in both directions, at the cost of three look-ups.
        return (
            not self.models
            or name in self.models
            or tagged(name) in self.models
            or name.removesuffix(":latest") in self.models
        )

    def shown(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint without the models beyond the view; the same object if it has none."""
        if all(
            self.includes_model(name)
            for name in chain(
                (model.name for model in endpoint.models),
                (each.model for each in endpoint.outcomes),
            )
        ):
            return endpoint
        shown = Endpoint()
        shown.CopyFrom(endpoint)
        del shown.models[:]
        shown.models.extend(model for model in endpoint.models if self.includes_model(model.name))
        del shown.outcomes[:]
        shown.outcomes.extend(each for each in endpoint.outcomes if self.includes_model(each.model))
        return shown

    def includes_host(self, registry: Registry, agent_id: str) -> bool:
        """Whether one of the host's endpoints is in the view."""
        return any(
            (record := registry.get(id_)) is not None and self.includes(record.message)
            for id_ in registry.of_agent(agent_id)
        )

    def of(self, registry: Registry, after_id: str = "") -> Iterator[EndpointRecord]:
        """The endpoints of the view, sorted by id. Only valid until the next change."""
        return (record for record in registry.endpoints(after_id) if self.includes(record.message))


def summaries(endpoints: Iterable[Endpoint]) -> dict[str, ModelSummary]:
    """The models of these endpoints by name, sorted; several addresses of a server count once."""
    counted: dict[str, tuple[ModelSummary, set[str], set[str], set[str]]] = {}
    for endpoint in endpoints:
        server = endpoint.same_server_as or endpoint.id
        for model in endpoint.models:
            if model.name not in counted:
                counted[model.name] = (ModelSummary(name=model.name), set(), set(), set())
            summary, servers, loaded, healthy = counted[model.name]
            if summary.endpoint_ids[-1:] != [endpoint.id]:
                summary.endpoint_ids.append(endpoint.id)
            servers.add(server)
            if model.state == MODEL_STATE_LOADED:
                loaded.add(server)
            if endpoint.status == STATUS_HEALTHY:
                healthy.add(server)
    found = {}
    for name, (summary, servers, loaded, healthy) in sorted(counted.items()):
        summary.endpoint_count = len(servers)
        summary.loaded_count = len(loaded)
        summary.healthy_count = len(healthy)
        found[name] = summary
    return found

"""Filters that decide which endpoints a listing or a watch includes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmhub.v1.endpoint_pb2 import STATUS_HEALTHY, Backend, Endpoint, Status


@dataclass(frozen=True, slots=True)
class EndpointFilter:
    """The requirements on an endpoint; an empty or unspecified field requires nothing.

    `labels` are (key, value) pairs; the endpoint must have all of them.
    """

    model: str = ""
    backend: Backend = Backend.BACKEND_UNSPECIFIED
    status: Status = Status.STATUS_UNSPECIFIED
    labels: frozenset[tuple[str, str]] = field(default=frozenset())

    @classmethod
    def of(
        cls, model: str, backend: Backend, status: Status, labels: Mapping[str, str]
    ) -> "EndpointFilter":
        """The filter for the fields of a request."""
        return cls(model, backend, status, frozenset(labels.items()))

    def __bool__(self) -> bool:
        return bool(self.model or self.backend or self.status or self.labels)

    def matches(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint passes the filter."""
        return (
            (not self.backend or endpoint.backend == self.backend)
            and (not self.status or endpoint.status == self.status)
            and (not self.labels or has_labels(endpoint, self.labels))
            and (
                not self.model
                or any(names_model(self.model, model.name) for model in endpoint.models)
            )
        )


def has_labels(endpoint: Endpoint, labels: frozenset[tuple[str, str]]) -> bool:
    """Whether the endpoint has all these labels."""
    if not labels:
        return True
    own = endpoint.labels
    # A plain loop: a listing calls this for every endpoint. Unlike a subscript, `get`
    # adds no key to a protobuf map.
    for key, value in labels:  # noqa: SIM110
        if own.get(key) != value:
            return False
    return True


def answers(endpoint: Endpoint) -> bool:
    """Whether the endpoint is healthy and its last probe succeeded.

    What any other endpoint had in memory when it last answered is no fact about now.
    """
    return endpoint.status == STATUS_HEALTHY and not endpoint.last_error


def tagged(name: str) -> str:
    """The full name of a model that is named without a tag, as in Ollama; "" if it has a tag."""
    # The colon before a port, as in "registry.lan:5000/model", does not begin a tag.
    return f"{name}:latest" if name and ":" not in name.rpartition("/")[2] else ""


def names_model(name: str, model: str) -> bool:
    """Whether a name means a model: the model's own name, or that name without `:latest`."""
    return name == model or (model.endswith(":latest") and tagged(name) == model)

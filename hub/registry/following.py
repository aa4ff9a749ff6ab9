"""What parts that follow the registry see of it: records, events, the time."""

from dataclasses import dataclass
from typing import Protocol

from hub.registry.history.versioned import Versioned
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.model_alias_pb2 import ModelAlias

EndpointRecord = Versioned[Endpoint]
AliasRecord = Versioned[ModelAlias]


@dataclass(frozen=True, slots=True)
class EndpointEvent:
    """One change of an endpoint; `before` is None if it is new, `after` if it is removed."""

    revision: int
    id: str
    before: EndpointRecord | None
    after: EndpointRecord | None


class Companion(Protocol):
    """What keeps facts about the registry's endpoints beside their records."""

    def next_deadline_ms(self) -> int | None:
        """When it next changes something by itself, or None."""
        ...

    def expire(self, now_ms: int) -> None:
        """Changes what changes by itself until now."""
        ...

    def forget(self, endpoint_id: str) -> None:
        """Forgets an endpoint that was removed or is now a different server."""
        ...

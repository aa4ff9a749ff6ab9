"""What a hub says of itself, over GetServerInfo and on its dashboard."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hub.base.clock import Clock
from hub.base.timestamps import to_timestamp
from hub.base.version import hub_version
from hub.server import self_preservation
from hub.server.fleet import Fleet
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse


@dataclass
class ServerInfo:
    """Describes a hub that started at `started_ms`.

    `addresses` maps "ws", "grpc" and "http" to where the hub listens.
    """

    fleet: Fleet
    clock: Clock
    store: str
    started_ms: int
    addresses: Mapping[str, str] = field(default_factory=dict)

    def get(self) -> GetServerInfoResponse:
        """Returns version, counts and addresses as of now."""
        registry = self.fleet.registry
        return GetServerInfoResponse(
            version=hub_version(),
            started_at=to_timestamp(self.started_ms),
            first_revision=registry.first_revision,
            revision=registry.revision,
            endpoint_count=len(registry),
            healthy_count=registry.healthy_count,
            sidecar_count=len(self.fleet.presence),
            store=self.store,
            ws_address=self.addresses.get("ws", ""),
            grpc_address=self.addresses.get("grpc", ""),
            http_address=self.addresses.get("http", ""),
            self_preservation=self_preservation.self_preservation(registry, self.clock.now_ms()),
        )

"""How a hub describes itself: in GetServerInfo, on its dashboard, and in the banner of `serve`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hub.base.clock import Clock
from hub.base.timestamps import to_timestamp
from hub.base.version import hub_version
from hub.server.fleet import Fleet, self_preservation
from hub.service.overload.shedding import Overload
from llmhub.v1.admin_service_pb2 import (
    GetServerInfoResponse,
    OverloadLevel,
    OverloadState,
)


@dataclass
class ServerInfo:
    """Describes a hub that started at `started_ms`.

    `addresses` maps "ws", "grpc" and "http" to where the hub listens.
    """

    fleet: Fleet
    clock: Clock
    store: str
    started_ms: int
    overload: Overload = field(default_factory=Overload)
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
            self_preservation=self_preservation(registry, self.clock.now_ms()),
            overload=_overload_state(self.overload),
        )


def _overload_state(overload: Overload) -> OverloadState:
    pressure = overload.pressure
    state = OverloadState(
        level=OverloadLevel.Name(overload.level),
        cause=pressure.cause if overload.level else "",
        pressure=pressure.by_resource,
        shed_count=overload.shed.total(),
    )
    if pressure.since_ms is not None:
        state.since.CopyFrom(to_timestamp(pressure.since_ms))
    return state

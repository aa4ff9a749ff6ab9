"""The contract as data, read from the descriptors: every RPC with its role and tier, every frame.

The transports build their dispatch from these tables, so an RPC or a frame that is added
to the .proto files is served, authorized and documented without further code.
"""

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from llmhub.v1 import (
    admin_service_pb2,
    frame_pb2,
    registry_service_pb2,
    resources_pb2,
    sidecar_service_pb2,
)


class Tier(IntEnum):
    """How much a call costs the hub."""

    LIGHT = 0
    NORMAL = 1
    HEAVY = 2

    @property
    def wire_name(self) -> str:
        """The name in the JSON dialect, such as "light"."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, eq=False)
class Rpc:
    """One RPC: its path, its messages and who may call it.

    `path` is its HTTP/2 path, such as "/llmhub.v1.SidecarService/Ping". `handler` is the
    name of the method that carries it out ("get_endpoint"). `role` is the lowest role
    that may call it. `streams` says whether either side streams.
    """

    service: str
    name: str
    path: str
    handler: str
    request: type[Message]
    response: type[Message]
    client_streaming: bool
    server_streaming: bool
    streams: bool
    role: resources_pb2.Role
    tier: Tier


SERVICES: Final[tuple[ServiceDescriptor, ...]] = (
    registry_service_pb2.DESCRIPTOR.services_by_name["RegistryService"],
    admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"],
    sidecar_service_pb2.DESCRIPTOR.services_by_name["SidecarService"],
)

_ROLES: Final = {
    "llmhub.v1.RegistryService": resources_pb2.ROLE_READER,
    "llmhub.v1.AdminService": resources_pb2.ROLE_ADMIN,
    "llmhub.v1.SidecarService": resources_pb2.ROLE_SIDECAR,
}

# A registration costs an fsync and a probe, so it is expensive for every role.
_HEAVY: Final = {
    *("Identify", "ReportOllama", "RegisterEndpoint", "CreateToken"),
    # These move gigabytes on the endpoint's host.
    *("LoadModel", "UnloadModel"),
}
_LIGHT: Final = {"Ping"}


def _tier(name: str) -> Tier:
    if name in _HEAVY:
        return Tier.HEAVY
    return Tier.LIGHT if name in _LIGHT else Tier.NORMAL


def _rpc(method: MethodDescriptor) -> Rpc:
    service = method.containing_service.full_name
    return Rpc(
        service=service,
        name=method.name,
        path=f"/{service}/{method.name}",
        handler=re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower(),
        request=GetMessageClass(method.input_type),
        response=GetMessageClass(method.output_type),
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
        streams=method.client_streaming or method.server_streaming,
        role=_ROLES[service],
        tier=_tier(method.name),
    )


RPCS: Final[tuple[Rpc, ...]] = tuple(
    _rpc(method) for service in SERVICES for method in service.methods
)
"""Every RPC of the contract."""

_BY_NAME: Final = {rpc.name: rpc for rpc in RPCS}


def rpc(name: str) -> Rpc:
    """The RPC of that name; names are unique across services. Raises KeyError."""
    return _BY_NAME[name]


@dataclass(frozen=True, slots=True, eq=False)
class FrameKind:
    """One kind of sidecar frame.

    `type` is the JSON "type" and the oneof field's name. `rpc` is the RPC whose request
    is the payload. `reply` is the `HubFrame` member that carries the RPC's response, or
    None if the frame is not answered.
    """

    type: str
    rpc: Rpc
    reply: str | None


def _frame_kinds() -> dict[str, FrameKind]:
    by_request = {rpc.request.DESCRIPTOR: rpc for rpc in RPCS}
    replies = {
        field.message_type: field.name
        for field in frame_pb2.HubFrame.DESCRIPTOR.oneofs_by_name["frame"].fields
    }
    kinds = {}
    for field in frame_pb2.SidecarFrame.DESCRIPTOR.oneofs_by_name["frame"].fields:
        assert field.message_type is not None
        call = by_request[field.message_type]
        kinds[field.name] = FrameKind(field.name, call, replies.get(call.response.DESCRIPTOR))
    return kinds


FRAMES: Final[dict[str, FrameKind]] = _frame_kinds()
"""Every kind of sidecar frame, by its type."""

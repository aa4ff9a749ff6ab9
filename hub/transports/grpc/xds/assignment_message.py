"""The set of endpoints as Envoy's ClusterLoadAssignment, in the binary form of protobuf."""

from typing import Final

from google.protobuf.struct_pb2 import Struct

from hub.service.handlers.discover_endpoints import EndpointSet, SetMember
from llmhub.gateway.v1 import discovery_pb2 as pb


def assignment(name: str, found: EndpointSet) -> pb.ClusterLoadAssignment:
    """The set as the cluster of that name; `envoy_resources.load_assignment` is its JSON."""
    message = pb.ClusterLoadAssignment(cluster_name=name)
    if found.members:
        message.endpoints.add().lb_endpoints.extend(map(_member, found.members))
    return message


def _member(member: SetMember) -> pb.LbEndpoint:
    shown = pb.LbEndpoint(health_status=_HEALTH[member.health])
    endpoint = shown.endpoint
    endpoint.hostname = member.host
    endpoint.address.socket_address.address = member.address
    endpoint.address.socket_address.port_value = member.port
    if member.uses_tls:
        shown.metadata.filter_metadata["envoy.transport_socket_match"].CopyFrom(_TLS)
    return shown


def _tls() -> Struct:
    match = Struct()
    match.update({"tls": True})
    return match


_TLS: Final = _tls()
_HEALTH: Final = {
    "UNKNOWN": pb.HEALTH_STATUS_UNSPECIFIED,
    "HEALTHY": pb.HEALTH_STATUS_HEALTHY,
    "UNHEALTHY": pb.HEALTH_STATUS_UNHEALTHY,
    "DRAINING": pb.HEALTH_STATUS_DRAINING,
}

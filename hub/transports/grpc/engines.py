"""The gRPC server that the settings choose, with what it serves to gateways."""

from hub.base.settings import Settings
from hub.transports.context import TransportContext
from hub.transports.grpc.gateway_methods import NO_METHODS, GatewayMethods
from hub.transports.grpc.grpc_server import GrpcServer
from hub.transports.grpc.native_grpc_server import NativeGrpcServer
from hub.transports.grpc.picker.process_method import Picker
from hub.transports.grpc.xds.discovery_methods import DiscoveryMethods
from hub.transports.session.sidecar_session import SessionContext


def grpc_server(
    settings: Settings, context: TransportContext, sessions: SessionContext
) -> NativeGrpcServer | GrpcServer:
    """The server, which does not listen yet. `sessions` is shared by all sidecars' sessions."""
    engine = NativeGrpcServer if settings.grpc.engine == "native" else GrpcServer
    return engine(settings.grpc, context, sessions, for_gateways(settings, context))


def for_gateways(settings: Settings, context: TransportContext) -> GatewayMethods:
    """What gateways may call: nothing, unless the settings say so."""
    if not settings.gateway.enabled:
        return NO_METHODS
    return Picker(settings.gateway, context).methods() | DiscoveryMethods(context).methods()

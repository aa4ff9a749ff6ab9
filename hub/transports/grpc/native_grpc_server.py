"""The gRPC transport on the hub's own HTTP/2 server (`grpc.engine = "native"`)."""

from typing import Final

from hub.base.settings import GrpcSettings
from hub.contract.rpcs import SERVICES
from hub.transports.context import TransportContext
from hub.transports.grpc import slots
from hub.transports.grpc.health_service import SERVICE_NAME, Health
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.native_server import NativeServer
from hub.transports.grpc.native_messages import refusing
from hub.transports.grpc.native_rpcs import RpcMethods
from hub.transports.grpc.native_services import health_methods, reflection_methods
from hub.transports.session.sidecar_session import SessionContext

_SERVICE_NAMES: Final = tuple(service.full_name for service in SERVICES)


class NativeGrpcServer:
    """Serves the three services, health and reflection."""

    def __init__(
        self, settings: GrpcSettings, context: TransportContext, sessions: SessionContext
    ) -> None:
        """`sessions` is the shared context of SidecarService.Connect's sessions."""
        self._grace_s = context.grace_s
        self._open = slots.open_to_all(context.calls.refusals)
        self._rpcs = RpcMethods(context, sessions, slots.unidentified(context.calls.refusals))
        self._health = Health(_SERVICE_NAMES, context.readiness.why_not_ready)
        described = (*_SERVICE_NAMES, SERVICE_NAME)
        self._server = NativeServer(
            {
                **self._rpcs.methods(),
                **health_methods(self._health, self._open, self._rpcs.address),
                **reflection_methods(described, self._open, self._rpcs.address, context.overload),
            },
            Limits(
                message_bytes=settings.max_message_bytes,
                calls_in_all=settings.max_concurrent_rpcs,
                connections=settings.max_connections,
                strangers=max(1, settings.max_connections // 2),
                handshakes=max(1, min(1_024, settings.max_connections // 4)),
            ),
            tls=context.tls.http2_context if context.tls is not None else None,
            trusted_proxies=context.trusted_proxies,
            exhausted=refusing(context.calls.refusals),
        )

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises OSError."""
        return await self._server.start(host, port)

    async def stop(self) -> None:
        """Stops accepting, closes sidecars' streams, and gives other calls a few seconds."""
        self._rpcs.close_sidecars()
        self._health.stop()
        await self._server.stop(self._grace_s)

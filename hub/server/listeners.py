"""The transports of one hub: opened together, stopped together."""

import asyncio
from collections.abc import Callable

from hub.base.settings import Settings
from hub.server.fleet import Fleet
from hub.service.metrics.counts import Traffic
from hub.transports.context import TransportContext
from hub.transports.grpc.grpc_server import GrpcServer
from hub.transports.grpc.native_grpc_server import NativeGrpcServer
from hub.transports.http.authentication import HttpCalls, HttpCredentials
from hub.transports.http.dashboard.routes import Dashboard
from hub.transports.http.http_server import HttpServer
from hub.transports.listening import listen
from hub.transports.session.misbehaviour import Cooldowns
from hub.transports.session.sidecar_session import SessionContext
from hub.transports.websocket import WebSocketServer
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse


class Listeners:
    """WebSocket, gRPC and HTTP servers, with the dashboard."""

    def __init__(
        self,
        settings: Settings,
        context: TransportContext,
        fleet: Fleet,
        traffic: Traffic,
        server_info: Callable[[], GetServerInfoResponse],
    ) -> None:
        self._settings = settings
        self.dispatcher = context.dispatcher
        sessions = SessionContext(
            context.dispatcher,
            fleet.presence,
            Cooldowns(),
            traffic,
            settings.ws.identify_timeout_s,
        )
        credentials = HttpCredentials(settings.ws.trusted_proxies)
        calls = HttpCalls(context.dispatcher, credentials, context.clock)
        self.dashboard = Dashboard(calls, fleet.registry, fleet.presence, server_info)
        self._websocket = WebSocketServer(settings.ws, context, sessions)
        engine = NativeGrpcServer if settings.grpc.engine == "native" else GrpcServer
        self._grpc = engine(settings.grpc, context, sessions)
        self._http = HttpServer(settings.http, context, calls, self.dashboard)
        self.addresses = {"ws": "", "grpc": "", "http": ""}

    async def start(self) -> None:
        """Listens everywhere. Raises StartError."""
        for name, server, listener in (
            ("ws", self._websocket, self._settings.ws),
            ("grpc", self._grpc, self._settings.grpc),
            ("http", self._http, self._settings.http),
        ):
            self.addresses[name] = await listen(name, server, listener.host, listener.port)

    def close_token(self, token_id: str) -> None:
        """Ends the streams and dashboards that were opened with a token that is gone."""
        self.dispatcher.close_token(token_id)
        self.dashboard.recheck()

    async def stop(self) -> None:
        """Stops accepting, and gives what is in flight a few seconds to end."""
        await asyncio.gather(self._websocket.stop(), self._grpc.stop(), self._http.stop())

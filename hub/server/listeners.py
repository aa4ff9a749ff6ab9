"""The transports of one hub: opened together, stopped together, each at its address."""

import asyncio
import errno
import os
from collections.abc import Callable
from typing import Protocol

from hub.base.address import join_host_port
from hub.base.load_settings import StartError
from hub.base.settings import Settings
from hub.server.fleet import Fleet
from hub.service.metrics.counts import Traffic
from hub.transports.context import TransportContext
from hub.transports.grpc.engines import grpc_server
from hub.transports.http.authentication import HttpCalls, HttpCredentials
from hub.transports.http.dashboard.routes import Dashboard
from hub.transports.http.http_server import HttpServer
from hub.transports.http.in_flight import BodiesInFlight
from hub.transports.session.misbehaviour import Cooldowns
from hub.transports.session.sidecar_session import SessionContext
from hub.transports.websocket.websocket_server import WebSocketServer
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse


class Server(Protocol):
    """Listens at an address of its own."""

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises OSError."""
        ...


async def listen(name: str, server: Server, host: str, port: int) -> str:
    """Makes a server listen; returns its address, with the chosen port instead of 0.

    `name` is the option that changes the address. Raises StartError.
    """
    try:
        bound = await server.start(host, port)
    except OSError as error:
        why = _why(error)
        if error.errno == errno.EADDRINUSE:
            free = join_host_port(host, 0)
            why += (
                "; stop what listens there, or choose another port: "
                f"--{name} {free} picks a free one"
            )
        address = join_host_port(host, port)
        raise StartError(f"{name}: cannot listen on {address}: {why}") from error
    return join_host_port(host, bound)


def _why(error: OSError) -> str:
    """The system's message, because asyncio's own repeats the address."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


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
        credentials = HttpCredentials(settings.ws.trusted_proxies, context.tls)
        bodies = BodiesInFlight(
            per_token=settings.http.max_bytes_in_flight_per_token,
            in_all=settings.http.max_bytes_in_flight,
            refusals=traffic.refusals,
        )
        calls = HttpCalls(context.dispatcher, credentials, context.clock, bodies)
        self.dashboard = Dashboard(
            calls, fleet.registry, fleet.presence, server_info, context.overload.why
        )
        context.overload.on_change(lambda _: self.dashboard.recheck())
        self._websocket = WebSocketServer(settings.ws, context, sessions)
        self._grpc = grpc_server(settings, context, sessions)
        self._http = HttpServer(settings.http, context, calls, self.dashboard)
        self.addresses = {"ws": "", "grpc": "", "http": ""}

    async def start(self) -> None:
        """Starts all servers. Raises StartError."""
        for name, server, listener in (
            ("ws", self._websocket, self._settings.ws),
            ("grpc", self._grpc, self._settings.grpc),
            ("http", self._http, self._settings.http),
        ):
            self.addresses[name] = await listen(name, server, listener.host, listener.port)

    def close_token(self, token_id: str) -> None:
        """Ends the streams and dashboards that were opened with a revoked or expired token."""
        self.dispatcher.close_token(token_id)
        self.dashboard.recheck()

    def close_revoked(self) -> None:
        """Ends the streams and dashboards whose client certificate is revoked."""
        self.dispatcher.close_revoked()
        self.dashboard.recheck()

    async def stop(self) -> None:
        """Stops accepting, and gives requests in flight a few seconds to end."""
        await asyncio.gather(self._websocket.stop(), self._grpc.stop(), self._http.stop())

"""The dashboard's part of the HTTP transport: its files, its sessions and its stream."""

from collections.abc import Callable

from aiohttp import web

from hub.base.timestamps import to_ms
from hub.registry.state import Registry
from hub.service.presence import Presence
from hub.transports.http.authentication import HttpCalls
from hub.transports.http.dashboard.event_stream import DashboardStream
from hub.transports.http.dashboard.files import StaticFiles
from hub.transports.http.dashboard.sign_in import SessionRoutes
from hub.transports.http.dashboard.updates import LiveUpdates
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse


class Dashboard:
    """What a person sees at "/"; it follows the registry from `start` to `stop`."""

    def __init__(
        self,
        calls: HttpCalls,
        registry: Registry,
        presence: Presence,
        server_info: Callable[[], GetServerInfoResponse],
    ) -> None:
        self._server_info = server_info
        self._static = StaticFiles()
        self._updates = LiveUpdates(registry, presence, calls.clock)
        self._sessions = SessionRoutes(calls)
        self._stream = DashboardStream(self._updates, calls, self._about)

    @property
    def followers(self) -> int:
        """How many dashboards are open."""
        return self._updates.followers

    def start(self) -> None:
        """Begins to follow the registry."""
        self._updates.start()

    def stop(self) -> None:
        """Ends every stream."""
        self._updates.stop()

    def recheck(self) -> None:
        """Makes every stream check its caller again: a token was revoked."""
        self._updates.wake()

    def routes(self) -> list[web.RouteDef]:
        """Its routes."""
        session = "/api/dashboard/session"
        return [
            *self._static.routes(),
            web.post(session, self._sessions.sign_in),
            web.get(session, self._sessions.show),
            web.delete(session, self._sessions.sign_out),
            web.get("/api/dashboard/stream", self._stream.get, allow_head=False),
        ]

    def _about(self) -> dict[str, object]:
        info = self._server_info()
        return {
            "build": self._static.build,
            "version": info.version,
            "started_at": to_ms(info.started_at),
            "ws_address": info.ws_address,
            "grpc_address": info.grpc_address,
        }

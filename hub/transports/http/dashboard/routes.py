"""The dashboard's routes: its files, signing in and out, and its event stream."""

from collections.abc import Callable
from typing import Final

import orjson
from aiohttp import web

from hub.base.bounds import SIGN_IN_BODY_BYTES
from hub.contract.dialect.names import enum_word
from hub.contract.errors import FieldViolation, InvalidToken, ValidationFailed
from hub.registry.state import Registry
from hub.service.access.access_control import BearerToken
from hub.service.access.caller import Principal
from hub.service.dispatcher import Received
from hub.service.handlers.browser_sign_in import OpenedSession
from hub.service.operations import CLOSE_BROWSER_SESSION, OPEN_BROWSER_SESSION, SHOW_CALLER
from hub.service.presence import Presence
from hub.transports.http.authentication import HttpCalls, json_body, require_own_page
from hub.transports.http.dashboard.event_stream import DashboardStream
from hub.transports.http.dashboard.files import StaticFiles
from hub.transports.http.dashboard.updates import LiveUpdates
from hub.transports.http.responses import json_response
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse
from llmhub.v1.resources_pb2 import Role

_SESSION: Final = "/api/dashboard/session"
_SIGNED_OUT: Final = b'{"role":null,"token_id":null}'


class SessionRoutes:
    """Opens, shows and ends the session of a browser."""

    def __init__(self, calls: HttpCalls) -> None:
        self._calls = calls

    async def sign_in(self, request: web.Request) -> web.Response:
        """Takes `{"token"}`; sets the cookie. Raises InvalidToken, RoleForbidden."""
        require_own_page(request)
        # Anyone may send one, so it is short.
        token = (await json_body(request, SIGN_IN_BODY_BYTES)).get("token")
        if not isinstance(token, str):
            raise ValidationFailed([FieldViolation("token", "required", "is required")])
        credentials = self._calls.credentials
        certificate = credentials.certificate(request)
        bearer = BearerToken(token.strip(), credentials.address(request), "http", certificate)
        now_ms = self._calls.clock.now_ms()
        opened: OpenedSession = await self._calls.call(
            request, OPEN_BROWSER_SESSION, credentials=bearer
        )
        response = _shown(opened.principal)
        response.set_cookie(
            credentials.cookie,
            opened.session_id,
            max_age=(opened.expires_at_ms - now_ms) // 1000,
            path="/",
            httponly=True,
            samesite="Strict",
            secure=credentials.is_secure(request),
        )
        return response

    async def show(self, request: web.Request) -> web.Response:
        """Shows the caller; `role` and `token_id` are null without a valid session."""
        try:
            return _shown(await self._calls.call(request, SHOW_CALLER))
        except InvalidToken:
            return json_response(_SIGNED_OUT)

    async def sign_out(self, request: web.Request) -> web.Response:
        """Ends the session if there is one, even if its token is no longer valid."""
        require_own_page(request)
        credentials = self._calls.credentials
        session_id = credentials.session_id(request) or ""
        await self._calls.call(
            request,
            CLOSE_BROWSER_SESSION,
            lambda: Received(session_id),
            credentials=credentials.anonymous(request),
        )
        response = json_response(b'{"status":"signed_out"}')
        response.del_cookie(credentials.cookie, path="/", httponly=True, samesite="Strict")
        return response


def _shown(principal: Principal) -> web.Response:
    role = enum_word(Role.DESCRIPTOR, principal.shown_role)
    return json_response(orjson.dumps({"role": role, "token_id": principal.token_id}))


class Dashboard:
    """The dashboard at "/"; it follows the registry from `start` to `stop`."""

    def __init__(
        self,
        calls: HttpCalls,
        registry: Registry,
        presence: Presence,
        server_info: Callable[[], GetServerInfoResponse],
        why_overloaded: Callable[[], str | None],
    ) -> None:
        self._server_info = server_info
        self._static = StaticFiles()
        self._updates = LiveUpdates(registry, presence, calls.clock)
        self._sessions = SessionRoutes(calls)
        self._stream = DashboardStream(self._updates, calls, self._about, why_overloaded)

    @property
    def followers(self) -> int:
        """How many dashboards are open."""
        return self._updates.followers

    def is_for_signing_in(self, path: str) -> bool:
        """Whether a browser that is not signed in needs that path in order to sign in."""
        return path in ("/", _SESSION) or path.startswith("/dashboard/")

    def start(self) -> None:
        """Begins to follow the registry."""
        self._updates.start()

    def stop(self) -> None:
        """Ends every stream."""
        self._updates.stop()

    def recheck(self) -> None:
        """Makes every stream check its caller again, after a token was revoked."""
        self._updates.wake()

    def routes(self) -> list[web.RouteDef]:
        """The dashboard's routes."""
        return [
            *self._static.routes(),
            web.post(_SESSION, self._sessions.sign_in),
            web.get(_SESSION, self._sessions.show),
            web.delete(_SESSION, self._sessions.sign_out),
            web.get("/api/dashboard/stream", self._stream.get, allow_head=False),
        ]

    def _about(self) -> dict[str, object]:
        info = self._server_info()
        return {
            "build": self._static.build,
            "version": info.version,
            "started_at": info.started_at.ToMilliseconds(),
            "ws_address": info.ws_address,
            "grpc_address": info.grpc_address,
        }

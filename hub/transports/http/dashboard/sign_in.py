"""Signing in and out of the dashboard: a token for a cookie, and back."""

from typing import Final

import orjson
from aiohttp import web

from hub.contract.dialect.names import enum_word
from hub.contract.errors import FieldViolation, InvalidToken, ValidationFailed
from hub.service.access.caller import Principal
from hub.service.access.credentials import BearerToken
from hub.service.dispatcher import Received
from hub.service.handlers.browser_sign_in import OpenedSession
from hub.service.operations import CLOSE_BROWSER_SESSION, OPEN_BROWSER_SESSION, SHOW_CALLER
from hub.transports.http.authentication import HttpCalls, require_own_page
from hub.transports.http.bodies import json_body
from hub.transports.http.responses import json_response
from llmhub.v1.resources_pb2 import Role

_SIGNED_OUT: Final = b'{"role":null,"token_id":null}'


class SessionRoutes:
    """Opens, shows and ends the session of a browser."""

    def __init__(self, calls: HttpCalls) -> None:
        self._calls = calls

    async def sign_in(self, request: web.Request) -> web.Response:
        """Takes `{"token"}`; sets the cookie. Raises InvalidToken, RoleForbidden."""
        require_own_page(request)
        token = (await json_body(request)).get("token")
        if not isinstance(token, str):
            raise ValidationFailed([FieldViolation("token", "required", "is required")])
        credentials = self._calls.credentials
        bearer = BearerToken(token.strip(), credentials.address(request), "http")
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
        """Says who calls; `role` and `token_id` are null if no one is signed in."""
        try:
            return _shown(await self._calls.call(request, SHOW_CALLER))
        except InvalidToken:
            return json_response(_SIGNED_OUT)

    async def sign_out(self, request: web.Request) -> web.Response:
        """Ends the session if there is one, also one whose token is gone."""
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
    role = enum_word(Role.DESCRIPTOR, principal.role)
    return json_response(orjson.dumps({"role": role, "token_id": principal.token_id}))

"""Signing in and out of the dashboard: a token for a cookie, and back."""

from collections.abc import Sequence
from typing import Final

import orjson
from aiohttp import web

from hub.base.clock import Clock
from hub.contract.dialect.names import enum_word
from hub.contract.errors import FieldViolation, InvalidToken, StoreUnavailable, ValidationFailed
from hub.contract.rpcs import rpc
from hub.service.access.browser_sessions import SessionRegistry
from hub.service.access.principal import Principal
from hub.service.dispatcher import Caller, Service
from hub.stores.store import Delete, Operation, Store, StoreError
from hub.transports.http.authentication import Authenticator, require_own_page
from hub.transports.http.bodies import json_body
from hub.transports.http.responses import json_response
from llmhub.v1.resources_pb2 import Role

# Whoever may see the fleet may sign in.
_SEE: Final = rpc("GetSnapshot")


class SessionRoutes:
    """Opens, shows and ends the session of a browser."""

    def __init__(
        self,
        *,
        auth: Authenticator,
        sessions: SessionRegistry,
        store: Store,
        service: Service,
        clock: Clock,
    ) -> None:
        self._auth = auth
        self._sessions = sessions
        self._store = store
        self._service = service
        self._clock = clock

    async def sign_in(self, request: web.Request) -> web.Response:
        """Takes `{"token"}`; sets the cookie. Raises InvalidToken, RoleForbidden."""
        require_own_page(request)
        body = await json_body(request)
        token = body.get("token")
        if not isinstance(token, str):
            raise ValidationFailed([FieldViolation("token", "required", "is required")])
        now_ms = self._clock.now_ms()
        principal = self._service.tokens.authenticate(token.strip(), now_ms)
        caller = Caller(principal, self._auth.address(request), "http")
        self._service.admit_or_raise(_SEE, caller, now_ms)
        session_id, expires_at_ms, operations = self._sessions.open(principal, now_ms)
        await self._commit(operations)
        response = _shown(principal)
        response.set_cookie(
            self._auth.cookie,
            session_id,
            max_age=(expires_at_ms - now_ms) // 1000,
            path="/",
            httponly=True,
            samesite="Strict",
            secure=self._auth.is_secure(request),
        )
        return response

    async def show(self, request: web.Request) -> web.Response:
        """Tells who calls; `role` and `token_id` are null where nobody is signed in."""
        try:
            return _shown(self._auth.principal(request, self._clock.now_ms()))
        except InvalidToken:
            return json_response(b'{"role":null,"token_id":null}')

    async def sign_out(self, request: web.Request) -> web.Response:
        """Ends the session, if there is one."""
        require_own_page(request)
        session = self._sessions.find(self._auth.session_id(request) or "")
        if session is not None:
            await self._commit([Delete(session.key)])
        response = json_response(b'{"status":"signed_out"}')
        response.del_cookie(self._auth.cookie, path="/", httponly=True, samesite="Strict")
        return response

    async def _commit(self, operations: Sequence[Operation]) -> None:
        try:
            await self._store.commit(operations)
        except StoreError as error:
            raise StoreUnavailable(f"the store did not take the change: {error}") from error


def _shown(principal: Principal) -> web.Response:
    role = enum_word(Role.DESCRIPTOR, principal.role)
    return json_response(orjson.dumps({"role": role, "token_id": principal.token_id}))

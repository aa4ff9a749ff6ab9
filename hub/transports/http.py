"""The HTTP door: the admin API, schemas and health checks, all in JSON."""

import secrets
from collections.abc import Awaitable, Callable

import orjson
import structlog
from aiohttp import web

from hub.clock import Clock
from hub.codec.decode import compile_decoder
from hub.codec.encode import to_json_bytes
from hub.codec.frames import not_an_object
from hub.codec.schemas import schemas
from hub.config import HttpSettings
from hub.contract import Rpc, rpc
from hub.errors import HubError, InternalError, InvalidJson, InvalidToken
from hub.registry.state import Registry
from hub.service import Caller, Service
from hub.transports.http_errors import error_response, json_response
from hub.transports.http_views import HttpViews
from llmhub.v1.admin_service_pb2 import (
    RegisterEndpointRequest,
    RegisterEndpointResponse,
    RemoveEndpointRequest,
)

log = structlog.get_logger()

_BASE = "/api/admin/llm-registry"
_HTTP_BODIES = {
    "llm_registry.register": (RegisterEndpointRequest, f"POST {_BASE}: registers an endpoint"),
}

_LIST = rpc("ListEndpoints")
_GET = rpc("GetEndpoint")
_SNAPSHOT = rpc("GetSnapshot")
_REGISTER = rpc("RegisterEndpoint")
_REMOVE = rpc("RemoveEndpoint")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpDoor:
    """Serves HTTP."""

    def __init__(
        self,
        settings: HttpSettings,
        service: Service,
        registry: Registry,
        clock: Clock,
        *,
        ready: Callable[[], str | None],
        mistrust: Callable[[], str | None],
        grace_s: float,
    ) -> None:
        """`ready` returns None, or why the hub is not ready.

        `mistrust` returns None, or why it mistrusts what its probes show.

        When the door stops, running requests get `grace_s` seconds to end.
        """
        self._grace_s = grace_s
        self._settings = settings
        self._service = service
        self._views = HttpViews(registry)
        self._clock = clock
        self._ready = ready
        self._mistrust = mistrust
        self._decode_registration = compile_decoder(RegisterEndpointRequest).decode
        self._schemas = orjson.dumps(schemas(_HTTP_BODIES))
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises OSError when it cannot."""
        app = web.Application(
            middlewares=[self._answer_errors], client_max_size=self._settings.max_body_bytes
        )
        app.add_routes(self.routes())
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=self._grace_s
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, reuse_port=False)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stops accepting, and gives running requests a few seconds to end."""
        if self._runner is not None:
            await self._runner.cleanup()

    def routes(self) -> list[web.RouteDef]:
        """Every route, for the application and for the test of the documentation."""
        one = _BASE + "/{id:.+}"
        return [
            web.get(_BASE, self._list),
            web.post(_BASE, self._register),
            web.get(_BASE + "/snapshot", self._snapshot),
            web.get(one, self._get),
            web.delete(one, self._remove),
            web.get("/api/schemas", self._get_schemas),
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        self._admit(request, _LIST)
        return json_response(self._views.endpoints())

    async def _snapshot(self, request: web.Request) -> web.Response:
        self._admit(request, _SNAPSHOT)
        return json_response(self._views.snapshot(self._clock.now_ms()))

    async def _get(self, request: web.Request) -> web.Response:
        self._admit(request, _GET)
        return json_response(self._views.endpoint(request.match_info["id"]))

    async def _register(self, request: web.Request) -> web.Response:
        caller = self._admit(request, _REGISTER)
        decoded = self._decode_registration(await _json_body(request))
        reply = await self._service.carry_out(
            _REGISTER, decoded.message, caller, self._clock.now_ms(), decoded.violations
        )
        assert isinstance(reply, RegisterEndpointResponse)
        return json_response(to_json_bytes(reply.endpoint), 201)

    async def _remove(self, request: web.Request) -> web.Response:
        caller = self._admit(request, _REMOVE)
        id_ = request.match_info["id"]
        await self._service.carry_out(
            _REMOVE, RemoveEndpointRequest(id=id_), caller, self._clock.now_ms()
        )
        return json_response(orjson.dumps({"status": "removed", "id": id_}))

    async def _get_schemas(self, request: web.Request) -> web.Response:
        self._admit(request, _LIST)
        return json_response(self._schemas)

    async def _healthz(self, _request: web.Request) -> web.Response:
        return json_response(b'{"status":"ok"}')

    async def _readyz(self, _request: web.Request) -> web.Response:
        reason = self._ready()
        if reason is None:
            # It still is the one who knows the fleet best, so it stays ready.
            mistrust = self._mistrust()
            told = {"status": "ready"} | ({"self_preservation": mistrust} if mistrust else {})
            return json_response(orjson.dumps(told))
        return json_response(orjson.dumps({"status": "not_ready", "reason": reason}), 503)

    def _admit(self, request: web.Request, called: Rpc) -> Caller:
        """Who calls, if it may call this. Raises InvalidToken, RoleForbidden, RateLimited."""
        now_ms = self._clock.now_ms()
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise InvalidToken("header `Authorization: Bearer <token>` is missing")
        principal = self._service.tokens.authenticate(token.strip(), now_ms)
        caller = Caller(principal, request.remote or "", "http")
        self._service.admit_or_raise(called, caller, now_ms)
        return caller

    @web.middleware
    async def _answer_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except HubError as error:
            return error_response(error)
        except web.HTTPException as error:
            return _plain_error(error)
        except Exception:
            request_id = secrets.token_hex(8)
            log.exception("request failed", path=request.path, request_id=request_id)
            return error_response(InternalError(f"the hub failed; request id {request_id}"))


async def _json_body(request: web.Request) -> dict[str, object]:
    """The body's JSON object.

    Raises InvalidJson, ValidationFailed, HTTPUnsupportedMediaType.
    """
    if "Content-Type" in request.headers and request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise InvalidJson(f"not JSON: {error}") from None
    if type(body) is not dict:
        raise not_an_object()
    return body


_PLAIN_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}


def _plain_error(error: web.HTTPException) -> web.Response:
    code = _PLAIN_CODES.get(error.status, f"http_{error.status}")
    response = json_response(orjson.dumps({"error": code}), error.status)
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response

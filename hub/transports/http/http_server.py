"""The HTTP door: the admin API, schemas and health checks in JSON, and the dashboard."""

import ssl
from collections.abc import Awaitable, Callable

import orjson
import structlog
from aiohttp import web

from hub.base.clock import Clock
from hub.base.settings import HttpSettings
from hub.contract.dialect.decode import compile_decoder
from hub.contract.dialect.encode import to_json_bytes
from hub.contract.dialect.schemas import schemas
from hub.contract.errors import ValidationFailed
from hub.contract.rpcs import Rpc, rpc
from hub.registry.state import Registry
from hub.service.dispatcher import Caller, Service
from hub.service.metrics.calls import Calls
from hub.service.metrics.exposition import CONTENT_TYPE, Metrics
from hub.transports.http.authentication import Authenticator
from hub.transports.http.backup import BackupSender
from hub.transports.http.bodies import json_body
from hub.transports.http.connections import HttpSite
from hub.transports.http.dashboard.files import SECURITY_HEADERS
from hub.transports.http.dashboard.routes import Dashboard
from hub.transports.http.fleet_json import HttpViews
from hub.transports.http.responses import error_response, json_response
from hub.transports.http.service_discovery import ServiceDiscovery
from hub.transports.http.update_body import told_of_body, update_of
from llmhub.v1.admin_service_pb2 import (
    CheckEndpointRequest,
    CheckEndpointResponse,
    RegisterEndpointRequest,
    RegisterEndpointResponse,
    RemoveEndpointRequest,
    UpdateEndpointRequest,
    UpdateEndpointResponse,
)

log = structlog.get_logger()

_BASE = "/api/admin/llm-registry"
_HTTP_BODIES = {
    "llm_registry.register": (RegisterEndpointRequest, f"POST {_BASE}: registers an endpoint"),
}

_LIST = rpc("ListEndpoints")
_LIST_MODELS = rpc("ListModels")
_GET = rpc("GetEndpoint")
_SNAPSHOT = rpc("GetSnapshot")
_REGISTER = rpc("RegisterEndpoint")
_UPDATE = rpc("UpdateEndpoint")
_REMOVE = rpc("RemoveEndpoint")
# Needs the role that a copy of the store needs.
_SERVER_INFO = rpc("GetServerInfo")
_CHECK = rpc("CheckEndpoint")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpDoor:
    """Serves HTTP."""

    def __init__(
        self,
        settings: HttpSettings,
        service: Service,
        registry: Registry,
        calls: Calls,
        metrics: Metrics,
        backups: BackupSender,
        clock: Clock,
        auth: Authenticator,
        dashboard: Dashboard,
        *,
        ready: Callable[[], str | None],
        mistrust: Callable[[], str | None] = lambda: None,
        grace_s: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`ready` returns None, or why the hub is not ready.

        `mistrust` returns None, or why it mistrusts what its probes show.

        When the door stops, running requests get `grace_s` seconds to end.
        """
        self._grace_s = grace_s
        self._tls = tls
        self._settings = settings
        self._service = service
        self._registry = registry
        self._views = HttpViews(registry)
        self._discovery = ServiceDiscovery(registry)
        self._calls = calls
        self._metrics = metrics
        self._backups = backups
        self._clock = clock
        self._auth = auth
        self._dashboard = dashboard
        self._ready = ready
        self._mistrust = mistrust
        self._decode_registration = compile_decoder(RegisterEndpointRequest).decode
        self._decode_update = compile_decoder(UpdateEndpointRequest).decode
        self._schemas = orjson.dumps(schemas(_HTTP_BODIES))
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises OSError when it cannot."""
        app = web.Application(
            middlewares=[self._answer_errors], client_max_size=self._settings.max_body_bytes
        )
        app.on_response_prepare.append(_add_security_headers)
        app.add_routes(self.routes())
        self._dashboard.start()
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=self._grace_s
        )
        await self._runner.setup()
        await HttpSite(
            self._runner,
            host,
            port,
            self._tls,
            max_connections=self._settings.max_connections,
            turned_away=self._calls.turned_away,
        ).start()
        bound = int(self._runner.addresses[0][1])
        self._auth.use_port(bound)
        return bound

    async def stop(self) -> None:
        """Stops accepting, ends the streams, and gives other requests a few seconds."""
        self._dashboard.stop()
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
            web.patch(one, self._update),
            web.delete(one, self._remove),
            web.post(one + "/check", self._check),
            web.get("/api/discovery/prometheus", self._prometheus),
            web.get("/api/models", self._models),
            web.get("/api/schemas", self._get_schemas),
            web.get("/api/admin/backup", self._backup),
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/metrics", self._get_metrics),
            *self._dashboard.routes(),
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
        decoded = self._decode_registration(await json_body(request))
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

    async def _update(self, request: web.Request) -> web.Response:
        caller = self._admit(request, _UPDATE)
        decoded = self._decode_update(update_of(request.match_info["id"], await json_body(request)))
        try:
            reply = await self._service.carry_out(
                _UPDATE, decoded.message, caller, self._clock.now_ms(), decoded.violations
            )
        except ValidationFailed as error:
            raise told_of_body(error) from error
        assert isinstance(reply, UpdateEndpointResponse)
        return json_response(to_json_bytes(reply.endpoint))

    async def _check(self, request: web.Request) -> web.Response:
        caller = self._admit(request, _CHECK)
        wanted = CheckEndpointRequest(id=request.match_info["id"])
        reply = await self._service.carry_out(_CHECK, wanted, caller, self._clock.now_ms())
        assert isinstance(reply, CheckEndpointResponse)
        return json_response(to_json_bytes(reply.endpoint))

    async def _prometheus(self, request: web.Request) -> web.Response:
        self._admit(request, _LIST)
        return json_response(await self._discovery.prometheus_targets())

    async def _models(self, request: web.Request) -> web.Response:
        self._admit(request, _LIST_MODELS)
        return json_response(await self._discovery.openai_models())

    async def _get_schemas(self, request: web.Request) -> web.Response:
        self._admit(request, _LIST)
        return json_response(self._schemas)

    async def _backup(self, request: web.Request) -> web.StreamResponse:
        caller = self._admit(request, _SERVER_INFO)
        response = await self._backups.send(request)
        log.info("store copied", by=caller.principal.token_id, bytes=response.content_length)
        return response

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

    async def _get_metrics(self, request: web.Request) -> web.Response:
        if not self._settings.public_metrics:
            self._admit(request, _LIST)
        body = await self._metrics.render()
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    def _admit(self, request: web.Request, called: Rpc) -> Caller:
        """Who calls, if it may call this.

        Raises InvalidToken, HTTPForbidden, RoleForbidden, RateLimited.
        """
        now_ms = self._clock.now_ms()
        principal = self._auth.principal(request, now_ms)
        caller = Caller(principal, self._auth.address(request), "http")
        self._service.admit_or_raise(called, caller, now_ms)
        return caller

    @web.middleware
    async def _answer_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        with self._calls.http(request.method, _route(request), request.headers) as call:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                response = _plain_error(error)
            except Exception as error:
                if isinstance(error, ConnectionError) and request.transport is None:
                    # The caller has gone: nobody reads this, and no part of the hub failed.
                    return _plain_error(web.HTTPBadRequest())
                response = error_response(call.fail(error))
            call.answer(response.status, response.content_type)
            return response


def _route(request: web.Request) -> str:
    """The template of the route; what matches none must not become a label each."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unmatched"


async def _add_security_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(SECURITY_HEADERS)
    # What has no word of its own on caching is the fleet's state, or an error.
    response.headers.setdefault("Cache-Control", "no-store")


_PLAIN_CODES = {
    400: "bad_request",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    415: "unsupported_media_type",
}


def _plain_error(error: web.HTTPException) -> web.Response:
    code = _PLAIN_CODES.get(error.status, f"http_{error.status}")
    response = json_response(orjson.dumps({"error": code}), error.status)
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    if error.status == 408:
        response.force_close()
    return response

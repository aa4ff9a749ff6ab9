"""The HTTP transport: routes of the admin API, health checks, metrics and the dashboard."""

from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from hub.base.settings import HttpSettings
from hub.contract.descriptors import CONTENT_TYPE as CONTRACT_TYPE
from hub.service.metrics.exposition import CONTENT_TYPE
from hub.service.operations import (
    COPY_STORE,
    GET_DESCRIPTORS,
    GET_METRICS,
    GET_PUBLIC_METRICS,
    GET_SCHEMAS,
    GET_TRAEFIK_CONFIG,
    LIST_OPENAI_MODELS,
    LIST_PROMETHEUS_TARGETS,
)
from hub.transports.context import TransportContext
from hub.transports.http import openapi
from hub.transports.http.authentication import HttpCalls
from hub.transports.http.connections import (
    Admission,
    Connections,
    HttpProtocol,
    HttpSite,
    too_many_connections,
)
from hub.transports.http.dashboard.files import SECURITY_HEADERS
from hub.transports.http.dashboard.routes import Dashboard
from hub.transports.http.endpoint_routes import EndpointRoutes
from hub.transports.http.responses import SERVER_NAME, error_response, json_response, send_copy
from hub.transports.http.rpc_routes import RpcRoutes
from hub.transports.http.xds_routes import XdsRoutes

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpServer:
    """Serves HTTP."""

    def __init__(
        self,
        settings: HttpSettings,
        context: TransportContext,
        calls: HttpCalls,
        dashboard: Dashboard,
    ) -> None:
        self._settings = settings
        self._context = context
        self._calls = calls
        self._dashboard = dashboard
        self._endpoints = EndpointRoutes(calls)
        self._openapi = openapi.openapi(self.routes())
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises OSError."""
        app = web.Application(
            middlewares=[self._answer_errors], client_max_size=self._settings.max_body_bytes
        )
        app.on_response_prepare.append(_add_security_headers)
        app.add_routes(self.routes())
        self._dashboard.start()
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=self._context.grace_s
        )
        await self._runner.setup()
        tls = self._context.tls
        site = HttpSite(
            self._runner,
            host,
            port,
            tls.context if tls is not None else None,
            Connections(
                self._settings,
                self._context.calls,
                self._context.trusted_proxies,
                self._context.overload,
            ),
        )
        await site.start()
        bound = site.port
        self._calls.credentials.use_port(bound)
        return bound

    async def stop(self) -> None:
        """Stops accepting, ends the streams, and gives other requests a few seconds."""
        self._dashboard.stop()
        if self._runner is not None:
            await self._runner.cleanup()

    def routes(self) -> list[web.RouteDef]:
        """Every route, for the application and for the test that compares the docs."""
        return [
            *self._endpoints.routes(),
            *RpcRoutes(self._calls).routes(),
            web.get("/api/discovery/prometheus", self._prometheus),
            web.get("/api/discovery/traefik", self._traefik),
            web.get("/api/models", self._models),
            web.get("/api/schemas", self._get_schemas),
            web.get(openapi.PATH, self._get_openapi),
            web.get("/api/descriptors", self._get_descriptors),
            web.get("/api/admin/backup", self._backup, allow_head=False),
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/metrics", self._get_metrics),
            *XdsRoutes(self._calls).routes(),
            *self._dashboard.routes(),
        ]

    async def _prometheus(self, request: web.Request) -> web.Response:
        return await self._calls.read(request, LIST_PROMETHEUS_TARGETS, tagged=True)

    async def _traefik(self, request: web.Request) -> web.Response:
        return await self._calls.read(request, GET_TRAEFIK_CONFIG, tagged=True)

    async def _models(self, request: web.Request) -> web.Response:
        return await self._calls.read(request, LIST_OPENAI_MODELS, tagged=True)

    async def _get_schemas(self, request: web.Request) -> web.Response:
        return await self._calls.read(request, GET_SCHEMAS)

    async def _get_openapi(self, _request: web.Request) -> web.Response:
        return json_response(self._openapi)

    async def _get_descriptors(self, request: web.Request) -> web.Response:
        body = await self._calls.call(request, GET_DESCRIPTORS)
        return web.Response(body=body, content_type=CONTRACT_TYPE)

    async def _backup(self, request: web.Request) -> web.StreamResponse:
        return await send_copy(request, await self._calls.call(request, COPY_STORE))

    async def _healthz(self, _request: web.Request) -> web.Response:
        return json_response(b'{"status":"ok"}')

    async def _readyz(self, _request: web.Request) -> web.Response:
        readiness = self._context.readiness
        reason = readiness.why_not_ready()
        if reason is None:
            # A hub that doubts its probes still knows the fleet best, so it stays ready; and
            # one that is overloaded would only burden others if it were not.
            doubts = {
                "self_preservation": readiness.why_mistrusted(),
                "overload": self._context.overload.why(),
            }
            body = {"status": "ready"} | {name: doubt for name, doubt in doubts.items() if doubt}
            return json_response(orjson.dumps(body))
        return json_response(orjson.dumps({"status": "not_ready", "reason": reason}), 503)

    async def _get_metrics(self, request: web.Request) -> web.Response:
        if self._settings.public_metrics:
            called, credentials = GET_PUBLIC_METRICS, self._calls.credentials.anonymous(request)
        else:
            called, credentials = GET_METRICS, self._calls.credentials.of(request)
        return await self._calls.read(
            request, called, credentials=credentials, content_type=CONTENT_TYPE
        )

    def _shed(self, request: web.Request) -> None:
        """Raises Overloaded for an anonymous request if the hub takes none now.

        The dispatcher sheds the others. A person may still open the page and sign in.
        """
        overload, credentials = self._context.overload, self._calls.credentials
        if (
            overload.level
            and _route(request) not in _HEALTH
            and not self._dashboard.is_for_signing_in(request.path)
            and not credentials.are_given(request)
        ):
            overload.require_connection("http", credentials.address(request))

    @web.middleware
    async def _answer_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        with self._context.calls.http(request.method, _route(request), request.headers) as call:
            is_extra = _is_extra(request)
            try:
                if is_extra and _route(request) not in _HEALTH:
                    raise too_many_connections()
                self._shed(request)
                response = await handler(request)
            except web.HTTPException as error:
                if error.status == 413:
                    self._context.calls.refusals.note("http", "body", request.remote or "")
                response = _plain_error(error)
            except Exception as error:
                if isinstance(error, ConnectionError) and request.transport is None:
                    # The caller has left, so this reply is not read; the hub has not failed.
                    return _plain_error(web.HTTPBadRequest())
                response = error_response(call.fail(error))
            if is_extra:
                response.force_close()
            call.answer(response.status, response.content_type)
            return response


_HEALTH = ("/healthz", "/readyz")


def _is_extra(request: web.Request) -> bool:
    """Whether the request's connection is beyond the bounds, and only for health checks."""
    protocol = request.protocol
    return isinstance(protocol, HttpProtocol) and protocol.admission is Admission.EXTRA


def _route(request: web.Request) -> str:
    """The route's template; unmatched paths share one label, so that labels are bounded."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unmatched"


async def _add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(SECURITY_HEADERS)
    if request.secure:
        # Behind a proxy, the proxy says this: it knows whether all of the host speaks TLS.
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    response.headers["Server"] = SERVER_NAME
    # A response without its own cache rule is the fleet's state or an error.
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

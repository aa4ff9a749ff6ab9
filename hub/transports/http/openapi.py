"""`GET /api/openapi.json`: an OpenAPI 3.1 description, derived from the contract and the router.

The hub does not start if a route has no entry here. The dashboard's own routes are not described:
they are not part of the contract.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, cast

import orjson
from aiohttp import web

from hub.base.version import hub_version
from hub.contract.descriptors import CONTENT_TYPE as DESCRIPTORS_TYPE
from hub.contract.dialect.encode import Json
from hub.contract.dialect.names import enum_words
from hub.contract.dialect.schemas import Schema, reply_schema, request_schema
from hub.contract.rpcs import Rpc, rpc
from hub.service.dispatcher import Called
from hub.service.handlers.manage_endpoints import UPDATABLE
from hub.service.operations import (
    COPY_STORE,
    DISCOVER_ENDPOINTS,
    GET_DESCRIPTORS,
    GET_ENDPOINT_JSON,
    GET_METRICS,
    GET_SCHEMAS,
    GET_SNAPSHOT_JSON,
    GET_TRAEFIK_CONFIG,
    LIST_ENDPOINTS_JSON,
    LIST_OPENAI_MODELS,
    LIST_PROMETHEUS_TARGETS,
)
from hub.transports.http.rpc_routes import HTTP_RPCS, PREFIX
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.resources_pb2 import HostResources, Role, VramAccount

PATH: Final = "/api/openapi.json"

_FLEET: Final = "/api/admin/llm-registry"
_ONE: Final = _FLEET + "/{id}"
_OWN_PAGES: Final = ("/dashboard/", "/api/dashboard/")
_PLACEHOLDER: Final = re.compile(r"{(\w+):[^}]*}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Described:
    """What the router does not know about a route.

    `called` gives the required role; None if the route needs no token. `statuses` are those
    of errors in addition to the ones that every call with that role may get. A `tagged` reply
    has an ETag.
    """

    summary: str
    reply: Schema
    called: Called | None = None
    body: Schema | None = None
    success: int = 200
    statuses: tuple[int, ...] = ()
    in_pages: bool = False
    needs_body: bool = True
    tagged: bool = False
    content_type: str = "application/json"


def _described_rpc(each: Rpc) -> _Described:
    service = each.service.rpartition(".")[2]
    return _Described(
        summary=f"{service}.{each.name}, as over gRPC",
        called=each,
        body=request_schema(each.request),
        reply=reply_schema(each.response),
        statuses=(404, 409, 410, 501),
        needs_body=False,
    )


def _component(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(**properties: Json) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list_of(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _map_of(schema: Schema) -> Schema:
    return {"type": "object", "additionalProperties": schema}


_STRING: Final[Schema] = {"type": "string"}
_INTEGER: Final[Schema] = {"type": "integer"}
_ANYTHING: Final[Schema] = {"type": "object"}
_ENDPOINT: Final = _component("Endpoint")
_PAGE: Final[list[Json]] = [
    {
        "name": "page_size",
        "in": "query",
        "description": "Asks for a page; the answer then has `next_page_token`.",
        "schema": {"type": "integer", "minimum": 0, "maximum": 1000},
    },
    {"name": "page_token", "in": "query", "schema": {"type": "string", "maxLength": 4096}},
]

ROUTES: Final[Mapping[tuple[str, str], _Described]] = {
    ("GET", _FLEET): _Described(
        summary="Lists the endpoints, sorted by id",
        called=LIST_ENDPOINTS_JSON,
        reply=_object(endpoints=_list_of(_ENDPOINT)),
        in_pages=True,
    ),
    ("POST", _FLEET): _Described(
        summary="Registers an endpoint, or changes the registered one",
        called=rpc("RegisterEndpoint"),
        body=request_schema(RegisterEndpointRequest),
        reply=_ENDPOINT,
        success=201,
        statuses=(409,),
    ),
    ("GET", _FLEET + "/snapshot"): _Described(
        summary="The whole fleet, with what its hosts report",
        called=GET_SNAPSHOT_JSON,
        reply=_object(
            endpoints=_list_of(_ENDPOINT),
            resources=_map_of(_component("HostResources")),
            fleet_models=_map_of(_INTEGER),
            vram=_map_of(_component("VramAccount")),
            revision=_INTEGER,
        ),
        in_pages=True,
    ),
    ("GET", _ONE): _Described(
        summary="One endpoint", called=GET_ENDPOINT_JSON, reply=_ENDPOINT, statuses=(404,)
    ),
    ("PATCH", _ONE): _Described(
        summary="Changes the fields of the body; null clears a field",
        called=rpc("UpdateEndpoint"),
        body=_component("EndpointUpdate"),
        reply=_ENDPOINT,
        statuses=(404, 409),
    ),
    ("DELETE", _ONE): _Described(
        summary="Removes an endpoint",
        called=rpc("RemoveEndpoint"),
        reply=_object(status={"const": "removed"}, id=_STRING),
        statuses=(404,),
    ),
    ("POST", _ONE + "/check"): _Described(
        summary="Probes an endpoint now",
        called=rpc("CheckEndpoint"),
        reply=_ENDPOINT,
        statuses=(404, 409),
    ),
    ("GET", "/api/discovery/prometheus"): _Described(
        summary="Prometheus' HTTP service discovery",
        called=LIST_PROMETHEUS_TARGETS,
        reply=_list_of(_object(targets=_list_of(_STRING), labels=_map_of(_STRING))),
        tagged=True,
    ),
    ("GET", "/api/discovery/traefik"): _Described(
        summary="Traefik's dynamic configuration, for its HTTP provider",
        called=GET_TRAEFIK_CONFIG,
        reply=_ANYTHING,
        tagged=True,
    ),
    ("GET", "/api/models"): _Described(
        summary="Models and aliases, as OpenAI's API lists them",
        called=LIST_OPENAI_MODELS,
        reply=_object(object={"const": "list"}, data=_list_of(_ANYTHING)),
        tagged=True,
    ),
    ("POST", "/v3/discovery:endpoints"): _Described(
        summary="The set of endpoints, as Envoy discovers it; 304 if the gateway has that version",
        called=DISCOVER_ENDPOINTS,
        body={
            "type": "object",
            "properties": {"version_info": _STRING, "resource_names": _list_of(_STRING)},
        },
        reply=_object(version_info=_STRING, type_url=_STRING, resources=_list_of(_ANYTHING)),
    ),
    ("GET", "/api/schemas"): _Described(
        summary="JSON schemas of frames and bodies",
        called=GET_SCHEMAS,
        reply=_object(version=_STRING, schemas=_ANYTHING),
    ),
    ("GET", "/api/descriptors"): _Described(
        summary="The contract as a binary FileDescriptorSet",
        called=GET_DESCRIPTORS,
        reply={"type": "string", "contentMediaType": DESCRIPTORS_TYPE},
        content_type=DESCRIPTORS_TYPE,
    ),
    ("GET", PATH): _Described(summary="This description", reply=_ANYTHING),
    ("GET", "/api/admin/backup"): _Described(
        summary="A copy of the embedded store",
        called=COPY_STORE,
        reply={"type": "string", "contentMediaType": "application/vnd.sqlite3"},
        content_type="application/vnd.sqlite3",
        statuses=(501,),
    ),
    ("GET", "/healthz"): _Described(
        summary="Whether the process answers", reply=_object(status={"const": "ok"})
    ),
    ("GET", "/readyz"): _Described(
        summary="Whether the hub serves",
        reply=_object(status={"enum": ["ready", "not_ready"]}),
        statuses=(503,),
    ),
    ("GET", "/metrics"): _Described(
        summary="Metrics in Prometheus' text format",
        called=GET_METRICS,
        reply=_STRING,
        content_type="text/plain",
    ),
    **{("POST", PREFIX + each.name): _described_rpc(each) for each in HTTP_RPCS},
}


def openapi(routes: Iterable[web.RouteDef]) -> bytes:
    """The description as JSON. Raises KeyError for a route that is not described."""
    paths: dict[str, dict[str, Json]] = {}
    for route in routes:
        path = _PLACEHOLDER.sub(r"{\1}", route.path)
        if path == "/" or path.startswith(_OWN_PAGES):
            continue
        described = ROUTES[(route.method, path)]
        paths.setdefault(path, {})[route.method.lower()] = _operation(path, described)
    document: Json = {
        "openapi": "3.1.0",
        "info": {"title": "LLM Registry Hub", "version": hub_version()},
        "paths": cast(Json, paths),
        "components": {
            "schemas": {
                "Endpoint": reply_schema(Endpoint),
                "EndpointUpdate": _endpoint_update(),
                "HostResources": reply_schema(HostResources),
                "VramAccount": reply_schema(VramAccount),
                "Error": {
                    "type": "object",
                    "properties": {"error": _STRING},
                    "required": ["error"],
                },
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
    return orjson.dumps(document)


def _endpoint_update() -> Schema:
    schema = request_schema(Endpoint)
    properties = cast(Schema, schema["properties"])
    kept = {name: properties[name] for name in (*UPDATABLE, "etag")}
    return {"type": "object", "properties": kept}


def _operation(path: str, described: _Described) -> Schema:
    errors = set(described.statuses)
    operation: Schema = {"summary": described.summary}
    if described.called is not None and described.called.role is not None:
        errors |= {401, 403, 429, 503}
        role = enum_words(Role.DESCRIPTOR)
        named = next(word for word, number in role.items() if number == described.called.role)
        operation["description"] = f"Takes a token of the role {named} or a higher one."
        operation["security"] = [{"token": []}]
    if "{id}" in path:
        operation["parameters"] = [
            {"name": "id", "in": "path", "required": True, "schema": _STRING}
        ]
        errors.add(404)
    if described.in_pages:
        operation["parameters"] = _PAGE
        errors |= {400, 422}
    if described.body is not None:
        errors |= {400, 413, 415, 422, 503}
        operation["requestBody"] = {
            "required": described.needs_body,
            "content": {"application/json": {"schema": described.body}},
        }
    replies: dict[str, Json] = {
        str(described.success): _reply("success", described.content_type, described.reply)
    }
    if described.tagged:
        replies["304"] = {"description": "The caller has this ETag already."}
    for status in sorted(errors):
        schema = described.reply if path == "/readyz" else _component("Error")
        replies[str(status)] = _reply("error", "application/json", schema)
    operation["responses"] = replies
    return operation


def _reply(description: str, content_type: str, schema: Schema) -> Schema:
    return {"description": description, "content": {content_type: {"schema": schema}}}

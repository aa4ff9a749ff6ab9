"""The admin API's routes: the fleet, and its single endpoints.

In the PATCH of an endpoint, the body's keys are the fields to change.
"""

import re
from typing import Final

import orjson
from aiohttp import web
from google.protobuf.message import Message

from hub.contract.dialect.decode import compile_decoder
from hub.contract.dialect.encode import to_json_bytes
from hub.contract.errors import FieldViolation, ValidationFailed
from hub.contract.rpcs import rpc
from hub.contract.validation import check
from hub.service.dispatcher import Received, Request
from hub.service.handlers.manage_endpoints import UPDATABLE
from hub.service.operations import GET_ENDPOINT_JSON, GET_SNAPSHOT_JSON, LIST_ENDPOINTS_JSON
from hub.transports.http.authentication import HttpCalls, json_body
from hub.transports.http.responses import json_response
from llmhub.v1.admin_service_pb2 import (
    CheckEndpointRequest,
    RegisterEndpointRequest,
    RemoveEndpointRequest,
    UpdateEndpointRequest,
)
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.registry_service_pb2 import GetSnapshotRequest, ListEndpointsRequest

_BASE: Final = "/api/admin/llm-registry"
_REGISTER: Final = rpc("RegisterEndpoint")
_UPDATE: Final = rpc("UpdateEndpoint")
_REMOVE: Final = rpc("RemoveEndpoint")
_CHECK: Final = rpc("CheckEndpoint")


class EndpointRoutes:
    """Lists, shows, registers, updates, removes and checks endpoints."""

    def __init__(self, calls: HttpCalls) -> None:
        self._calls = calls
        self._decode_registration = compile_decoder(RegisterEndpointRequest).decode
        self._decode_update = compile_decoder(UpdateEndpointRequest).decode

    def routes(self) -> list[web.RouteDef]:
        """The routes, the more specific ones first."""
        one = _BASE + "/{id:.+}"
        return [
            web.get(_BASE, self._list),
            web.post(_BASE, self._register),
            web.get(_BASE + "/snapshot", self._snapshot),
            web.get(one, self._get),
            web.patch(one, self._update),
            web.delete(one, self._remove),
            web.post(one + "/check", self._check),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        return await self._calls.read(
            request, LIST_ENDPOINTS_JSON, lambda: _page(request, ListEndpointsRequest)
        )

    async def _snapshot(self, request: web.Request) -> web.Response:
        return await self._calls.read(
            request, GET_SNAPSHOT_JSON, lambda: _page(request, GetSnapshotRequest)
        )

    async def _get(self, request: web.Request) -> web.Response:
        id_ = request.match_info["id"]
        return await self._calls.read(request, GET_ENDPOINT_JSON, lambda: Received(id_))

    async def _register(self, request: web.Request) -> web.Response:
        async def read() -> Request:
            return self._decode_registration(await json_body(request))

        return json_response(
            await self._calls.call(request, _REGISTER, read, encode=_endpoint_json), 201
        )

    async def _remove(self, request: web.Request) -> web.Response:
        id_ = request.match_info["id"]
        await self._calls.call(request, _REMOVE, lambda: Received(RemoveEndpointRequest(id=id_)))
        return json_response(orjson.dumps({"status": "removed", "id": id_}))

    async def _update(self, request: web.Request) -> web.Response:
        async def read() -> Request:
            return self._decode_update(
                update_of(request.match_info["id"], await json_body(request))
            )

        try:
            body = await self._calls.call(request, _UPDATE, read, encode=_endpoint_json)
        except ValidationFailed as error:
            raise in_terms_of_body(error) from error
        return json_response(body)

    async def _check(self, request: web.Request) -> web.Response:
        wanted = Received(CheckEndpointRequest(id=request.match_info["id"]))
        return json_response(
            await self._calls.call(request, _CHECK, lambda: wanted, encode=_endpoint_json)
        )


def _page(request: web.Request, message_class: type[Message]) -> Request:
    """The page that a query asks for; of nothing, if it asks for none. Raises ValidationFailed."""
    size, token = request.query.get("page_size"), request.query.get("page_token", "")
    if size is None and not token:
        return Received(None)
    if size is not None and not re.fullmatch(r"[0-9]{1,9}", size):
        raise ValidationFailed([FieldViolation("page_size", "wrong_type", "expected a number")])
    message = message_class(page_size=int(size or 0), page_token=token)
    check(message)
    return Received(message)


def _endpoint_json(reply: Message) -> bytes:
    """The endpoint in a reply: the HTTP API replies to a change with the changed endpoint."""
    return to_json_bytes(reply.endpoint)  # type: ignore[attr-defined]


_PREFIX = "endpoint."


def update_of(id_: str, body: dict[str, object]) -> object:
    """The UpdateEndpointRequest for a body, still as JSON.

    A null clears its field; "etag" makes the change conditional; unknown keys are ignored,
    as everywhere. Raises ValidationFailed for fields that cannot be changed.
    """
    changeable = ", ".join(UPDATABLE)
    violations = [
        FieldViolation(key, "invalid", f"cannot be changed; these can: {changeable}")
        for key in body
        if key in Endpoint.DESCRIPTOR.fields_by_name and key not in (*UPDATABLE, "id", "etag")
    ]
    if body.get("id", id_) != id_:
        violations.append(FieldViolation("id", "invalid", "is not the id in the path"))
    if violations:
        raise ValidationFailed(violations)
    endpoint = {key: value for key, value in body.items() if key in UPDATABLE}
    return {
        "endpoint": {**endpoint, "id": id_},
        "update_mask": list(endpoint),
        "etag": body.get("etag"),
    }


def in_terms_of_body(error: ValidationFailed) -> ValidationFailed:
    """The same error with the body's field paths instead of the request's."""
    return ValidationFailed(
        [
            FieldViolation(
                violation.field.removeprefix(_PREFIX),
                violation.error,
                violation.detail,
                violation.value,
            )
            for violation in error.violations
        ]
    )

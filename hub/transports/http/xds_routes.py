"""Envoy's discovery of endpoints over HTTP, as polled by gateways without gRPC (REST EDS)."""

import re
from collections.abc import Mapping
from typing import Final

import orjson
from aiohttp import web

from hub.contract.errors import FieldViolation, ValidationFailed
from hub.service.dispatcher import Received, Request
from hub.service.handlers.discover_endpoints import EndpointSet
from hub.service.operations import DISCOVER_ENDPOINTS
from hub.transports.envoy_resources import ASSIGNMENT_TYPE, CLUSTER, MAX_NAMES, load_assignment
from hub.transports.http.authentication import HttpCalls, json_body
from hub.transports.http.responses import json_response

PATH: Final = "/v3/discovery:endpoints"


class XdsRoutes:
    """Answers with the set of endpoints, or with 304 if the gateway has it."""

    def __init__(self, calls: HttpCalls) -> None:
        self._calls = calls

    def routes(self) -> list[web.RouteDef]:
        """The route."""
        return [web.post(PATH, self._discover)]

    async def _discover(self, request: web.Request) -> web.Response:
        body: dict[str, object] = {}

        async def read() -> Request:
            body.update(await json_body(request))
            return Received(None)

        found: EndpointSet = await self._calls.call(request, DISCOVER_ENDPOINTS, read)
        names = _names(body)
        if _field(body, "version_info") == found.version:
            return web.Response(status=304)
        resources = [{"@type": ASSIGNMENT_TYPE, **load_assignment(name, found)} for name in names]
        return json_response(
            orjson.dumps(
                {
                    "version_info": found.version,
                    "type_url": ASSIGNMENT_TYPE,
                    "resources": resources,
                }
            )
        )


def _names(body: Mapping[str, object]) -> list[str]:
    """The clusters that are asked for. Raises ValidationFailed."""
    names = _field(body, "resource_names") or [CLUSTER]
    if (
        not isinstance(names, list)
        or len(names) > MAX_NAMES
        or not all(isinstance(name, str) for name in names)
    ):
        detail = f"expected a list of at most {MAX_NAMES} names"
        raise ValidationFailed([FieldViolation("resource_names", "wrong_type", detail)])
    return names


def _field(body: Mapping[str, object], name: str) -> object:
    """A field by its name in the .proto file or in JSON; both are valid."""
    camel = re.sub("_(.)", lambda match: match[1].upper(), name)
    return body.get(name, body.get(camel))

"""The JSON object in the body of a request."""

import asyncio
from typing import Final

import orjson
from aiohttp import web

from hub.contract.dialect.frames import not_an_object
from hub.contract.errors import InvalidJson

# A body of the longest kind at 1 Mbit/s; sign-in reads one from strangers.
_BODY_S: Final = 10.0


async def json_body(request: web.Request) -> dict[str, object]:
    """The body's JSON object.

    Raises InvalidJson, ValidationFailed, HTTPUnsupportedMediaType, HTTPRequestTimeout,
    HTTPBadRequest; ConnectionError if the caller has gone.
    """
    if "Content-Type" in request.headers and request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType
    if "Content-Encoding" in request.headers:
        raise web.HTTPUnsupportedMediaType
    try:
        async with asyncio.timeout(_BODY_S):
            raw = await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except web.RequestPayloadError:
        raise web.HTTPBadRequest from None
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidJson(f"not JSON: {error}") from None
    if type(body) is not dict:
        raise not_an_object()
    return body

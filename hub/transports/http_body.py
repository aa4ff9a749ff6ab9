"""The JSON object in the body of a request."""

import orjson
from aiohttp import web

from hub.codec.frames import not_an_object
from hub.errors import InvalidJson


async def json_body(request: web.Request) -> dict[str, object]:
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

"""The JSON body of a request."""

import orjson
from aiohttp import web

from hub.errors import InvalidJson


async def json_body(request: web.Request) -> object:
    """The body's JSON value. Raises InvalidJson, HTTPUnsupportedMediaType."""
    if "Content-Type" in request.headers and request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType
    try:
        return orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise InvalidJson(f"not JSON: {error}") from None

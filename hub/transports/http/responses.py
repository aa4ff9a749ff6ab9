"""HTTP responses: domain errors, JSON replies, and a copy of the store.

A long body that is sent to many readers is in memory only once: each reader keeps a
slice, not a copy.
"""

import asyncio
import math
from collections.abc import Iterator
from typing import Final

import orjson
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from google.rpc import code_pb2
from uvloop.loop import TCPTransport  # type: ignore[attr-defined]

from hub.contract.errors import (
    FieldViolation,
    HubError,
    InternalError,
    InvalidJson,
    InvalidToken,
    NotFound,
    PermissionDenied,
    RateLimited,
    ScopeForbidden,
    TargetForbidden,
    ValidationFailed,
)
from hub.service.handlers.observe_hub import StoreCopy

# TLS, and every loop but uvloop, copies what the socket does not accept at once, so each write
# is small. It is also the size from which on aiohttp waits for the reader. uvloop's TCP
# transport keeps a reference: one write of everything takes a third less CPU.
_SLICE_BYTES: Final = 65_536

LONG_BYTES: Final = 65_536
"""A shorter body fits into a connection's buffer."""

SERVER_NAME: Final = "llm-hub"
"""The header `Server`, without the versions that aiohttp would name."""


class SharedBody(Payload):
    """The body of a response, in memory once for all readers."""

    _value: bytes

    def __init__(self, value: bytes, content_type: str) -> None:
        super().__init__(value, content_type=content_type)
        self._size = len(value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """See `Payload`."""
        return self._value.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """See `Payload`."""
        # Sent with the head, the body would be copied behind it.
        writer.send_headers()
        if isinstance(getattr(writer, "transport", None), TCPTransport):
            await writer.write(self._value)
        else:
            for part in _slices(self._value):
                await writer.write(part)
        await writer.drain()


async def write_shared(response: web.StreamResponse, block: bytes) -> None:
    """Writes a block of a stream. Raises ConnectionResetError."""
    for part in _slices(block):
        await response.write(part)


def _slices(value: bytes) -> Iterator[memoryview]:
    view = memoryview(value)
    for start in range(0, len(value), _SLICE_BYTES):
        yield view[start : start + _SLICE_BYTES]


# The mapping in google.rpc.Code's comments, except where HTTP has a better status.
_STATUS = {
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.UNAUTHENTICATED: 401,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.NOT_FOUND: 404,
    code_pb2.ABORTED: 409,
    code_pb2.FAILED_PRECONDITION: 409,
    code_pb2.OUT_OF_RANGE: 410,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.UNIMPLEMENTED: 501,
    code_pb2.UNAVAILABLE: 503,
    code_pb2.UNKNOWN: 500,
    code_pb2.INTERNAL: 500,
}


def json_response(body: bytes, status: int = 200) -> web.Response:
    """A reply with a JSON body; see `BodiesInFlight` for those that readers may ask for."""
    if len(body) > LONG_BYTES:
        return web.Response(body=SharedBody(body, "application/json"), status=status)
    return web.Response(body=body, status=status, content_type="application/json")


def error_response(error: HubError) -> web.Response:
    """The reply that reports a domain error."""
    status = _STATUS[error.code]
    body: dict[str, object] = {"error": error.wire_code}
    headers = {}
    match error:
        case InvalidToken():
            body = {"error": "unauthorized", "hint": "provide Authorization: Bearer <token>"}
            headers["WWW-Authenticate"] = "Bearer"
        case ScopeForbidden():
            body = {"error": "forbidden", "detail": error.message}
        case PermissionDenied():
            body = {"error": "forbidden"}
        case ValidationFailed():
            status = 422
            body["errors"] = [_violation(violation) for violation in error.violations]
        case TargetForbidden():
            status = 422
            body["detail"] = error.message
        case RateLimited():
            body |= {"retry_after_ms": error.retry_after_ms, "tier": error.tier}
        case InternalError():
            body |= {"detail": error.message, **error.metadata}
        case NotFound() | InvalidJson():
            pass
        case _:
            body["detail"] = error.message
    if error.retry_after_ms is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_ms / 1000))
    response = json_response(orjson.dumps(body), status)
    response.headers.update(headers)
    return response


def _violation(violation: FieldViolation) -> dict[str, object]:
    shown: dict[str, object] = {
        "field": violation.field,
        "error": violation.error,
        "detail": violation.detail,
    }
    if violation.value is not None:
        shown["value"] = violation.value
    return shown


def has_etag(request: web.Request, etag: str) -> bool:
    """Whether the caller has the representation with this ETag already (RFC 9110, 13.1.2)."""
    return any(each.value in (etag, "*") for each in request.if_none_match or ())


_CHUNK_BYTES = 256 * 1024
_CHUNK_S = 30.0


async def send_copy(request: web.Request, copy: StoreCopy) -> web.StreamResponse:
    """Sends the copy and closes it."""
    with copy.file as file:
        response = web.StreamResponse(
            headers={"Content-Disposition": 'attachment; filename="hub.db"'}
        )
        response.content_type = "application/vnd.sqlite3"
        response.content_length = copy.size
        await response.prepare(request)
        try:
            while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
                async with asyncio.timeout(_CHUNK_S):
                    await response.write(chunk)
            await response.write_eof()
        except (OSError, TimeoutError):
            # The head has been sent, so only a cut connection can still signal failure.
            if request.transport is not None:
                request.transport.abort()
    return response

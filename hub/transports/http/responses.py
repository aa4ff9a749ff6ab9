"""Domain errors and JSON replies as HTTP responses."""

import math

import orjson
from aiohttp import web
from google.rpc import code_pb2

from hub.contract.errors import (
    FieldViolation,
    HubError,
    InternalError,
    InvalidJson,
    InvalidToken,
    NotFound,
    PermissionDenied,
    RateLimited,
    TargetForbidden,
    ValidationFailed,
)
from hub.transports.http.shared_body import SharedBody

# Shorter bodies fit into a connection's buffer.
_LONG_BYTES = 65_536
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
    """A reply with a JSON body."""
    if len(body) > _LONG_BYTES:
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

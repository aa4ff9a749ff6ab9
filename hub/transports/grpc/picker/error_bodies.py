"""Refusals as HTTP responses with the bodies that clients of OpenAI and of Ollama expect."""

from dataclasses import dataclass
from typing import Final

import orjson
from google.rpc import code_pb2

from hub.contract.errors import HubError, InvalidToken, ModelUnknown, NoCapacity

_STATUS: Final = {
    code_pb2.UNAUTHENTICATED: 401,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.NOT_FOUND: 404,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.UNAVAILABLE: 503,
    code_pb2.UNIMPLEMENTED: 501,
}
_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    501: "server_error",
    503: "service_unavailable",
}
# The codes by which OpenAI's clients tell errors apart.
_CODES: Final = {
    InvalidToken: "invalid_api_key",
    ModelUnknown: "model_not_found",
}
_RETRY_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a client is refused with. `code` is for programs, `message` for people.

    `param` names the field at fault, or is None. `retry_after_s` goes into Retry-After.
    """

    status: int
    code: str
    message: str
    param: str | None = None
    retry_after_s: int | None = None

    def body(self, *, is_ollama: bool) -> bytes:
        """The response's body, as JSON."""
        if is_ollama:
            return orjson.dumps({"error": self.message})
        error = {
            "message": self.message,
            "type": _TYPES.get(self.status, "invalid_request_error"),
            "param": self.param,
            "code": self.code,
        }
        return orjson.dumps({"error": error})


def refusal(error: HubError) -> Refusal:
    """The refusal that stands for a domain error."""
    status = _STATUS.get(error.code, 500)
    retry_ms = error.retry_after_ms
    if retry_ms is None and (status == 503 or isinstance(error, NoCapacity)):
        retry_ms = _RETRY_MS
    return Refusal(
        status,
        _CODES.get(type(error), error.wire_code),
        error.message,
        "model" if status in (400, 404) else None,
        None if retry_ms is None else max(1, -(-retry_ms // 1000)),
    )

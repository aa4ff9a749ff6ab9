"""What goes wrong in a call to the hub, told so that programs can match on it.

    ClientError
    ├── CallFailed     the hub, or the way to it, said no; `code` and `reason` tell why
    ├── NotSynced      a local copy of the fleet has no, or too old a, state
    └── NoSelection    a local copy of the fleet has no endpoint for a request

The rich details of an error come as google.rpc.Status. Its few fields are read
off the wire here, so that the client needs no package beyond grpcio and protobuf.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

_DETAILS_KEY: Final = "grpc-status-details-bin"
_TYPE_PREFIX: Final = "type.googleapis.com/google.rpc."


class ClientError(Exception):
    """Any error of this package."""


class NotSynced(ClientError):
    """The local copy has not got its first state yet, or has not been told for too long."""


class NoSelection(ClientError):
    """No endpoint of the local copy will do.

    `reason` is "MODEL_UNKNOWN", "NO_HEALTHY_ENDPOINT" or "NO_CAPACITY", as the
    hub's SelectEndpoint has it; `rejections` says why, by endpoint.
    """

    def __init__(self, reason: str, message: str, rejections: dict[str, str]) -> None:
        super().__init__(message)
        self.reason = reason
        self.rejections = rejections


class CallFailed(ClientError):
    """A call failed.

    `reason` is the name in `llmhub.v1.ErrorReason` without its prefix, such as
    "MODEL_UNKNOWN"; empty where the hub was not reached. `retry_after_s` is set
    where the hub says when it may work.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: str = "",
        metadata: dict[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{reason or code.name}: {message}")
        self.code = code
        self.message = message
        self.reason = reason
        self.metadata = metadata or {}
        self.retry_after_s = retry_after_s


def call_failed(error: grpc.RpcError) -> CallFailed:
    """The error that a failed call stands for."""
    code, message = error.code(), error.details() or ""
    # The type stubs take metadata for what it is not.
    trailing: Iterable[tuple[str, str | bytes]] = error.trailing_metadata() or ()  # type: ignore
    for key, value in trailing:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return _with_details(code, message, value)
            except (DecodeError, UnicodeDecodeError):
                break
    return CallFailed(code, message)


def _with_details(code: grpc.StatusCode, message: str, status: bytes) -> CallFailed:
    failed = CallFailed(code, message)
    for packed in _messages(status, 3):
        kind = b"".join(_messages(packed, 1)).decode().removeprefix(_TYPE_PREFIX)
        detail = b"".join(_messages(packed, 2))
        if kind == "ErrorInfo":
            reason = b"".join(_messages(detail, 1)).decode()
            metadata = {
                b"".join(_messages(pair, 1)).decode(): b"".join(_messages(pair, 2)).decode()
                for pair in _messages(detail, 3)
            }
            failed = CallFailed(code, message, reason, metadata, failed.retry_after_s)
        elif kind == "RetryInfo":
            delay = Duration.FromString(b"".join(_messages(detail, 1)))
            failed.retry_after_s = delay.ToTimedelta().total_seconds()
    return failed


def _messages(raw: bytes, number: int) -> Iterator[bytes]:
    """The strings, bytes or messages under a field's number. Raises DecodeError."""
    # To a message without fields, all fields are unknown ones.
    fields = UnknownFieldSet(Empty.FromString(raw))
    for i in range(len(fields)):
        field = fields[i]
        if field.field_number == number and isinstance(field.data, bytes):
            yield field.data

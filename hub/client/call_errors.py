"""Errors of calls to the hub, with fields that programs can match on.

    ClientError
    ├── CallFailed     the hub refused the call or was unreachable; see `code` and `reason`
    ├── NotSynced      a local copy of the fleet has no state, or one that is too old
    └── NoSelection    a local copy of the fleet has no endpoint for a request

The details of an error arrive as google.rpc.Status. This module decodes its few fields,
so that the client needs no package other than grpcio and protobuf.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

_DETAILS_KEY: Final = "grpc-status-details-bin"
_TYPE_PREFIX: Final = "type.googleapis.com/google.rpc."
_DOMAIN: Final = "llmhub"
# The prefix of rejected candidates in the metadata of an explained selection.
_REJECTED: Final = "rejected "


class ClientError(Exception):
    """Any error of this package."""


class NotSynced(ClientError):
    """The local copy has no state yet, or the hub has been silent for too long."""


class NoSelection(ClientError):
    """No endpoint of the local copy fits.

    `reason` is "MODEL_UNKNOWN", "NO_HEALTHY_ENDPOINT" or "NO_CAPACITY", as in the
    hub's SelectEndpoint. `rejections` has the reasons by endpoint id.
    """

    def __init__(self, reason: str, message: str, rejections: dict[str, str]) -> None:
        super().__init__(message)
        self.reason = reason
        self.rejections = rejections


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with one field of a request.

    `field` is a path such as `labels["zone"]`, `description` a readable sentence,
    `reason` the kind of fault, such as "TOO_LONG".
    """

    field: str
    description: str
    reason: str


class CallFailed(ClientError):
    """A call failed.

    `reason` is the name in `llmhub.v1.ErrorReason` without its prefix, such as
    "MODEL_UNKNOWN"; it is empty if the hub was unreachable. `metadata` has the values
    that `message` mentions, `violations` the invalid fields of the request.
    `retry_after_s` is set if the hub says when to retry.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: str = "",
        metadata: dict[str, str] | None = None,
        retry_after_s: float | None = None,
        violations: Sequence[Violation] = (),
    ) -> None:
        super().__init__(f"{reason or code.name}: {message}")
        self.code = code
        self.message = message
        self.reason = reason
        self.metadata = metadata or {}
        self.retry_after_s = retry_after_s
        self.violations = tuple(violations)

    @property
    def rejections(self) -> dict[str, str]:
        """Why candidates of an explained selection were rejected, by endpoint id."""
        return {
            key.removeprefix(_REJECTED): why
            for key, why in sorted(self.metadata.items())
            if key.startswith(_REJECTED)
        }


def call_failed(error: grpc.RpcError) -> CallFailed:
    """Converts the error of a failed call."""
    code, message = error.code(), error.details() or ""
    # The type stubs give the metadata a wrong type.
    trailing: Iterable[tuple[str, str | bytes]] = error.trailing_metadata() or ()  # type: ignore
    for key, value in trailing:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return _with_details(code, message, value)
            except (DecodeError, UnicodeDecodeError):
                break
    return CallFailed(code, message)


def _with_details(code: grpc.StatusCode, message: str, status: bytes) -> CallFailed:
    reason, metadata, retry_after_s = "", {}, None
    violations: list[Violation] = []
    for packed in _messages(status, 3):
        detail = b"".join(_messages(packed, 2))
        match _text(packed, 1).removeprefix(_TYPE_PREFIX):
            case "ErrorInfo" if _text(detail, 2) == _DOMAIN:
                reason = _text(detail, 1)
                metadata = {_text(pair, 1): _text(pair, 2) for pair in _messages(detail, 3)}
            case "BadRequest":
                violations += (
                    Violation(_text(each, 1), _text(each, 2), _text(each, 3))
                    for each in _messages(detail, 1)
                )
            case "RetryInfo":
                delay = Duration.FromString(b"".join(_messages(detail, 1)))
                retry_after_s = delay.ToTimedelta().total_seconds()
    return CallFailed(code, message, reason, metadata, retry_after_s, violations)


def _text(raw: bytes, number: int) -> str:
    """The string under a field's number. Raises DecodeError, UnicodeDecodeError."""
    return b"".join(_messages(raw, number)).decode()


def _messages(raw: bytes, number: int) -> Iterator[bytes]:
    """The strings, bytes or messages under a field's number. Raises DecodeError."""
    # Empty has no fields, so it treats all fields as unknown.
    fields = UnknownFieldSet(Empty.FromString(raw))
    for i in range(len(fields)):
        field = fields[i]
        if field.field_number == number and isinstance(field.data, bytes):
            yield field.data

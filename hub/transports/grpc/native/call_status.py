"""How a call ends: gRPC's status codes, and their form in trailers.

The rules are gRPC's (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
"""

from base64 import b64encode
from collections.abc import Sequence
from enum import Enum, IntEnum
from typing import Final

from hub.transports.grpc.native.header_list import Fields

Metadata = Sequence[tuple[str, str | bytes]]
"""Keys and values; bytes if the key ends in "-bin"."""

# A longer text could exceed a client's bound on header lists; then the status is lost too.
_MAX_MESSAGE_BYTES: Final = 1_024
_PLAIN: Final = frozenset(range(0x20, 0x7F)) - {ord("%")}


class StatusCode(IntEnum):
    """gRPC's status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class CallFailed(Exception):
    """The call ends with this status, and with this metadata in its trailers."""

    def __init__(self, code: int, message: str, metadata: Metadata = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.metadata = metadata


class Bound(Enum):
    """What a refused call exceeds, in words for its caller."""

    CONNECTIONS = "too many connections are open"
    CALLS = "too many calls are open"
    UNREAD_REPLIES = "too many replies are not read"
    RECEIVED_BYTES = "too much is sent at a time"


def exhausted(bound: Bound, _peer: str) -> CallFailed:
    """The error of a call from a peer that exceeds a bound, without details."""
    return CallFailed(StatusCode.RESOURCE_EXHAUSTED, bound.value)


def trailer_fields(code: int, message: str = "", metadata: Metadata = ()) -> Fields:
    """The trailers of a call that ends with this status."""
    fields = [(b"grpc-status", b"%d" % code)]
    if message:
        fields.append((b"grpc-message", percent_encoded(message)))
    return (*fields, *metadata_fields(metadata))


def metadata_fields(metadata: Metadata) -> Fields:
    """Metadata as header fields; binary values in base64 without padding."""
    return tuple(
        (
            key.encode(),
            b64encode(value).rstrip(b"=") if isinstance(value, bytes) else value.encode(),
        )
        for key, value in metadata
    )


def percent_encoded(message: str) -> bytes:
    """A message encoded for `grpc-message`, cut to 1,024 bytes of UTF-8."""
    raw = message.encode()
    if len(raw) > _MAX_MESSAGE_BYTES:
        raw = raw[:_MAX_MESSAGE_BYTES].decode(errors="ignore").encode()
    if _PLAIN.issuperset(raw):
        return raw
    return b"".join(bytes((one,)) if one in _PLAIN else b"%%%02X" % one for one in raw)

"""What gRPC reads from a request's head: the method, its deadline, encodings and metadata.

The rules are gRPC's (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
"""

from base64 import b64decode
from collections.abc import Mapping
from functools import cached_property
from typing import Final

from hub.transports.grpc.native.accounts import Payer
from hub.transports.grpc.native.call_status import CallFailed, StatusCode
from hub.transports.grpc.native.header_list import Fields, HeaderList
from hub.transports.grpc.native.request import Request

_UNITS_S: Final[Mapping[int, float]] = {
    ord("H"): 3600.0,
    ord("M"): 60.0,
    ord("S"): 1.0,
    ord("m"): 1e-3,
    ord("u"): 1e-6,
    ord("n"): 1e-9,
}
_MAX_TIMEOUT_DIGITS: Final = 8
_ENCODINGS: Final = frozenset((b"identity", b"gzip"))
_CONTENT_TYPE: Final = b"application/grpc"
# Fields of HTTP and gRPC that are not the caller's metadata.
_NO_METADATA: Final = frozenset((b"te", b"content-type", b"content-length"))


class HttpRefused(Exception):
    """The request is not gRPC; it gets a plain HTTP response."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class CallHead:
    """A request's head as gRPC reads it. Calls with the same head share one object."""

    def __init__(self, request: Request) -> None:
        """Raises HttpRefused, CallFailed."""
        if request.method != b"POST":
            raise HttpRefused(405, "gRPC calls are POST requests")
        fields = request.fields
        content_type = _last(fields, b"content-type")
        rest = content_type[len(_CONTENT_TYPE) :]
        if not content_type.startswith(_CONTENT_TYPE) or (rest and rest[:1] not in b"+;"):
            raise HttpRefused(415, "gRPC calls have the content-type application/grpc")
        self.path = request.path.decode("latin-1")
        self.authority = request.authority.decode("latin-1")
        self.timeout_s = timeout_s(_last(fields, b"grpc-timeout"))
        """How long the caller waits, in seconds; None if the fields do not say."""
        encoding = _last(fields, b"grpc-encoding") or b"identity"
        if encoding not in _ENCODINGS:
            raise CallFailed(
                StatusCode.UNIMPLEMENTED,
                f"grpc-encoding {encoding.decode('latin-1')} is not supported, only gzip",
            )
        self.gzip = encoding == b"gzip"
        """Whether compressed messages use gzip."""
        accepted = _last(fields, b"grpc-accept-encoding")
        self.accepts_gzip = b"gzip" in accepted.replace(b" ", b"").split(b",")
        self._fields = fields
        self.note: object = None
        """A place for the layer above to cache what it derives from the head."""
        self.payer: Payer | None = None
        """The accounts that calls with this head are charged to, once a handler has set them."""

    @cached_property
    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """The caller's metadata, in order; bytes if the key ends in "-bin".

        A binary value that is not base64 is left out.
        """
        found: list[tuple[str, str | bytes]] = []
        for name, value in self._fields:
            if name in _NO_METADATA:
                continue
            key = name.decode()
            if not key.endswith("-bin"):
                found.append((key, value.decode("latin-1")))
                continue
            for part in value.split(b","):
                try:
                    raw = b64decode(part.strip().rstrip(b"=") + b"==", validate=False)
                except ValueError:
                    continue
                found.append((key, raw))
        return tuple(found)

    @cached_property
    def text_metadata(self) -> Mapping[str, str]:
        """The metadata without binary values; the last value of a repeated key counts."""
        return {key: value for key, value in self.metadata if isinstance(value, str)}


def call_head(headers: HeaderList, request: Request) -> CallHead:
    """The head of a call, parsed once for all calls with the same header block.

    Raises HttpRefused, CallFailed.
    """
    head = headers.meaning
    if not isinstance(head, CallHead):
        head = headers.meaning = CallHead(request)
    return head


def _last(fields: Fields, name: bytes) -> bytes:
    found = b""
    for key, value in fields:
        if key == name:
            found = value
    return found


def timeout_s(raw: bytes) -> float | None:
    """Parses a `grpc-timeout` into seconds; None if it is empty. Raises CallFailed."""
    if not raw:
        return None
    digits, unit_s = raw[:-1], _UNITS_S.get(raw[-1])
    if unit_s is None or not digits.isdigit() or len(digits) > _MAX_TIMEOUT_DIGITS:
        raise CallFailed(StatusCode.INTERNAL, "grpc-timeout is malformed")
    return int(digits) * unit_s

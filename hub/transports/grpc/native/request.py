"""Validates request heads and trailers (RFC 9113, sections 8.2 and 8.3)."""

import re
from typing import Final

from hub.transports.grpc.native.dynamic_table import Field
from hub.transports.grpc.native.header_list import Fields, HeaderList

_PSEUDO: Final = frozenset((b":method", b":scheme", b":path", b":authority"))
# Section 8.2.2: these describe the connection, which HTTP/2 does differently.
_CONNECTION_SPECIFIC: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
# Section 8.2.1; a name in upper case is malformed too.
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE: Final = re.compile(rb"[\x00\r\n]|^[ \t]|[ \t]\Z")
_HTTP_SCHEMES: Final = frozenset((b"http", b"https"))
_MAX_LENGTH_DIGITS: Final = 18


class Malformed(Exception):
    """The request is malformed; its stream ends with PROTOCOL_ERROR (section 8.1.1)."""


class Request:
    """A well-formed request head."""

    __slots__ = ("authority", "content_length", "fields", "method", "path", "scheme")

    def __init__(self, pseudo: dict[bytes, bytes], fields: Fields, content_length: int) -> None:
        self.method = pseudo[b":method"]
        self.scheme = pseudo.get(b":scheme", b"")
        self.path = pseudo.get(b":path", b"")
        self.authority = pseudo.get(b":authority", b"")
        self.fields = fields
        """All fields except the pseudo-header fields."""
        self.content_length = content_length
        """-1 if the head has none."""


def read_request(headers: HeaderList) -> Request:
    """The request head in a header list, parsed once. Raises Malformed."""
    known = headers.request
    if isinstance(known, Request):
        return known
    pseudo: dict[bytes, bytes] = {}
    fields: list[Field] = []
    content_length = -1
    for name, value in headers.fields:
        if name[:1] == b":":
            if name not in _PSEUDO or name in pseudo or fields:
                raise Malformed(f"pseudo-header field {name!r} is unknown, repeated or late")
            pseudo[name] = value
            continue
        _require_valid(name, value)
        if name == b"content-length":
            length = _content_length(value)
            if content_length not in (-1, length):
                raise Malformed("two different values of content-length")
            content_length = length
        fields.append((name, value))
        if name == b"host" and value != pseudo.get(b":authority", value):
            raise Malformed("a Host that differs from :authority (section 8.3.1)")
    _require_complete(pseudo)
    request = headers.request = Request(pseudo, tuple(fields), content_length)
    return request


def check_trailers(headers: HeaderList) -> None:
    """Raises Malformed if the fields cannot be trailers (section 8.1)."""
    for name, value in headers.fields:
        if name[:1] == b":":
            raise Malformed("a pseudo-header field in trailers")
        _require_valid(name, value)


def _require_valid(name: bytes, value: bytes) -> None:
    if not _NAME.fullmatch(name):
        raise Malformed(f"field name {name[:64]!r} is not valid")
    if _BAD_VALUE.search(value):
        raise Malformed(f"the value of {name!r} is not valid")
    if name in _CONNECTION_SPECIFIC or (name == b"te" and value != b"trailers"):
        raise Malformed(f"{name!r} is not allowed in HTTP/2")


def _require_complete(pseudo: dict[bytes, bytes]) -> None:
    method = pseudo.get(b":method")
    if not method:
        raise Malformed("no :method")
    if method == b"CONNECT":
        # Section 8.5; the server refuses it later, like every method except POST.
        if b":scheme" in pseudo or b":path" in pseudo or not pseudo.get(b":authority"):
            raise Malformed("CONNECT has an :authority and no :scheme or :path")
    elif not pseudo.get(b":scheme") or not pseudo.get(b":path"):
        raise Malformed("no :scheme or no :path")
    elif pseudo[b":scheme"] in _HTTP_SCHEMES:
        # Section 8.3.1.
        path = pseudo[b":path"]
        if path[:1] != b"/" and not (path == b"*" and method == b"OPTIONS"):
            raise Malformed("a :path that does not begin with a slash")
        if b"@" in pseudo.get(b":authority", b""):
            raise Malformed("an :authority with userinfo")
    for name, value in pseudo.items():
        if _BAD_VALUE.search(value):
            raise Malformed(f"the value of {name!r} is not valid")


def _content_length(value: bytes) -> int:
    if not value.isdigit() or len(value) > _MAX_LENGTH_DIGITS:
        raise Malformed("content-length is not a number")
    return int(value)

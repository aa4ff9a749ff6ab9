"""Parses a sidecar's WebSocket frame into the request of its RPC.

Parsing takes two steps, because between them the session checks that the sidecar is
identified and within its rate limit: `parse_frame` reads the JSON and the type,
`ParsedFrame.decode` fills the request.
"""

from typing import Any, Final, cast

import orjson
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from hub.contract.dialect.decode import Decoder, compile_decoder
from hub.contract.dialect.json_checks import compile_json_check
from hub.contract.dialect.names import cut, json_type, shown
from hub.contract.dialect.scalars import Decoded
from hub.contract.errors import FieldViolation, InvalidJson, ValidationFailed
from hub.contract.rpcs import FRAMES, FrameKind
from llmhub.v1.frame_pb2 import ReportResourcesRequest

UNKNOWN_TYPE: Final = "unknown"
"""The `message_type` of an error about a frame that has no type."""

_NO_FIELD: Final = frozenset({"type"})
_DECODERS: Final[dict[str, Decoder[Message]]] = {
    type_: compile_decoder(kind.rpc.request, _NO_FIELD) for type_, kind in FRAMES.items()
}
KNOWN_TYPES: Final = tuple(sorted(FRAMES))

_REPORT: Final = FRAMES["resource_report"]
_REPORT_DECODER: Final = compile_decoder(ReportResourcesRequest, _NO_FIELD)
_is_valid_report: Final = compile_json_check(
    cast(Descriptor, ReportResourcesRequest.DESCRIPTOR), _NO_FIELD
) or (lambda _payload: False)

MAX_UNREAD_BYTES: Final = 2048
"""A longer report is decoded at once, because its text may take more memory than its message."""


class UnreadReport:
    """A valid `resource_report` that is kept as its text.

    It is also the `Request` that the dispatcher passes on. Most reports are replaced by the
    next one before they are read, and making the message takes as long as all the rest.
    """

    __slots__ = ("_text", "agent_id")

    violations: Final = ()
    unknown_fields: Final = 0
    is_valid: Final = True

    def __init__(self, text: str | bytes, agent_id: str) -> None:
        self._text = text
        self.agent_id = agent_id

    @property
    def message(self) -> "UnreadReport":
        """The report itself: its handler takes it as it is."""
        return self

    def read(self) -> ReportResourcesRequest:
        """The report as a message. Each call decodes it again."""
        return _REPORT_DECODER.decode(orjson.loads(self._text)).message


class ParsedFrame:
    """A frame whose type is known and whose payload is not decoded yet.

    After `decode`, `unknown_fields` counts the fields that the hub does not know.
    """

    __slots__ = ("_payload", "_text", "kind", "unknown_fields")

    def __init__(self, kind: FrameKind, payload: dict[str, Any], text: str | bytes) -> None:
        self.kind = kind
        self._payload = payload
        self._text = text
        self.unknown_fields = 0

    @property
    def type(self) -> str:
        """The frame's "type", such as "resource_report"."""
        return self.kind.type

    def decode(self) -> Decoded[Message] | UnreadReport:
        """The request, of the class `kind.rpc.request`; never raises.

        A short report that is valid is not decoded yet.
        """
        payload = self._payload
        if (
            self.kind is _REPORT
            and len(self._text) <= MAX_UNREAD_BYTES
            and _is_valid_report(payload)
        ):
            return UnreadReport(self._text, payload.get("agent_id") or "")
        decoded = _DECODERS[self.kind.type].decode(payload)
        self.unknown_fields = decoded.unknown_fields
        return decoded


def parse_frame(text: str | bytes) -> ParsedFrame:
    """Parses a text frame and finds its type; the last of duplicate keys wins.

    Raises InvalidJson for text that is not JSON by RFC 8259 (such as NaN, a byte order
    mark or a lone surrogate), for numbers beyond a double and for nesting deeper than
    1024. Raises ValidationFailed for JSON that is not a frame; its
    `metadata["message_type"]` is the type to name in the reply.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidJson(f"not JSON: {error}") from None
    if type(value) is not dict:
        raise not_an_object()
    name = value.get("type")
    kind = FRAMES.get(name) if type(name) is str else None
    if kind is None:
        raise _wrong_type(name)
    return ParsedFrame(kind, value, text)


def not_an_object() -> ValidationFailed:
    """The error for a frame that is not a JSON object, such as any binary frame."""
    return _failure(UNKNOWN_TYPE, FieldViolation("message", "wrong_type", "expected JSON object"))


def _wrong_type(name: object) -> ValidationFailed:
    if name is None:
        return _failure(UNKNOWN_TYPE, FieldViolation("type", "required", "is required"))
    if type(name) is not str:
        detail = f"expected string, got {json_type(name)}"
        return _failure(UNKNOWN_TYPE, FieldViolation("type", "wrong_type", detail, shown(name)))
    known = cut(name)
    detail = f"unknown message type '{known}'"
    violation = FieldViolation("type", "unknown_message_type", detail, known, KNOWN_TYPES)
    return _failure(known, violation)


def _failure(message_type: str, violation: FieldViolation) -> ValidationFailed:
    error = ValidationFailed([violation])
    error.metadata["message_type"] = message_type
    return error

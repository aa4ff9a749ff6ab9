"""The messages of Envoy's external processing: read into plain values, and written."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError

from hub.contract.errors import FieldViolation, ValidationFailed
from hub.transports.envoy_resources import DESTINATION, LOAD_BALANCER, SERVED
from llmhub.gateway.v1 import processing_pb2 as pb

SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"
PATH: Final = f"/{SERVICE}/Process"

_SUBSET_HINT: Final = "envoy.lb.subset_hint"
_SUBSET: Final = "x-gateway-destination-endpoint-subset"
_ATTRIBUTES: Final = "envoy.filters.http.ext_proc"
_UPSTREAM: Final = "upstream.address"

# From the inside to the outside: body, streamed_response, body_mutation, response and
# request_body, each with its length; and end_of_stream.
_LENGTHY: Final = (b"\x0a", b"\x1a", b"\x1a", b"\x0a", b"\x1a")
_ENDED: Final = b"\x10\x01"
_LONG_BYTES: Final = 16_384

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Mutation:
    """Changes of a request's or response's headers: set these, remove those."""

    set: Mapping[str, str] = field(default_factory=dict)
    remove: Sequence[str] = ()


def parse(raw: bytes) -> pb.ProcessingRequest:
    """The ProcessingRequest. Raises ValidationFailed."""
    try:
        return pb.ProcessingRequest.FromString(raw)
    except DecodeError:
        raise out_of_order("is not an encoded ProcessingRequest") from None


def out_of_order(detail: str) -> ValidationFailed:
    """The error of a message that the protocol does not allow."""
    return ValidationFailed([FieldViolation("message", "invalid", detail)])


def headers_of(message: pb.HttpHeaders) -> dict[str, str]:
    """The fields; the last value of a repeated one counts."""
    return {
        each.key: each.raw_value.decode("latin-1") if each.raw_value else each.value
        for each in message.headers.headers
    }


def subset_of(request: pb.ProcessingRequest) -> frozenset[str] | None:
    """The addresses that the gateway allows; None without a hint."""
    metadata = request.metadata_context.filter_metadata
    if _SUBSET_HINT not in metadata:
        return None
    fields = metadata[_SUBSET_HINT].fields
    if _SUBSET not in fields:
        return None
    value = fields[_SUBSET]
    if value.WhichOneof("kind") == "list_value":
        texts: Iterable[str] = (each.string_value for each in value.list_value.values)
    else:
        texts = value.string_value.split(",")
    return frozenset(filter(None, map(str.strip, texts)))


def served_by(request: pb.ProcessingRequest) -> str:
    """The "ip:port" that answered, as the gateway reports it, or ""."""
    metadata = request.metadata_context.filter_metadata
    if LOAD_BALANCER in metadata:
        fields = metadata[LOAD_BALANCER].fields
        if SERVED in fields:
            return str(fields[SERVED].string_value)
    if _ATTRIBUTES in request.attributes:
        fields = request.attributes[_ATTRIBUTES].fields
        if _UPSTREAM in fields:
            return str(fields[_UPSTREAM].string_value)
    return ""


# Responses.


def request_headers(mutation: Mutation, destination: str) -> bytes:
    """Lets the request's headers pass. `destination` is empty while nothing is picked."""
    response = pb.ProcessingResponse()
    response.request_headers.SetInParent()
    if destination:
        _mutate(response.request_headers.response.header_mutation, mutation)
        _name_destination(response, destination)
    return _encoded(response)


def whole_body(mutation: Mutation, destination: str, body: bytes | None) -> bytes:
    """Lets a body pass that was sent whole, with the headers; `body` replaces it."""
    response = pb.ProcessingResponse()
    common = response.request_body.response
    _mutate(common.header_mutation, mutation)
    if body is not None:
        common.body_mutation.body = body
    _name_destination(response, destination)
    return _encoded(response)


def chunk(body: bytes, *, ended: bool) -> bytes:
    """A chunk of a request's body in the mode FULL_DUPLEX_STREAMED.

    Written field by field, because the message's own encoder copies a long body twice.
    """
    if len(body) < _LONG_BYTES:
        response = pb.ProcessingResponse()
        streamed = response.request_body.response.body_mutation.streamed_response
        streamed.body, streamed.end_of_stream = body, ended
        return _encoded(response)
    end = _ENDED if ended else b""
    head = _LENGTHY[0] + _varint(len(body))
    length = len(head) + len(body) + len(end)
    for tag in _LENGTHY[1:]:
        prefix = tag + _varint(length)
        head = prefix + head
        length += len(prefix)
    return b"".join((head, body, end))


def streamed_chunk(body: bytes | None) -> bytes:
    """Lets a chunk pass in the mode STREAMED; `body` replaces it."""
    response = pb.ProcessingResponse()
    response.request_body.SetInParent()
    if body is not None:
        response.request_body.response.body_mutation.body = body
    return _encoded(response)


def response_headers(mutation: Mutation) -> bytes:
    """Lets the response's headers pass."""
    response = pb.ProcessingResponse()
    response.response_headers.SetInParent()
    if mutation.remove:
        _mutate(response.response_headers.response.header_mutation, mutation)
    return _encoded(response)


def response_chunk(message: pb.HttpBody, *, is_full_duplex: bool) -> bytes:
    """Lets a chunk of the response's body pass."""
    response = pb.ProcessingResponse()
    response.response_body.SetInParent()
    if is_full_duplex:
        response.response_body.response.body_mutation.streamed_response.CopyFrom(message)
    return _encoded(response)


def immediate(status: int, headers: Mapping[str, str], body: bytes, details: str) -> bytes:
    """Answers the client at once. `details` appears in Envoy's access log."""
    response = pb.ProcessingResponse()
    answer = response.immediate_response
    answer.status.code = status
    _mutate(answer.headers, Mutation(headers))
    answer.body, answer.details = body, details
    return _encoded(response)


def _name_destination(response: pb.ProcessingResponse, destination: str) -> None:
    lb = response.dynamic_metadata.fields[LOAD_BALANCER].struct_value
    lb.fields[DESTINATION].string_value = destination


def _mutate(mutation: pb.HeaderMutation, wanted: Mutation) -> None:
    for name, value in wanted.set.items():
        option = mutation.set_headers.add()
        option.header.key, option.header.raw_value = name, value.encode("latin-1", "replace")
        option.append_action = pb.APPEND_ACTION_OVERWRITE
    mutation.remove_headers.extend(wanted.remove)


def _encoded(response: pb.ProcessingResponse) -> bytes:
    encoded: bytes = response.SerializeToString()
    return encoded


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _empty(kind: str) -> bytes:
    response = pb.ProcessingResponse()
    getattr(response, kind).SetInParent()
    return _encoded(response)


REQUEST_TRAILERS: Final = _empty("request_trailers")
RESPONSE_TRAILERS: Final = _empty("response_trailers")
"""The replies that let trailers pass."""

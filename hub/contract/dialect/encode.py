"""Encodes messages as JSON values, by encoders compiled from the message's descriptor.

The dialect has two forms:

- `to_json`, for HTTP, writes every field: an unknown value is null, an empty one is
  "", 0, [] or {}.
- `to_sparse_json`, for frames, omits absent fields and empty lists and maps; it always
  writes plain scalars.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, cast

import orjson
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from hub.contract.dialect.names import DURATION, FIELD_MASK, TIMESTAMP, enum_words, is_map
from llmhub.v1.frame_pb2 import HubFrame

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

# Any: what upb returns for a field has a type that only the field's descriptor knows.
_Encode = Callable[[Any], Json]
_Write = Callable[[Any, dict[str, Json]], None]


def to_json(message: Message) -> dict[str, Json]:
    """The message with every field, as in HTTP replies."""
    return _encoder(message.DESCRIPTOR, sparse=False)(message)


def to_sparse_json(message: Message) -> dict[str, Json]:
    """The message without absent fields and empty lists and maps, as in frames."""
    return _encoder(message.DESCRIPTOR, sparse=True)(message)


def to_json_bytes(message: Message) -> bytes:
    """`to_json` as UTF-8 text."""
    return orjson.dumps(to_json(message))


def encode_frame(frame: HubFrame) -> str:
    """The text of a frame to a sidecar, with "type" first.

    Raises ValueError if the frame is empty.
    """
    kind = frame.WhichOneof("frame")
    if kind is None:
        raise ValueError("an empty frame has no type")
    return orjson.dumps({"type": kind, **to_sparse_json(getattr(frame, kind))}).decode()


@cache
def _encoder(descriptor: Descriptor, *, sparse: bool) -> Callable[[Message], dict[str, Json]]:
    writers = tuple(_writer(field, sparse=sparse) for field in descriptor.fields)

    def encode(message: Message) -> dict[str, Json]:
        out: dict[str, Json] = {}
        for write in writers:
            write(message, out)
        return out

    return encode


def _writer(field: FieldDescriptor, *, sparse: bool) -> _Write:
    name = field.name
    if is_map(field):
        entry = cast(Descriptor, field.message_type).fields_by_name
        return _map_writer(name, _encode(entry["value"], sparse=sparse), sparse=sparse)
    encode = _encode(field, sparse=sparse)
    if field.is_repeated:
        return _list_writer(name, encode, sparse=sparse)
    if field.has_presence:
        return _optional_writer(name, encode, sparse=sparse)

    def write(message: Message, out: dict[str, Json]) -> None:
        value = encode(getattr(message, name))
        if value is not None or not sparse:
            out[name] = value

    return write


def _optional_writer(name: str, encode: _Encode, *, sparse: bool) -> _Write:
    def write(message: Message, out: dict[str, Json]) -> None:
        if message.HasField(name):
            out[name] = encode(getattr(message, name))
        elif not sparse:
            out[name] = None

    return write


def _list_writer(name: str, encode: _Encode, *, sparse: bool) -> _Write:
    def write(message: Message, out: dict[str, Json]) -> None:
        values: Iterable[object] = getattr(message, name)
        if values or not sparse:
            out[name] = [encode(value) for value in values]

    return write


def _map_writer(name: str, encode: _Encode, *, sparse: bool) -> _Write:
    def write(message: Message, out: dict[str, Json]) -> None:
        values: Mapping[str, object] = getattr(message, name)
        if values or not sparse:
            # Maps are unordered in protobuf, but equal messages must give equal bytes.
            out[name] = {key: encode(values[key]) for key in sorted(values)}

    return write


def _encode(field: FieldDescriptor, *, sparse: bool) -> _Encode:
    """The encoder of a single value of a field, whether or not the field is repeated."""
    if field.enum_type is not None:
        return _enum_encoder(field.enum_type)
    if field.message_type is None:
        return _unchanged
    match field.message_type.full_name:
        case name if name == TIMESTAMP:
            return _timestamp
        case name if name == DURATION:
            return _duration
        case name if name == FIELD_MASK:
            return _field_mask
        case _:
            return _encoder(field.message_type, sparse=sparse)


def _unchanged(value: Json) -> Json:
    return value


def _enum_encoder(enum: EnumDescriptor) -> _Encode:
    words: dict[int, str] = {number: word for word, number in enum_words(enum).items()}
    # A number that this contract does not know comes from a newer one; it becomes null.
    return words.get


def _timestamp(value: Timestamp) -> Json:
    return value.seconds * 1000 + value.nanos // 1_000_000


def _duration(value: Duration) -> Json:
    """Milliseconds, as an integer if they are whole."""
    milliseconds, rest = divmod(value.seconds * 1_000_000_000 + value.nanos, 1_000_000)
    return milliseconds + rest / 1_000_000 if rest else milliseconds


def _field_mask(value: FieldMask) -> Json:
    return list(value.paths)

"""JSON value to message, by setters compiled from the message's descriptor.

    value (parsed by orjson) ──► native values, each checked ──► one constructor call

The values of all fields are gathered first and given to the message's constructor at
once: one call into upb in place of one per field, and nested messages are plain dicts.
The constructor then sees only values that it takes, so that no JSON value, however
wrong, raises. Depth is bounded by the message type: a converter goes one level down
only where its field's type does, and an unwanted value is never entered.
"""

import sys
from collections.abc import Mapping
from functools import cache
from typing import Any, Generic, TypeVar, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from hub.contract.dialect import names
from hub.contract.dialect.names import (
    enum_words,
    field_rules,
    is_map,
    is_secret,
    map_path,
    too_many_items,
)
from hub.contract.dialect.scalars import (
    INTEGER_RANGES,
    NOT_UNICODE,
    Converter,
    Decoded,
    Native,
    bool_converter,
    double_converter,
    duration_converter,
    enum_converter,
    field_mask_converter,
    integer_converter,
    is_text,
    string_converter,
    timestamp_converter,
)

M = TypeVar("M", bound=Message)


class Decoder(Generic[M]):
    """Decodes JSON objects into messages of one class."""

    def __init__(self, message_class: type[M], ignore: frozenset[str]) -> None:
        self._message_class = message_class
        self._converters = _converters(message_class.DESCRIPTOR)
        self._ignore = ignore

    def decode(self, value: object) -> Decoded[M]:
        """The message that a JSON value stands for; never raises.

        What is no object at all decodes to an empty message with one violation of
        the field "message".
        """
        decoded: Decoded[M] = Decoded()
        if type(value) is dict:
            natives = _natives(value, self._converters, self._ignore, decoded)
            decoded.message = self._message_class(**natives)
        else:
            decoded.add("message", "wrong_type", "expected JSON object")
            decoded.message = self._message_class()
        return decoded


_decoders: dict[tuple[str, frozenset[str]], Decoder[Any]] = {}


def compile_decoder(message_class: type[M], ignore: frozenset[str] = frozenset()) -> Decoder[M]:
    """The decoder of a message class, compiled once.

    Keys in `ignore` are neither fields nor counted as unknown (a frame's "type").
    Raises TypeError for a message with a field that has no form in the dialect.
    """
    key = (message_class.DESCRIPTOR.full_name, ignore)
    decoder = _decoders.get(key)
    if decoder is None:
        decoder = _decoders[key] = Decoder(message_class, ignore)
    return decoder


def _natives(
    value: dict[str, object],
    converters: Mapping[str, Converter],
    ignore: frozenset[str],
    out: Decoded[Any],
) -> dict[str, Native]:
    natives = {}
    for key, item in value.items():
        convert = converters.get(key)
        if convert is not None:
            if item is not None:
                native = convert(item, out)
                if native is not None:
                    natives[key] = native
        elif key not in ignore:
            out.unknown_fields += 1
    return natives


@cache
def _converters(descriptor: Descriptor) -> dict[str, Converter]:
    return {each.name: _converter(each) for each in descriptor.fields}


def _converter(field: FieldDescriptor) -> Converter:
    if is_map(field):
        return _map_converter(field)
    if field.is_repeated:
        return _list_converter(field)
    return _single_converter(field, field.name)


def _list_converter(field: FieldDescriptor) -> Converter:
    name = field.name
    convert_item = _single_converter(field, "")
    # A wrong item keeps its place, so that a rule's violation of a later item
    # has the index that the caller counts.
    placeholder = _placeholder(field)
    limit = _limit(field_rules(field).repeated, "max_items")

    def convert(value: object, out: Decoded[Any]) -> Native | None:
        if type(value) is not list:
            out.add_wrong_type(name, "array", value)
            return None
        if len(value) > limit:
            out.add(name, "too_many_items", too_many_items(limit))
            return None
        natives = []
        for index, item in enumerate(value):
            first = len(out.violations)
            native = convert_item(item, out)
            natives.append(placeholder if native is None else native)
            if len(out.violations) > first:
                out.move_below(f"{name}[{index}]", first)
        return natives

    return convert


def _limit(rules: Message, rule: str) -> int:
    """The most items that the field's own rule allows.

    The rule is applied before the items are looked at: a frame of 64 KiB holds 21,000
    empty objects, and to decode and check each takes half a second in which the hub
    does nothing else.
    """
    return cast(int, getattr(rules, rule)) if rules.HasField(rule) else sys.maxsize


def _placeholder(field: FieldDescriptor) -> Native:
    if field.message_type is not None:
        return {}
    return "" if field.cpp_type == FieldDescriptor.CPPTYPE_STRING else 0


def _map_converter(field: FieldDescriptor) -> Converter:
    name = field.name
    entry = cast(Descriptor, field.message_type).fields_by_name
    if entry["key"].cpp_type != FieldDescriptor.CPPTYPE_STRING:
        raise TypeError(f"{field.full_name}: a map's keys are strings in JSON")
    convert_value = _single_converter(entry["value"], "")
    limit = _limit(field_rules(field).map, "max_pairs")

    def convert(value: object, out: Decoded[Any]) -> Native | None:
        if type(value) is not dict:
            out.add_wrong_type(name, "object", value)
            return None
        if len(value) > limit:
            out.add(name, "too_many_items", too_many_items(limit))
            return None
        natives = {}
        for key, item in value.items():
            first = len(out.violations)
            if not is_text(key):
                out.add("", "invalid", NOT_UNICODE)
            else:
                native = convert_value(item, out)
                if native is not None:
                    natives[key] = native
            if len(out.violations) > first:
                out.move_below(f"{name}{map_path(key)}", first)
        return natives

    return convert


def _single_converter(field: FieldDescriptor, path: str) -> Converter:
    """The converter of one value of a field, the field's cardinality aside."""
    if field.message_type is not None:
        match field.message_type.full_name:
            case names.TIMESTAMP:
                return timestamp_converter(path)
            case names.DURATION:
                return duration_converter(path)
            case names.FIELD_MASK:
                return field_mask_converter(path)
            case _:
                return _message_converter(field.message_type, path)
    if field.enum_type is not None:
        return enum_converter(enum_words(field.enum_type), path)
    show = not is_secret(field)
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_STRING:
            return string_converter(path, show=show)
        case FieldDescriptor.CPPTYPE_BOOL:
            return bool_converter(path)
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return double_converter(path)
        case kind if kind in INTEGER_RANGES:
            return integer_converter(path, *INTEGER_RANGES[kind])
        case _:
            raise TypeError(f"{field.full_name}: its type has no form in the JSON dialect")


def _message_converter(descriptor: Descriptor, path: str) -> Converter:
    converters = _converters(descriptor)

    def convert(value: object, out: Decoded[Any]) -> Native | None:
        if type(value) is not dict:
            out.add_wrong_type(path, "object", value)
            return None
        first = len(out.violations)
        natives = _natives(value, converters, frozenset(), out)
        if path and len(out.violations) > first:
            out.move_below(path, first)
        return natives

    return convert

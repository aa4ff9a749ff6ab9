"""Decodes JSON values into messages, by converters compiled from the message's descriptor.

    value (parsed by orjson) ──► native values, each checked ──► one constructor call

The values of all fields are collected and passed to the message's constructor in one
call: one call into upb instead of one per field, with nested messages as plain dicts.
The constructor sees only checked values, so no JSON value raises, however wrong it is.
The message type bounds the depth: a converter descends only where its field's type has
fields, and never into a value of the wrong type.
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
        """Decodes a JSON value; never raises.

        A value that is not an object decodes to an empty message with one violation,
        for the field "message".
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

    Keys in `ignore`, such as a frame's "type", are skipped and not counted as unknown.
    Raises TypeError if the message has a field that the dialect cannot express.
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
    # A placeholder takes the place of an invalid item, so that violations of later items
    # have the right index.
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
    """The maximum number of items, from the field's own rule.

    It applies before any item is decoded: a frame of 64 KiB can hold 21,000 empty
    objects, and decoding and checking them would block the hub for half a second.
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
        raise TypeError(f"{field.full_name}: the keys of a map must be strings in JSON")
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
    """The converter of a single value of a field, whether or not the field is repeated."""
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
            raise TypeError(f"{field.full_name}: the JSON dialect does not support its type")


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

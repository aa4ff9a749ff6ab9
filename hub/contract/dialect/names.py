"""Shared parts of the JSON dialect: names, paths, shortened values and the rules of fields."""

import json
from functools import cache
from typing import Any, Final, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration

from buf.validate import validate_pb2

MAX_VALUE_CHARS: Final = 50
"""The maximum number of characters that an error shows of a value or of a map's key."""

MAX_VIOLATIONS: Final = 64
"""The maximum number of violations that are reported for one message.

A frame of 64 KiB can hold 32,000 invalid items, and a reply must not be fifty times as
long as the frame.
"""

TIMESTAMP: Final = "google.protobuf.Timestamp"
DURATION: Final = "google.protobuf.Duration"
FIELD_MASK: Final = "google.protobuf.FieldMask"


def cut(text: str) -> str:
    """The text as errors show it: at most 50 characters, then "..." if it is longer.

    A lone surrogate is shown as its escape, because no JSON reply can carry it.
    """
    if len(text) > MAX_VALUE_CHARS:
        text = text[:MAX_VALUE_CHARS] + "..."
    return text.encode("utf-8", "backslashreplace").decode()


def shown(value: object) -> str | None:
    """A scalar as errors show it; None for null, lists, objects and messages."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return cut(value)
        case int() if value.bit_length() <= 64:
            return str(value)
        case float():
            # A whole number reads as the caller wrote it: 101, not 101.0.
            return str(int(value)) if value.is_integer() and abs(value) < 2**53 else str(value)
        case Duration():
            return f"{value.ToNanoseconds() / 1_000_000:.15g}"
        case _:
            return None


def too_many_items(limit: int) -> str:
    """The detail of a "too_many_items" violation."""
    return f"exceeds maximum of {limit} items"


def map_path(key: str) -> str:
    """The part of a field's path that names a map's entry, such as `["a b"]`."""
    return f"[{json.dumps(cut(key), ensure_ascii=False)}]"


def json_type(value: object) -> str:
    """The JSON name of the value's type, as violations show it."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer"
        case float():
            return "number"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return type(value).__name__


def enum_word(enum: EnumDescriptor, number: int) -> str:
    """The JSON word for an enum's number: "llama_cpp" for `BACKEND_LLAMA_CPP`.

    The zero value is "unspecified". A number that the enum does not have, such as one
    from a newer peer, becomes its digits.
    """
    return _words_by_number(enum).get(number) or str(number)


@cache
def _words_by_number(enum: EnumDescriptor) -> dict[int, str]:
    return {0: "unspecified"} | {number: word for word, number in enum_words(enum).items()}


@cache
def enum_words(enum: EnumDescriptor) -> dict[str, int]:
    """The enum's JSON words with their numbers, in the order of the .proto file.

    `BACKEND_LLAMA_CPP` is "llama_cpp". The zero value, whose name ends in
    `_UNSPECIFIED`, has no word: in JSON it is null.
    """
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {
        value.name.removeprefix(prefix).lower(): value.number
        for value in enum.values
        if value.number != 0
    }


def is_map(field: FieldDescriptor) -> bool:
    """Whether the field is a map, which a descriptor holds as repeated entries."""
    entry = field.message_type
    return field.is_repeated and entry is not None and entry.GetOptions().map_entry


def is_secret(field: FieldDescriptor) -> bool:
    """Whether the field's value must never be shown (`debug_redact` in its options)."""
    return bool(field.GetOptions().debug_redact)


# protoc's stubs type an extension as a plain descriptor, which mypy rejects as a key.
_FIELD_RULES: Final[Any] = validate_pb2.field
_MESSAGE_RULES: Final[Any] = validate_pb2.message


def field_rules(field: FieldDescriptor) -> validate_pb2.FieldRules:
    """The field's rules; empty if it has none."""
    return cast(validate_pb2.FieldRules, field.GetOptions().Extensions[_FIELD_RULES])


def message_rules(message: Descriptor) -> validate_pb2.MessageRules:
    """The message's own rules, which compare fields with each other."""
    return cast(validate_pb2.MessageRules, message.GetOptions().Extensions[_MESSAGE_RULES])

"""What every part of the JSON dialect shares: names, paths, cut texts, the rules of a field."""

import json
from functools import cache
from typing import Any, Final, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration

from buf.validate import validate_pb2

MAX_VALUE_CHARS: Final = 50
"""How many characters of a value or of a map's key an error shows."""

MAX_VIOLATIONS: Final = 64
"""How many violations of one message are reported.

A frame of 64 KiB holds 32,000 wrong items; a reply must not be fifty times as long
as the frame.
"""

TIMESTAMP: Final = "google.protobuf.Timestamp"
DURATION: Final = "google.protobuf.Duration"
FIELD_MASK: Final = "google.protobuf.FieldMask"


def cut(text: str) -> str:
    """The text as a caller may see it: 50 characters and "..." where it is longer.

    A lone surrogate, which no JSON reply can carry, is shown as its escape.
    """
    if len(text) > MAX_VALUE_CHARS:
        text = text[:MAX_VALUE_CHARS] + "..."
    return text.encode("utf-8", "backslashreplace").decode()


def shown(value: object) -> str | None:
    """A scalar as a caller may see it; None for null and for what holds other values."""
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
    """The JSON name of the value's type, as in the details of a violation."""
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
    """The word of an enum's number: "llama_cpp" for `BACKEND_LLAMA_CPP`.

    The zero value is "unspecified". A number that the enum does not have, as from a
    newer peer, is its digits.
    """
    return _words_by_number(enum).get(number) or str(number)


@cache
def _words_by_number(enum: EnumDescriptor) -> dict[int, str]:
    return {0: "unspecified"} | {number: word for word, number in enum_words(enum).items()}


@cache
def enum_words(enum: EnumDescriptor) -> dict[str, int]:
    """The enum's words in JSON, in the order of the .proto file, with their numbers.

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


# protoc's stubs give an extension as a plain descriptor, which mypy takes for no key.
_FIELD_RULES: Final[Any] = validate_pb2.field
_MESSAGE_RULES: Final[Any] = validate_pb2.message


def field_rules(field: FieldDescriptor) -> validate_pb2.FieldRules:
    """The field's rules; empty ones where it has none."""
    return cast(validate_pb2.FieldRules, field.GetOptions().Extensions[_FIELD_RULES])


def message_rules(message: Descriptor) -> validate_pb2.MessageRules:
    """The message's own rules, those that compare fields."""
    return cast(validate_pb2.MessageRules, message.GetOptions().Extensions[_MESSAGE_RULES])

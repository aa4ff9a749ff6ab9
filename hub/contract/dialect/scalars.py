"""Converters of single JSON values: scalars, enums and the well-known types.

They record violations in a `Decoded`, the outcome of decoding one message.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, Generic, TypeVar, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from hub.contract.dialect.names import MAX_VIOLATIONS, cut, json_type, shown
from hub.contract.errors import FieldViolation

M = TypeVar("M", bound=Message)


class Decoded(Generic[M]):
    """A decoded message and the violations found in its JSON.

    A field with a violation is unset in `message`; an invalid list item has the default
    value. `unknown_fields` counts the unknown keys, at any depth. Converters write into
    one object per message, which keeps allocations off the hot path.
    """

    __slots__ = ("message", "unknown_fields", "violations")
    message: M
    is_valid = False
    """Decoding finds only some violations; see `hub.contract.validation`."""

    def __init__(self) -> None:
        self.violations: list[FieldViolation] = []
        self.unknown_fields = 0

    def add(self, path: str, error: str, detail: str, value: str | None = None) -> None:
        """Records a violation, unless too many are recorded already."""
        if len(self.violations) < MAX_VIOLATIONS:
            self.violations.append(FieldViolation(path, error, detail, value))

    def add_wrong_type(self, path: str, expected: str, value: object, *, show: bool = True) -> None:
        """Records that a value is not of the expected JSON type."""
        detail = f"expected {expected}, got {json_type(value)}"
        self.add(path, "wrong_type", detail, shown(value) if show else None)

    def add_out_of_range(self, path: str, value: object, low: int, high: int) -> None:
        """Records that a number is outside a range."""
        self.add(path, "out_of_range", f"must be between {low} and {high}", shown(value))

    def move_below(self, prefix: str, first: int) -> None:
        """Prepends `prefix` to the paths of the violations from index `first` on.

        Converters build paths only for violations, so they cost nothing for a valid
        message.
        """
        for index in range(first, len(self.violations)):
            violation = self.violations[index]
            separator = "" if violation.field[:1] in ("", "[") else "."
            path = f"{prefix}{separator}{violation.field}"
            self.violations[index] = replace(violation, field=path)


# A converter returns a value for the message's constructor, or None after recording a
# violation. The violation's path is relative to its own field ("" for the field itself).
Native = str | int | float | list["Native"] | dict[str, "Native"]
Converter = Callable[[object, Decoded[Any]], Native | None]

MIN_TIMESTAMP_MS: Final = -62_135_596_800_000
MAX_TIMESTAMP_MS: Final = 253_402_300_799_999
"""The years 1 to 9999, the range of google.protobuf.Timestamp."""

MAX_DURATION_MS: Final = 315_576_000_000_000
"""About 10,000 years, the range of google.protobuf.Duration."""

MAX_DOUBLE_BITS: Final = 1024
"""An integer of fewer bits converts to a double, perhaps inexactly."""

NOT_UNICODE: Final = "is not valid Unicode text"

INTEGER_RANGES: Final = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def string_converter(path: str, *, show: bool) -> Converter:
    """Accepts text that UTF-8 can encode; unless `show`, violations hide the value."""

    def convert(value: object, out: Decoded[Any]) -> Native | None:
        if type(value) is not str:
            out.add_wrong_type(path, "string", value, show=show)
            return None
        # isascii only reads a flag of the string; encoding the string costs ten times as much.
        if value.isascii() or is_text(value):
            return value
        out.add(path, "invalid", NOT_UNICODE, cut(value) if show else None)
        return None

    return convert


def bool_converter(path: str) -> Converter:
    """Accepts true and false."""

    def convert(value: object, out: Decoded[Any]) -> Native | None:
        if value is True or value is False:
            return value
        out.add_wrong_type(path, "boolean", value)
        return None

    return convert


def double_converter(path: str) -> Converter:
    """Accepts every number; an integer may lose precision, as usual in JSON."""

    def convert(value: object, out: Decoded[Any]) -> Native | None:
        if type(value) is float:
            return value
        if type(value) is not int:
            out.add_wrong_type(path, "number", value)
            return None
        if value.bit_length() < MAX_DOUBLE_BITS:
            return value
        out.add(path, "out_of_range", "is too large for a number")
        return None

    return convert


def integer_converter(path: str, low: int, high: int) -> Converter:
    """Accepts integers from `low` to `high`, but not a float such as 5.0."""

    def convert(value: object, out: Decoded[Any]) -> Native | None:
        if type(value) is int and low <= value <= high:
            return value
        _add_not_in_range(out, path, value, low, high)
        return None

    return convert


def timestamp_converter(path: str) -> Converter:
    """Accepts integer milliseconds since the Unix epoch."""

    def convert(value: object, out: Decoded[Any]) -> Native | None:
        if type(value) is int and MIN_TIMESTAMP_MS <= value <= MAX_TIMESTAMP_MS:
            return {"seconds": value // 1000, "nanos": value % 1000 * 1_000_000}
        _add_not_in_range(out, path, value, MIN_TIMESTAMP_MS, MAX_TIMESTAMP_MS)
        return None

    return convert


def duration_converter(path: str) -> Converter:
    """Accepts milliseconds, which may be fractional."""

    def convert(value: object, out: Decoded[Any]) -> Native | None:
        if type(value) is not int and type(value) is not float:
            out.add_wrong_type(path, "number", value)
            return None
        if not -MAX_DURATION_MS <= value <= MAX_DURATION_MS:
            out.add_out_of_range(path, value, -MAX_DURATION_MS, MAX_DURATION_MS)
            return None
        # Both parts carry the sign: google/protobuf/duration.proto.
        sign = -1 if value < 0 else 1
        seconds, nanos = divmod(round(abs(value) * 1_000_000), 1_000_000_000)
        return {"seconds": sign * seconds, "nanos": sign * nanos}

    return convert


def field_mask_converter(path: str) -> Converter:
    """Accepts a list of paths."""
    convert_path = string_converter("", show=True)

    def convert(value: object, out: Decoded[Any]) -> Native | None:
        if type(value) is not list:
            out.add_wrong_type(path, "array", value)
            return None
        paths: list[Native] = []
        for index, item in enumerate(value):
            first = len(out.violations)
            native = convert_path(item, out)
            if native is not None:
                paths.append(native)
            if len(out.violations) > first:
                out.move_below(f"{path}[{index}]", first)
        return {"paths": paths}

    return convert


def enum_converter(words: Mapping[str, int], path: str) -> Converter:
    """Accepts one of the words."""
    detail = f"must be one of: {', '.join(words)}"

    def convert(value: object, out: Decoded[Any]) -> Native | None:
        if type(value) is not str:
            out.add_wrong_type(path, "string", value)
            return None
        number = words.get(value)
        if number is None:
            out.add(path, "invalid", detail, cut(value))
        return number

    return convert


def is_text(value: str) -> bool:
    """Whether UTF-8 can encode the string: JSON may escape lone surrogates, proto3 may not."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _add_not_in_range(out: Decoded[Any], path: str, value: object, low: int, high: int) -> None:
    # orjson parses an integer literal beyond 64 bits as a float. A literal just below the
    # range of int64 is rounded to the lowest number of the range.
    whole = type(value) is int or (type(value) is float and value.is_integer())
    number = cast(float, value)
    if whole and (not low <= number <= high or number <= -(2**63)):
        out.add_out_of_range(path, value, low, high)
    else:
        out.add_wrong_type(path, "integer", value)

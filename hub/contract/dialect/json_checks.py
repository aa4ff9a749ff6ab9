"""Compiles the rules of a message into one check of its JSON.

Most reports are valid and are replaced by the next one before anybody reads them. The check
finds such a report valid without making the message. It has the same source as all other
checks: the rules in the message's descriptor, compiled by `hub.contract.rules`.

A check only accepts. It returns True for an object that certainly decodes without a violation
and without an unknown field into a valid message. All others must be decoded and validated.
"""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from buf.validate import validate_pb2
from hub.contract.dialect.names import TIMESTAMP, field_rules, is_map, message_rules
from hub.contract.dialect.scalars import (
    INTEGER_RANGES,
    MAX_TIMESTAMP_MS,
    MIN_TIMESTAMP_MS,
    is_text,
)
from hub.contract.rules.value_checks import Bounds, Check, NotCompiled, limits, value_check

JsonCheck = Callable[[Mapping[str, Any]], bool]
"""Whether a JSON object, as orjson parses it, is certainly a valid message."""

_NONE_KNOWN: Final[frozenset[str]] = frozenset()
_DOUBLES: Final = frozenset((float, int))
_INTEGERS: Final = frozenset((int,))


class _Number(NamedTuple):
    """The JSON types of a number, as orjson parses them, and its bounds."""

    types: frozenset[type]
    low: float
    high: float


def compile_json_check(
    descriptor: Descriptor, ignore: frozenset[str] = frozenset()
) -> JsonCheck | None:
    """The check of a message's JSON; None if the message has a rule that it cannot check.

    Keys in `ignore`, such as a frame's "type", may have any value.
    """
    try:
        return _compile(descriptor, ignore)
    except NotCompiled:
        return None


def _compile(descriptor: Descriptor, ignore: frozenset[str]) -> JsonCheck:
    limits(message_rules(descriptor), _NONE_KNOWN)
    for oneof in descriptor.oneofs:
        if len(oneof.fields) > 1 or oneof.GetOptions().ByteSize():
            raise NotCompiled(f"the oneof {oneof.full_name}")
    numbers: dict[str, _Number] = {}
    others: dict[str, Check] = dict.fromkeys(ignore, _always)
    for field in descriptor.fields:
        check = _field_check(field)
        if isinstance(check, _Number):
            numbers[field.name] = check
        else:
            others[field.name] = check

    def accepts(value: Mapping[str, Any]) -> bool:
        for name, item in value.items():
            number = numbers.get(name)
            if number is not None:
                if item is None:
                    continue
                types, low, high = number
                if type(item) not in types or not low <= item <= high:
                    return False
            else:
                check = others.get(name)
                if check is None or not (item is None or check(item)):
                    return False
        return True

    return accepts


def _always(_value: object) -> bool:
    return True


def _field_check(field: FieldDescriptor) -> "Check | _Number":
    rules = field_rules(field)
    if rules.required or is_map(field):
        raise NotCompiled(f"{field.full_name} is required or a map")
    if field.is_repeated:
        return _list_check(field, rules)
    by_rules = _rules_check(field, rules)
    if by_rules is not None and not field.has_presence and not by_rules(field.default_value):
        raise NotCompiled(f"{field.full_name} must be set")
    return _json_value_check(field, by_rules)


def _list_check(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> Check:
    limits(rules, frozenset({"repeated"}))
    of_list = limits(rules.repeated, frozenset({"max_items", "items"}))
    most = of_list.get("max_items")
    items = rules.repeated.items
    if most is None or items.required:
        raise NotCompiled(f"{field.full_name} without a maximum or with required items")
    item_check = _json_value_check(field, _rules_check(field, items))
    if isinstance(item_check, _Number):
        types, low, high = item_check
        return lambda value: (
            type(value) is list
            and len(value) <= most
            and all(type(item) in types and low <= item <= high for item in value)
        )
    return lambda value: type(value) is list and len(value) <= most and all(map(item_check, value))


def _rules_check(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> Check | None:
    if field.message_type is None:
        return value_check(field, rules)
    # A message has rules of its own; the field must not add any.
    limits(rules, _NONE_KNOWN)
    return None


def _json_value_check(field: FieldDescriptor, by_rules: Check | None) -> "Check | _Number":
    """The check of one JSON value that is not null."""
    if field.message_type is not None:
        return _message_check(field.message_type)
    if field.type == FieldDescriptor.TYPE_STRING:
        return _string_check(by_rules or _always)
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        # A JSON number cannot be infinite, and converting an integer to a double keeps it
        # within bounds that are doubles.
        return _number(_DOUBLES, -inf, inf, by_rules)
    if field.enum_type is None and field.cpp_type in INTEGER_RANGES:
        return _number(_INTEGERS, *INTEGER_RANGES[field.cpp_type], by_rules)
    raise NotCompiled(f"{field.full_name} has another type")


def _number(types: frozenset[type], low: float, high: float, by_rules: Check | None) -> _Number:
    if by_rules is None:
        return _Number(types, low, high)
    if not isinstance(by_rules, Bounds):
        raise NotCompiled("a number with other rules than bounds")
    return _Number(types, max(low, by_rules.low), min(high, by_rules.high))


def _string_check(by_rules: Check) -> Check:
    return lambda value: (
        type(value) is str and (value.isascii() or is_text(value)) and by_rules(value)
    )


def _message_check(descriptor: Descriptor) -> Check:
    if descriptor.full_name == TIMESTAMP:
        return lambda value: type(value) is int and MIN_TIMESTAMP_MS <= value <= MAX_TIMESTAMP_MS
    if descriptor.full_name.startswith("google.protobuf."):
        raise NotCompiled(f"the well-known type {descriptor.full_name}")
    accepts = _compile(descriptor, _NONE_KNOWN)
    check: Callable[[Any], bool] = lambda value: type(value) is dict and accepts(value)  # noqa: E731
    return check

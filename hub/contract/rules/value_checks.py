"""Compiles the rules of a field into a check of one of its values.

It supports only the kinds of rules that the contract uses, and only if Python and
protovalidate agree on their meaning. All others raise `NotCompiled`, and protovalidate
checks them.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Final, cast

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from buf.validate.validate_pb2 import FieldRules
from hub.contract.rules.patterns import matcher

Check = Callable[[Any], bool]
"""Returns whether a value is certainly valid. The argument has the type of the field."""


class NotCompiled(Exception):
    """The rule cannot be compiled; only protovalidate can check it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The inclusive bounds of a number."""

    low: float
    high: float

    def __call__(self, value: float) -> bool:
        """Whether the number is within the bounds; False for NaN."""
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class MaxLength:
    """The maximum length of a text in characters."""

    limit: int

    def __call__(self, value: str) -> bool:
        """Whether the text is short enough."""
        return len(value) <= self.limit


def limits(rules: Message, known: frozenset[str]) -> dict[str, Any]:
    """The rules that are set, by name.

    Raises NotCompiled if one of them is not in `known`, such as a rule of an extension or
    of a later version of buf.validate.
    """
    found = {_name(rule): limit for rule, limit in rules.ListFields()}
    if not found.keys() <= known or len(UnknownFieldSet(rules)):
        raise NotCompiled(f"{rules.DESCRIPTOR.name}: {', '.join(sorted(found.keys() - known))}")
    return found


def _name(rule: FieldDescriptor) -> str:
    return rule.full_name if rule.is_extension else rule.name


def value_check(field: FieldDescriptor, rules: FieldRules) -> Check | None:
    """The check of a single value of the field; None if it has no rules except `required`.

    Repeated fields and maps use it for each item, key or value.
    Raises NotCompiled.
    """
    found = limits(rules, _KNOWN)
    found.pop("required", None)
    if not found:
        return None
    ((kind, typed),) = found.items()
    type_, compile_ = _BY_KIND[kind]
    # Such a rule may also apply to the number in a wrapper message.
    if field.type != type_:
        raise NotCompiled(f"{kind} rules on a field of another type")
    return compile_(field, typed)


def _integer(_field: FieldDescriptor, rules: Message) -> Check:
    found = limits(rules, frozenset({"gte", "lte"}))
    return _bounds(found.get("gte", -(2**63)), found.get("lte", 2**64 - 1))


def _double(_field: FieldDescriptor, rules: Message) -> Check:
    found = limits(rules, frozenset({"gte", "lte", "finite"}))
    largest = sys.float_info.max if found.get("finite") else inf
    return _bounds(max(found.get("gte", -inf), -largest), min(found.get("lte", inf), largest))


def _bounds(low: float, high: float) -> Bounds:
    # In protovalidate, a lower bound above the upper one excludes the range between them.
    if not low <= high:
        raise NotCompiled("bounds in reverse order")
    return Bounds(low, high)


def _duration(_field: FieldDescriptor, rules: Message) -> Check:
    found = limits(rules, frozenset({"gt", "gte", "lte"}))
    if "lte" not in found or ("gt" in found) == ("gte" in found):
        raise NotCompiled("a duration without both bounds")
    # protovalidate itself fails for a longer duration, so both bounds are required.
    low = _nanoseconds(found["gt"]) + 1 if "gt" in found else _nanoseconds(found["gte"])
    bounds = _bounds(low, _nanoseconds(found["lte"]))
    return lambda value: bounds(_nanoseconds(value))


def _nanoseconds(duration: Any) -> int:
    nanoseconds: int = duration.seconds * 10**9 + duration.nanos
    return nanoseconds


def _enum(field: FieldDescriptor, rules: Message) -> Check:
    if not limits(rules, frozenset({"defined_only"})).get("defined_only"):
        raise NotCompiled("an enum that allows undefined numbers")
    numbers = cast(EnumDescriptor, field.enum_type).values_by_number
    low, high = min(numbers), max(numbers)
    if len(numbers) == high - low + 1:
        return Bounds(low, high)
    return frozenset(numbers).__contains__


def _string(_field: FieldDescriptor, rules: Message) -> Check:
    found = limits(rules, frozenset({"min_len", "max_len", "pattern", "in"}))
    if found.keys() == {"in"}:
        return frozenset(found["in"]).__contains__
    # An unlimited text could be too long for a backtracking engine or for memory.
    if "in" in found or "max_len" not in found:
        raise NotCompiled("a text without a limit")
    low, high = found.get("min_len", 0), found["max_len"]
    if found.keys() == {"max_len"}:
        return MaxLength(high)
    if "pattern" not in found:
        return lambda value: low <= len(value) <= high
    search = matcher(found["pattern"])
    if search is None:
        raise NotCompiled(f"the pattern {found['pattern']}")
    return lambda value: low <= len(value) <= high and bool(search(value))


_BY_KIND: Final[Mapping[str, tuple[int, Callable[[FieldDescriptor, Message], Check]]]] = {
    "int32": (FieldDescriptor.TYPE_INT32, _integer),
    "int64": (FieldDescriptor.TYPE_INT64, _integer),
    "uint32": (FieldDescriptor.TYPE_UINT32, _integer),
    "double": (FieldDescriptor.TYPE_DOUBLE, _double),
    "duration": (FieldDescriptor.TYPE_MESSAGE, _duration),
    "enum": (FieldDescriptor.TYPE_ENUM, _enum),
    "string": (FieldDescriptor.TYPE_STRING, _string),
}
_KNOWN: Final = frozenset(_BY_KIND) | {"required"}

"""The rules beside a field as a check of one of its values.

Only the kinds of rules that stand in the contract, and only where they mean the same to
Python as to protovalidate. For all others `NotCompiled` is raised, and protovalidate
judges.
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
"""Whether a value is surely valid. What a field holds is for its own check to know."""


class NotCompiled(Exception):
    """A rule that only protovalidate judges."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """A number's bounds; both belong to the range."""

    low: float
    high: float

    def __call__(self, value: float) -> bool:
        """Whether the number is in the range; NaN is in none."""
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class MaxLength:
    """How many characters a text may have."""

    limit: int

    def __call__(self, value: str) -> bool:
        """Whether the text is short enough."""
        return len(value) <= self.limit


def limits(rules: Message, known: frozenset[str]) -> dict[str, Any]:
    """The rules that are set, by name.

    Raises NotCompiled where one is not known. A rule of an extension, or of a later
    version of buf.validate, is not.
    """
    found = {_name(rule): limit for rule, limit in rules.ListFields()}
    if not found.keys() <= known or len(UnknownFieldSet(rules)):
        raise NotCompiled(f"{rules.DESCRIPTOR.name}: {', '.join(sorted(found.keys() - known))}")
    return found


def _name(rule: FieldDescriptor) -> str:
    return rule.full_name if rule.is_extension else rule.name


def value_check(field: FieldDescriptor, rules: FieldRules) -> Check | None:
    """The check of a value of the field; None where there are no rules but `required`.

    The value is a single one: an item of a repeated field, a key or a value of a map.
    Raises NotCompiled.
    """
    found = limits(rules, _KNOWN)
    found.pop("required", None)
    if not found:
        return None
    ((kind, typed),) = found.items()
    type_, compile_ = _BY_KIND[kind]
    # A rule may also speak of the number in a wrapper message.
    if field.type != type_:
        raise NotCompiled(f"{kind} rules of a field of another type")
    return compile_(field, typed)


def _integer(_field: FieldDescriptor, rules: Message) -> Check:
    found = limits(rules, frozenset({"gte", "lte"}))
    return _bounds(found.get("gte", -(2**63)), found.get("lte", 2**64 - 1))


def _double(_field: FieldDescriptor, rules: Message) -> Check:
    found = limits(rules, frozenset({"gte", "lte", "finite"}))
    largest = sys.float_info.max if found.get("finite") else inf
    return _bounds(max(found.get("gte", -inf), -largest), min(found.get("lte", inf), largest))


def _bounds(low: float, high: float) -> Bounds:
    # A lower bound above the upper one means what is outside of them.
    if not low <= high:
        raise NotCompiled("bounds in turned order")
    return Bounds(low, high)


def _duration(_field: FieldDescriptor, rules: Message) -> Check:
    found = limits(rules, frozenset({"gt", "gte", "lte"}))
    if "lte" not in found or ("gt" in found) == ("gte" in found):
        raise NotCompiled("a duration without both bounds")
    # Of a longer one protovalidate itself makes an error.
    low = _nanoseconds(found["gt"]) + 1 if "gt" in found else _nanoseconds(found["gte"])
    bounds = _bounds(low, _nanoseconds(found["lte"]))
    return lambda value: bounds(_nanoseconds(value))


def _nanoseconds(duration: Any) -> int:
    nanoseconds: int = duration.seconds * 10**9 + duration.nanos
    return nanoseconds


def _enum(field: FieldDescriptor, rules: Message) -> Check:
    if not limits(rules, frozenset({"defined_only"})).get("defined_only"):
        raise NotCompiled("an enum with numbers of its own")
    numbers = cast(EnumDescriptor, field.enum_type).values_by_number
    low, high = min(numbers), max(numbers)
    if len(numbers) == high - low + 1:
        return Bounds(low, high)
    return frozenset(numbers).__contains__


def _string(_field: FieldDescriptor, rules: Message) -> Check:
    found = limits(rules, frozenset({"min_len", "max_len", "pattern", "in"}))
    if found.keys() == {"in"}:
        return frozenset(found["in"]).__contains__
    # Without a limit a text is too long for a backtracking engine, or for memory.
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

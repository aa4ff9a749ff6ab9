"""Compiles all rules of a message into one check.

A check returns True for a message that is certainly valid. For all others protovalidate
decides, so a check never has to explain what is wrong. A message with a rule that cannot
be compiled goes to protovalidate each time. The exception is a rule that depends only on
one text field: the texts that protovalidate accepted there are remembered.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from buf.validate import validate_pb2
from hub.contract.dialect.names import field_rules, is_map, is_secret, message_rules
from hub.contract.rules.value_checks import (
    Bounds,
    Check,
    MaxLength,
    NotCompiled,
    limits,
    value_check,
)

_NONE_KNOWN: Final[frozenset[str]] = frozenset()
# The stubs type an extension as a plain descriptor, which mypy does not accept as a key.
_ONEOF_RULES: Final[Any] = validate_pb2.oneof


class AcceptedTexts:
    """The latest short texts of one field that protovalidate accepted."""

    MAX_TEXTS: Final = 4096
    MAX_CHARS: Final = 256

    def __init__(self, field: str) -> None:
        self.field = field
        self._texts: OrderedDict[str, None] = OrderedDict()

    def has(self, message: Message) -> bool:
        """Whether the message's text has been accepted before."""
        return getattr(message, self.field) in self._texts

    def add(self, message: Message) -> None:
        """Remembers the text of a message that protovalidate accepted."""
        text = getattr(message, self.field)
        if len(text) > self.MAX_CHARS:
            return
        self._texts[text] = None
        if len(self._texts) > self.MAX_TEXTS:
            self._texts.popitem(last=False)


class MessageChecks:
    """The checks of all messages of the contract, each compiled on first use."""

    def __init__(self, ask: Check) -> None:
        """`ask` runs protovalidate on a message and returns whether it is valid."""
        self._ask = ask
        self._compiled: dict[Descriptor, Check | None] = {}

    def of(self, descriptor: Descriptor) -> Check:
        """The check of messages of this type."""
        return self._of(descriptor) or _always

    def _of(self, descriptor: Descriptor) -> Check | None:
        """The check, or None if all messages of this type are valid."""
        if descriptor not in self._compiled:
            # The result for a type that contains itself, and for one that cannot be compiled.
            self._compiled[descriptor] = self._ask
            with suppress(NotCompiled):
                self._compiled[descriptor] = self._compile(descriptor)
        return self._compiled[descriptor]

    def _compile(self, descriptor: Descriptor) -> Check | None:
        limits(message_rules(descriptor), _NONE_KNOWN)
        parts = _Parts([], [], [], [], [])
        remembered = []
        for field in descriptor.fields:
            try:
                self._add(parts, field)
            except NotCompiled:
                if not _depends_only_on_text(field):
                    raise
                remembered.append(AcceptedTexts(field.name))
        for oneof in descriptor.oneofs:
            rules = oneof.GetOptions().Extensions[_ONEOF_RULES]
            if limits(rules, frozenset({"required"})).get("required"):
                parts.oneofs.append(oneof.name)
        check = _all_of(parts) if any(parts) else None
        return self._or_ask(check or _always, remembered) if remembered else check

    def _add(self, parts: "_Parts", field: FieldDescriptor) -> None:
        rules = field_rules(field)
        if is_map(field):
            check = self._map_check(field, rules)
        elif field.is_repeated:
            check = self._repeated_check(field, rules)
        else:
            check = self._value_check(field, rules)
        if rules.required and field.has_presence:
            parts.when_set.append((field.name, check or _always, True))
        elif rules.required:
            parts.values.append((field.name, _required_and(check)))
        elif check is None:
            return
        elif _applies_only_if_set(field, check):
            parts.when_set.append((field.name, check, False))
        elif isinstance(check, Bounds):
            parts.bounds.append((field.name, check.low, check.high))
        elif isinstance(check, MaxLength):
            parts.lengths.append((field.name, check.limit))
        else:
            parts.values.append((field.name, check))

    def _value_check(self, field: FieldDescriptor, rules: validate_pb2.FieldRules) -> Check | None:
        by_rules = value_check(field, rules)
        within = self._of(field.message_type) if field.message_type is not None else None
        if by_rules is None or within is None:
            return by_rules or within
        return lambda value: by_rules(value) and within(value)

    def _repeated_check(
        self, field: FieldDescriptor, rules: validate_pb2.FieldRules
    ) -> Check | None:
        limits(rules, frozenset({"required", "repeated"}))
        of_list = limits(rules.repeated, frozenset({"min_items", "max_items", "items"}))
        item = self._value_check(field, rules.repeated.items)
        _refuse_required(rules.repeated.items)
        if not of_list and item is None:
            return None
        least, most = of_list.get("min_items", 0), of_list.get("max_items", 2**31)
        if item is None:
            return lambda items: least <= len(items) <= most

        def holds(items: Any) -> bool:
            count = len(items)
            # Iterating even over an empty list takes longer than checking its length.
            return least <= count <= most and (not count or all(map(item, items)))

        return holds

    def _map_check(self, field: FieldDescriptor, rules: validate_pb2.FieldRules) -> Check | None:
        limits(rules, frozenset({"required", "map"}))
        of_map = limits(rules.map, frozenset({"max_pairs", "keys", "values"}))
        entry = cast(Descriptor, field.message_type).fields_by_name
        key = self._value_check(entry["key"], rules.map.keys)
        value = self._value_check(entry["value"], rules.map.values)
        _refuse_required(rules.map.keys)
        _refuse_required(rules.map.values)
        if not of_map and value is None:
            return None
        most = of_map.get("max_pairs", 2**31)
        key, value = key or _always, value or _always

        def holds(pairs: Any) -> bool:
            count = len(pairs)
            return not count or (
                count <= most and all(key(name) and value(pairs[name]) for name in pairs)
            )

        return holds

    def _or_ask(self, check: Check, remembered: list[AcceptedTexts]) -> Check:
        """The check if all texts are known; otherwise protovalidate checks the whole message."""
        ask = self._ask

        def accepts(message: Message) -> bool:
            for texts in remembered:
                if not texts.has(message):
                    break
            else:
                return check(message)
            if not ask(message):
                return False
            for texts in remembered:
                texts.add(message)
            return True

        return accepts


class _Parts(NamedTuple):
    """The parts of a message's check. Each part names a field.

    Most fields are numbers or short texts, whose checks need no function call.
    """

    bounds: list[tuple[str, float, float]]
    lengths: list[tuple[str, int]]
    values: list[tuple[str, Check]]
    when_set: list[tuple[str, Check, bool]]
    """Field, check, and whether the field must be set."""
    oneofs: list[str]


def _all_of(parts: _Parts) -> Callable[[Message], bool]:
    bounds, lengths, values, when_set, oneofs = parts

    def accepts(message: Message) -> bool:
        for name, low, high in bounds:
            if not low <= getattr(message, name) <= high:
                return False
        for name, limit in lengths:
            if len(getattr(message, name)) > limit:
                return False
        for name, check in values:
            if not check(getattr(message, name)):
                return False
        for name, check, required in when_set:
            if message.HasField(name):
                if not check(getattr(message, name)):
                    return False
            elif required:
                return False
        return not oneofs or all(message.WhichOneof(name) is not None for name in oneofs)

    return accepts


def _always(_value: Any) -> bool:
    return True


def _applies_only_if_set(field: FieldDescriptor, check: Check) -> bool:
    """Whether the check may run only if the field is set, because an unset one would fail."""
    if field.is_repeated:
        return False
    return field.message_type is not None or (field.has_presence and not check(field.default_value))


def _required_and(check: Check | None) -> Check:
    """Adds `required` to a check: a field without presence is set if it is not zero or empty."""
    if check is None:
        return bool
    return lambda value: bool(value) and check(value)


def _refuse_required(rules: validate_pb2.FieldRules) -> None:
    if rules.required:
        raise NotCompiled("a required item, key or value")


def _depends_only_on_text(field: FieldDescriptor) -> bool:
    """Whether the field's rules give the same result each time for the same text.

    Secrets are never remembered. If a field has presence, its text does not show whether
    it is set. An expression with `now` depends on the time.
    """
    rules = field_rules(field)
    expressions = [*rules.cel_expression, *(rule.expression for rule in rules.cel)]
    return (
        field.type == FieldDescriptor.TYPE_STRING
        and not field.is_repeated
        and not field.has_presence
        and not is_secret(field)
        and not any("now" in expression for expression in expressions)
    )

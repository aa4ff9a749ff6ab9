"""Messages of every type of the contract, with protovalidate as the judge of the compiled rules.

The JSON of messages is judged too, of those types whose JSON can be checked unread.

`python -m tests.support.validation_fuzz COUNT [FIRST_SEED]` judges that many; a seed where
the two differ is printed, and makes the same message again anywhere.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from math import inf, nan
from random import Random

import orjson
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from protovalidate import Validator

from hub.contract.dialect.decode import Decoder, compile_decoder
from hub.contract.dialect.encode import to_sparse_json
from hub.contract.dialect.json_checks import JsonCheck, compile_json_check
from hub.contract.dialect.names import field_rules, is_map
from hub.contract.rules.message_checks import MessageChecks
from tests.support.dialect import message_classes

_VALIDATOR = Validator()
_INTEGERS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}
_TEXTS = (
    *("", "a", "A-1", "a b", "a\n", "\n", "\t", "\x7f", "\x85", "ü", "\U0001f600", "\0", "a/b.c_d"),
    *("-a", "a-", "é", "/", "/ollama", "/a/", "/a//b", "/.", "/..", "/...", "/.a/..b", "/ollama\n"),
    *("10.0.0.1", "127.1", "::1", "[::1]", "fe80::1%eth0", "example.com", "h/x", "h:1", "_h", "h."),
    *("http", "https", "ftp", "x" * 63, "!~", "\x20", "\x1f", "\x80", "\x9f", "\xa0"),
)


def ask(message: Message) -> bool:
    """What protovalidate says."""
    return not _VALIDATOR.collect_violations(message, fail_fast=True)


def compiled() -> MessageChecks:
    """The rules, compiled now."""
    return MessageChecks(ask)


@cache
def types() -> tuple[type[Message], ...]:
    """Every message of the contract, also those that are only parts of others."""
    found: dict[str, Descriptor] = {}

    def add(descriptor: Descriptor) -> None:
        if descriptor.full_name in found:
            return
        found[descriptor.full_name] = descriptor
        for field in descriptor.fields:
            if field.message_type is not None:
                add(field.message_type)

    for message_class in message_classes(responses=True):
        add(message_class.DESCRIPTOR)
    return tuple(
        message_factory.GetMessageClass(found[name])
        for name in sorted(found)
        if not found[name].GetOptions().map_entry
    )


class _Field:
    """A field of the contract, and values at the edges of what its rules allow."""

    def __init__(self, message_class: type[Message], field: FieldDescriptor) -> None:
        rules = field_rules(field)
        self.name = field.name
        self.required = rules.required
        self.is_map = is_map(field)
        self.repeated = field.is_repeated and not self.is_map
        self.most = rules.map.max_pairs or rules.repeated.max_items or 3
        self.key_texts = _values(_entry(field, "key"), rules.map.keys) if self.is_map else []
        item = _entry(field, "value") if self.is_map else field
        item_rules = (
            rules.map.values if self.is_map else rules.repeated.items if self.repeated else rules
        )
        self.message_type = None
        if item.message_type is not None and not _is_well_known(item.message_type):
            self.message_type = message_factory.GetMessageClass(item.message_type)
        self.good: list = []
        self.bad: list = []
        for value in [] if self.message_type else _values(item, item_rules):
            alone = message_class()
            self.set(alone, [value], {"k": value})
            wrong = any(
                each.proto.field is not None
                and each.proto.field.elements[0].field_name == self.name
                and each.proto.rule_id not in {"repeated.min_items", "required"}
                for each in _VALIDATOR.collect_violations(alone)
            )
            (self.bad if wrong else self.good).append(value)

    def set(self, message: Message, values: list, pairs: dict) -> None:
        """Sets the field to the values, the pairs, or the first of the values."""
        if self.is_map:
            target = getattr(message, self.name)
            for key, value in pairs.items():
                if isinstance(value, Message):
                    target[key].CopyFrom(value)
                else:
                    target[key] = value
        elif self.repeated:
            getattr(message, self.name).extend(values)
        elif isinstance(values[0], Message):
            getattr(message, self.name).CopyFrom(values[0])
        else:
            setattr(message, self.name, values[0])


def _entry(field: FieldDescriptor, part: str) -> FieldDescriptor:
    return field.message_type.fields_by_name[part]


def _is_well_known(descriptor: Descriptor) -> bool:
    return descriptor.full_name.startswith("google.protobuf.")


def _values(field: FieldDescriptor, rules) -> list:
    """Values of the field's type: usual ones, odd ones, and those beside the limits."""
    limits = [
        limit
        for kind, typed in rules.ListFields()
        if kind.message_type is not None and kind.containing_oneof is not None
        for rule, limit in typed.ListFields()
        if rule.type != FieldDescriptor.TYPE_BOOL
    ]
    if field.enum_type is not None:
        numbers = [value.number for value in field.enum_type.values]
        return [*numbers, max(numbers) + 1, -1, 2**31 - 1]
    if field.message_type is not None:
        return _well_known_values(field.message_type, limits)
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            lengths = {n + d for n in limits if type(n) is int for d in (-1, 0, 1)}
            long = [letter * n for n in sorted(lengths) if n > 0 for letter in "aü\n"]
            return [*_TEXTS, *long]
        case FieldDescriptor.TYPE_BOOL:
            return [False, True]
        case FieldDescriptor.TYPE_DOUBLE:
            near = [limit + d for limit in limits for d in (-1e-9, -0.1, 0, 0.1, 1e-9)]
            return [0.0, -0.0, 0.5, -1.0, 1e308, 5e-324, inf, -inf, nan, *near]
        case _:
            low, high = _INTEGERS[field.type]
            near = [limit + d for limit in limits for d in (-1, 0, 1)]
            return sorted({n for n in (0, 1, 7, -1, low, high, *near) if low <= n <= high})


def _well_known_values(descriptor: Descriptor, limits: list) -> list:
    message_class = message_factory.GetMessageClass(descriptor)
    if "seconds" not in descriptor.fields_by_name:
        return [message_class()]
    near = [
        (limit.seconds + seconds, limit.nanos + nanos)
        for limit in limits
        for seconds, nanos in ((0, 0), (0, 1), (-1, 999_999_999), (1, 0), (-1, 0))
    ]
    odd = [(0, -1), (-1, -1), (1, -1), (0, 2**31 - 1), (2**63 - 1, 0), (-(2**63), 0), (-1, 5)]
    plain = [(0, 0), (0, 1), (1, 0), (60, 5), (315_576_000_000, 0), (315_576_000_001, 0)]
    return [message_class(seconds=s, nanos=n) for s, n in (*near, *odd, *plain)]


@cache
def _fields(message_class: type[Message]) -> tuple[_Field, ...]:
    return tuple(_Field(message_class, field) for field in message_class.DESCRIPTOR.fields)


def make(
    message_class: type[Message], random: Random, wild: float, *, one: bool, depth: int = 0
) -> Message:
    """A message; a share `wild` (0 to 1) of its fields breaks a rule, or at least one does.

    A message with `one` wrong thing in it shows whether the rule against that is kept.
    """
    message = message_class()
    fields = _fields(message_class)
    target = random.choice(fields) if one and fields else None
    for field in fields:
        if field.message_type is not None and depth == 4:
            continue
        if field is target or random.random() < wild:
            _break(message, field, random, wild, depth)
        elif field.required or random.random() < 0.5:
            count = random.choice((0, 1, 1, 2, 3)) if field.is_map or field.repeated else 1
            _fill(message, field, count, lambda field=field: _good(field, random, depth))
    return message


def _good(field: _Field, random: Random, depth: int) -> object:
    if field.message_type is not None:
        return make(field.message_type, random, 0, one=False, depth=depth + 1)
    return random.choice(field.good)


def _break(message: Message, field: _Field, random: Random, wild: float, depth: int) -> None:
    """Breaks a rule of the field, if there is one."""
    ways = ["value"]
    if field.required:
        ways.append("missing")
    # Long lists of messages take long to make, and their number is judged like any.
    if (field.is_map or field.repeated) and field.most < (80 if depth == 0 else 20):
        ways.append("count")
    if field.is_map:
        ways.append("key")
    way = random.choice(ways)
    if way == "missing":
        return
    if way == "count":
        count = field.most + random.choice((0, 1))
        good = _good(field, random, depth)
        _fill(message, field, random.choice((count, 0)), lambda: good)
    elif way == "key":
        value = _good(field, random, depth)
        field.set(message, [], {random.choice(field.key_texts): value})
    elif field.message_type is not None:
        inner = make(field.message_type, random, wild, one=True, depth=depth + 1)
        _fill(message, field, 1, lambda: inner)
    else:
        _fill(message, field, 1, lambda: random.choice(field.bad or field.good))


def _fill(message: Message, field: _Field, count: int, value: Callable[[], object]) -> None:
    if count:
        values = [value() for _ in range(count)]
        field.set(message, values, {f"k{n}": each for n, each in enumerate(values)})


def play(seed: int, accepts: Callable[[Message], bool]) -> bool:
    """Judges one message; returns whether it is valid. Raises AssertionError at a difference."""
    random = Random(seed)
    message_class = random.choice(types())
    message = make(
        message_class,
        random,
        wild=random.choice((0.0, 0.0, 0.0, 0.3)),
        one=random.random() < 0.6,
    )
    valid = ask(message)
    assert accepts(message) == valid, f"{message_class.DESCRIPTOR.name}, valid: {valid}"
    return valid


_ODD_JSON = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        0.0,
        1.0,
        0.5,
        -0.5,
        100,
        101,
        100.5,
        2**53,
        2**53 - 1,
        -(2**63),
    ),
    *(2**63 - 1, 2**64 - 1, 1e300, 253_402_300_799_999, 253_402_300_800_000, -62_135_596_800_001),
    *("", "a", "1", "\u00fc", "\ud800", "a\n", "x" * 128, "x" * 129, "x" * 257),
    *([], [None], [{}], [{}] * 64, [{}] * 65, [[]], {}, {"unknown": 1}, {"seconds": 1}),
)


@cache
def json_checks() -> dict[type[Message], tuple[JsonCheck, Decoder[Message]]]:
    """Every message whose JSON can be checked, with the check and the decoder."""
    found = {}
    for message_class in types():
        with suppress(TypeError):
            check = compile_json_check(message_class.DESCRIPTOR)
            if check is not None:
                found[message_class] = check, compile_decoder(message_class)
    return found


def play_json(seed: int, checks: Mapping) -> tuple[bool, bool]:
    """Checks the JSON of one message; returns whether the check accepts it and it is valid.

    Raises AssertionError if the check accepts what is not valid.
    """
    random = Random(seed)
    message_class = random.choice(list(checks))
    accepts, decoder = checks[message_class]
    made = make(message_class, random, wild=random.choice((0.0, 0.3)), one=random.random() < 0.3)
    text = json.dumps(to_sparse_json(made))
    value = orjson.loads(re.sub("NaN|-?Infinity", "null", text))
    for _ in range(random.choice((0, 0, 1, 2))):
        _replace(value, random)
    decoded = decoder.decode(value)
    valid = not decoded.violations and not decoded.unknown_fields and ask(decoded.message)
    accepted = accepts(value)
    assert valid or not accepted, f"{message_class.DESCRIPTOR.name}, not valid: {value}"
    return accepted, valid


def _replace(value: dict | list, random: Random) -> None:
    """Replaces or adds a value at any depth."""
    keys = range(len(value)) if isinstance(value, list) else [*value, random.choice(_TEXTS)]
    if not keys:
        return
    key = random.choice(keys)
    inner = value[key] if isinstance(value, list) else value.get(key)
    if isinstance(inner, dict | list) and inner and random.random() < 0.7:
        _replace(inner, random)
    else:
        value[key] = random.choice(_ODD_JSON)


def by_type(checks: MessageChecks) -> Callable[[Message], bool]:
    """What the compiled rules say of a message of any type."""
    return lambda message: checks.of(message.DESCRIPTOR)(message)


def main(count: int, first: int) -> int:
    """Judges messages; returns for how many the two differ."""
    accepts, verdicts, wrong = by_type(compiled()), Counter(), 0
    accepted = 0
    for seed in range(first, first + count):
        try:
            verdicts[play(seed, accepts)] += 1
            accepted += play_json(seed, json_checks())[0]
        except Exception as error:
            wrong += 1
            print(f"seed {seed}: {type(error).__name__}: {error}", flush=True)
            if wrong == 10:
                break
    print(
        f"{count:,} messages from seed {first}: {verdicts[True]:,} valid, "
        f"{verdicts[False]:,} not, {wrong} judged otherwise than by protovalidate; "
        f"the JSON of {accepted:,} more accepted unread"
    )
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)))

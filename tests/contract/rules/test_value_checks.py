from math import inf, nan

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration

from buf.validate.validate_pb2 import FieldRules
from hub.contract.rules.value_checks import Bounds, MaxLength, NotCompiled, limits, value_check
from tests.support.rule_messages import message_class

BACKEND = "llmhub.v1.Backend"
DURATION = "google.protobuf.Duration"


def check_of(type_: int, type_name: str = "", own_enum: tuple[int, ...] = (), **rules):
    wanted = FieldRules(**rules)
    made = message_class(type_, wanted, type_name=type_name, enum=own_enum)
    (field,) = made.DESCRIPTOR.fields
    return value_check(field, wanted)


def test_no_rules_no_check():
    assert check_of(FieldDescriptor.TYPE_STRING) is None
    assert check_of(FieldDescriptor.TYPE_STRING, required=True) is None


def test_numbers():
    assert check_of(FieldDescriptor.TYPE_INT64, int64={"gte": 0}) == Bounds(0, 2**64 - 1)
    assert check_of(FieldDescriptor.TYPE_UINT32, uint32={"lte": 5}) == Bounds(-(2**63), 5)
    assert check_of(FieldDescriptor.TYPE_INT32, int32={"gte": 1, "lte": 1}) == Bounds(1, 1)
    ratio = check_of(FieldDescriptor.TYPE_DOUBLE, double={"gte": 0, "lte": 1})
    assert [ratio(value) for value in (0, 1, -0.1, 1.1, nan)] == [True, True, False, False, False]
    above = check_of(FieldDescriptor.TYPE_DOUBLE, double={"gte": 0})
    assert (above(inf), above(-inf)) == (True, False)
    finite = check_of(FieldDescriptor.TYPE_DOUBLE, double={"finite": True})
    assert [finite(value) for value in (1e308, inf, -inf, nan)] == [True, False, False, False]


def test_texts():
    assert check_of(FieldDescriptor.TYPE_STRING, string={"max_len": 3}) == MaxLength(3)
    assert MaxLength(3)("üüü")
    assert not MaxLength(3)("abcd")
    some = check_of(FieldDescriptor.TYPE_STRING, string={"min_len": 1, "max_len": 2})
    assert [some(value) for value in ("", "a", "ab", "abc")] == [False, True, True, False]
    words = check_of(FieldDescriptor.TYPE_STRING, string={"in": ["", "http"]})
    assert [words(value) for value in ("", "http", "HTTP")] == [True, True, False]
    name = check_of(FieldDescriptor.TYPE_STRING, string={"max_len": 2, "pattern": "^a*$"})
    assert [name(value) for value in ("", "aa", "aaa", "b")] == [True, True, False, False]


def test_durations_and_enums():
    ttl = check_of(
        FieldDescriptor.TYPE_MESSAGE,
        DURATION,
        duration={"gt": {"seconds": 0}, "lte": {"seconds": 2}},
    )
    values = [(0, 0), (0, 1), (2, 0), (2, 1), (-1, 5), (3, -1_000_000_000)]
    held = [ttl(Duration(seconds=seconds, nanos=nanos)) for seconds, nanos in values]
    assert held == [False, True, True, False, False, True]
    backend = check_of(FieldDescriptor.TYPE_ENUM, BACKEND, enum={"defined_only": True})
    assert [backend(number) for number in (0, 1, -1, 99)] == [True, True, False, False]


def test_an_enum_with_a_gap_does_not_allow_the_numbers_between():
    defined = {"defined_only": True}
    gap = check_of(FieldDescriptor.TYPE_ENUM, own_enum=(0, 1, 5), enum=defined)
    assert [gap(number) for number in range(-1, 7)] == [
        False,
        True,
        True,
        *[False] * 3,
        True,
        False,
    ]
    whole = check_of(FieldDescriptor.TYPE_ENUM, own_enum=(0, 1, 2), enum=defined)
    assert whole == Bounds(0, 2)


@pytest.mark.parametrize(
    ("type_", "rules"),
    [
        (FieldDescriptor.TYPE_INT32, {"int32": {"const": 1}}),
        (FieldDescriptor.TYPE_INT32, {"int32": {"lt": 1}}),
        (FieldDescriptor.TYPE_INT32, {"int32": {"gte": 5, "lte": 1}}),
        (FieldDescriptor.TYPE_FLOAT, {"float": {"lte": 1}}),
        (FieldDescriptor.TYPE_DOUBLE, {"double": {"gte": nan}}),
        (FieldDescriptor.TYPE_STRING, {"string": {"email": True}}),
        (FieldDescriptor.TYPE_STRING, {"string": {"min_len": 1}}),
        (FieldDescriptor.TYPE_STRING, {"string": {"pattern": "^a*$"}}),
        (FieldDescriptor.TYPE_STRING, {"string": {"max_len": 5, "pattern": r"\d"}}),
        (FieldDescriptor.TYPE_STRING, {"string": {"max_len": 5, "in": ["a"]}}),
        (FieldDescriptor.TYPE_STRING, {"cel": [{"id": "i", "expression": "this == ''"}]}),
        (FieldDescriptor.TYPE_STRING, {"cel_expression": ["this == ''"]}),
        (FieldDescriptor.TYPE_STRING, {"ignore": 3, "string": {"max_len": 5}}),
        (FieldDescriptor.TYPE_BYTES, {"bytes": {"max_len": 5}}),
    ],
)
def test_rules_that_may_mean_something_else_are_not_compiled(type_, rules):
    with pytest.raises(NotCompiled):
        check_of(type_, **rules)


def test_rules_about_the_number_in_a_wrapper_are_not_compiled():
    with pytest.raises(NotCompiled, match="another type"):
        check_of(FieldDescriptor.TYPE_MESSAGE, "google.protobuf.Int32Value", int32={"gte": 1})
    with pytest.raises(NotCompiled, match="both bounds"):
        check_of(FieldDescriptor.TYPE_MESSAGE, DURATION, duration={"gt": {"seconds": 1}})
    with pytest.raises(NotCompiled, match="undefined numbers"):
        check_of(FieldDescriptor.TYPE_ENUM, BACKEND, enum={"defined_only": False})


def test_a_rule_of_a_later_version_is_not_ignored():
    rules = FieldRules(required=True)
    assert limits(rules, frozenset({"required"})) == {"required": True}
    with pytest.raises(NotCompiled, match="required"):
        limits(rules, frozenset({"string"}))
    # Field 900 of the message is a number.
    later = FieldRules.FromString(rules.SerializeToString() + b"\xa0\x38\x01")
    with pytest.raises(NotCompiled):
        limits(later, frozenset({"required"}))

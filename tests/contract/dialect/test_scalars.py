import pytest

from hub.contract.dialect.names import MAX_VIOLATIONS
from hub.contract.dialect.scalars import (
    MAX_DURATION_MS,
    MAX_TIMESTAMP_MS,
    MIN_TIMESTAMP_MS,
    Decoded,
    bool_converter,
    double_converter,
    duration_converter,
    enum_converter,
    field_mask_converter,
    integer_converter,
    string_converter,
    timestamp_converter,
)
from hub.contract.errors import FieldViolation

CONVERTERS = {
    "string": string_converter("f", show=True),
    "bool": bool_converter("f"),
    "double": double_converter("f"),
    "integer": integer_converter("f", -5, 5),
    "timestamp": timestamp_converter("f"),
    "duration": duration_converter("f"),
    "mask": field_mask_converter("f"),
    "enum": enum_converter({"up": 1}, "f"),
}


@pytest.mark.parametrize(
    ("kind", "value", "native"),
    [
        ("string", "", ""),
        ("string", "ü\U0001f600", "ü\U0001f600"),
        ("bool", False, False),
        ("double", 7, 7),
        ("double", -0.0, -0.0),
        pytest.param("double", 2**1022, 2**1022, id="large"),
        ("integer", -5, -5),
        ("timestamp", 0, {"seconds": 0, "nanos": 0}),
        ("timestamp", -1, {"seconds": -1, "nanos": 999_000_000}),
        ("timestamp", MIN_TIMESTAMP_MS, {"seconds": -62_135_596_800, "nanos": 0}),
        ("timestamp", MAX_TIMESTAMP_MS, {"seconds": 253_402_300_799, "nanos": 999_000_000}),
        ("duration", MAX_DURATION_MS, {"seconds": 315_576_000_000, "nanos": 0}),
        ("duration", -MAX_DURATION_MS, {"seconds": -315_576_000_000, "nanos": 0}),
        ("mask", [], {"paths": []}),
        ("enum", "up", 1),
    ],
)
def test_accepted_values(kind, value, native):
    out = Decoded()
    assert CONVERTERS[kind](value, out) == native
    assert out.violations == []


@pytest.mark.parametrize(
    ("kind", "value", "error"),
    [
        ("string", "\udc00", "invalid"),
        ("string", b"", "wrong_type"),
        ("bool", 1, "wrong_type"),
        ("double", True, "wrong_type"),
        pytest.param("double", 2**1024, "out_of_range", id="too large"),
        ("integer", 6, "out_of_range"),
        ("integer", -6.0, "out_of_range"),
        ("integer", 5.0, "wrong_type"),
        ("integer", float("nan"), "wrong_type"),
        ("integer", float("inf"), "wrong_type"),
        ("integer", True, "wrong_type"),
        ("timestamp", 1.5, "wrong_type"),
        ("timestamp", "0", "wrong_type"),
        ("duration", True, "wrong_type"),
        ("duration", "1s", "wrong_type"),
        ("duration", 1e30, "out_of_range"),
        ("mask", "a,b", "wrong_type"),
        ("enum", "down", "invalid"),
        ("enum", ["up"], "wrong_type"),
    ],
)
def test_refused_values(kind, value, error):
    out = Decoded()
    assert CONVERTERS[kind](value, out) is None
    assert [(each.field, each.error) for each in out.violations] == [("f", error)]


def test_violations_get_full_paths():
    out = Decoded()
    out.add("before", "invalid", "no")
    first = len(out.violations)
    out.add("name", "invalid", "no", "x")
    out.add("[2]", "invalid", "no")
    out.add("", "invalid", "no")
    out.move_below("gpus[0]", first)
    assert [each.field for each in out.violations] == [
        "before",
        "gpus[0].name",
        "gpus[0][2]",
        "gpus[0]",
    ]
    assert out.violations[1] == FieldViolation("gpus[0].name", "invalid", "no", "x")


def test_an_invalid_value_is_shown_unless_it_is_secret():
    out = Decoded()
    out.add_wrong_type("port", "integer", "9")
    out.add_wrong_type("token", "string", 9, show=False)
    out.add_out_of_range("port", -1, 0, 9)
    assert out.violations == [
        FieldViolation("port", "wrong_type", "expected integer, got string", "9"),
        FieldViolation("token", "wrong_type", "expected string, got integer"),
        FieldViolation("port", "out_of_range", "must be between 0 and 9", "-1"),
    ]


def test_violations_are_bounded():
    out = Decoded()
    for index in range(MAX_VIOLATIONS + 1):
        out.add(str(index), "invalid", "no")
    assert out.violations[-1].field == str(MAX_VIOLATIONS - 1)

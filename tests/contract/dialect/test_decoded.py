from hub.contract.dialect.decoded import Decoded
from hub.contract.dialect.names import MAX_VIOLATIONS
from hub.contract.errors import FieldViolation


def test_paths_are_completed_on_the_way_out():
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


def test_what_is_of_the_wrong_type_or_out_of_range_is_shown_unless_secret():
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

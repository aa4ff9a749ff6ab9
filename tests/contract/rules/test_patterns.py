import re

import pytest

from hub.contract.rules.patterns import matcher

LABEL = r"^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$"


@pytest.mark.parametrize(
    ("pattern", "found", "not_found"),
    [
        (r"^\P{Cc}*$", ["", "a b", "ü\xa0"], ["\n", "a\n", "\x00", "\x7f", "\x9f"]),
        (r"^\P{Cc}+$", ["a"], ["", "a\x80"]),
        (
            r"^[^\p{Cc}\x{2028}-\x{202E}\x{2066}-\x{2069}]*$",
            ["", "ü\u200c\u2030\u206a"],
            ["\n", "a\x9f", "\u2028", "\u202e", "a\u2066b"],
        ),
        (r"^[\x21-\x7e]*$", ["", "!~"], [" ", "a\n", "ü"]),
        (LABEL, ["a", "a.b/c-d_e", "0-9"], ["", "-a", "a-", "a b", "a\n", "ü"]),
        (r"a|b", ["xay", "b"], ["", "c"]),
        (r"^(ab)+\.c?$", ["ab.", "abab.c"], [".", "abc", "ab.c\n"]),
    ],
)
def test_a_pattern_finds_what_it_finds_in_re2(pattern, found, not_found):
    search = matcher(pattern)
    assert [text for text in found if not search(text)] == []
    assert [text for text in not_found if search(text)] == []


@pytest.mark.parametrize(
    "pattern",
    [
        r"\d",
        r"\w+",
        r"a.b",
        r"(?i)a",
        r"(?:a)",
        r"a{2}",
        r"\pL",
        r"[^a]",
        r"[[:alpha:]]",
        r"\bword",
        r"a*?",
        r"a**",
        r"(a)*?",
        r"*a",
        r"(*a)",
        r"^*",
        r"(a",
        r"a)",
        r"[a",
        "ü",
    ],
)
def test_a_pattern_that_could_mean_something_else_is_not_translated(pattern):
    assert matcher(pattern) is None


@pytest.mark.parametrize("pattern", [r"(a+)+", r"^(a*b)*$", r"((a)*b)+", r"((a+)?b)*"])
def test_a_repeated_group_in_which_something_repeats_is_not_translated(pattern):
    assert matcher(pattern) is None
    assert re.compile(pattern)

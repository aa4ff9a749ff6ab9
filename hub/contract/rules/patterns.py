"""Translates the contract's RE2 patterns into Python regular expressions."""

import re
from collections.abc import Callable
from typing import Final

_CONTROL: Final = r"\x00-\x1f\x7f-\x9f"
"""Unicode's category Cc, which is fixed."""

# Each alternative means the same to RE2 as to Python, except those that are translated.
_PART: Final = re.compile(
    r"""
      \\P\{Cc\}
    | \[\^ \\p\{Cc\} (?: \\x\{[0-9A-F]{4}\} - \\x\{[0-9A-F]{4}\} )* \]
    | \\x[0-9A-Fa-f]{2}
    | \\[.\\/*+?()\[\]|-]
    | \[ (?: [A-Za-z0-9._/~] - [A-Za-z0-9._/~]
           | \\x[0-9A-Fa-f]{2} - \\x[0-9A-Fa-f]{2}
           | [A-Za-z0-9._/~]
         )+ -? \]
    | [A-Za-z0-9_/~]
    | \( (?! \? )
    | \) [*+?]? (?! [*+?] )
    | [*+?] (?! [*+?] )
    | [|^$]
    """,
    re.VERBOSE,
)
_CODE_POINT: Final = re.compile(r"\\x\{([0-9A-F]{4})\}")
_REPETITIONS: Final = frozenset("*+?")
_NOT_TO_REPEAT: Final = frozenset({"^", "$", "|", "(", ")", ")*", ")+", ")?", *_REPETITIONS})
_TRANSLATED: Final = {r"\P{Cc}": f"[^{_CONTROL}]", "$": r"\Z"}


def matcher(pattern: str) -> Callable[[str], object] | None:
    """A function that searches a text for the pattern; its result is truthy if found.

    None for a pattern that might mean something else in Python, and for one with nested
    repetition, which could keep a backtracking engine busy for a long time.
    """
    parts: list[str] = []
    # For each open group, whether it contains a repetition.
    repeats = [False]
    position, can_repeat = 0, False
    while position < len(pattern):
        found = _PART.match(pattern, position)
        if found is None:
            return None
        part, position = found[0], found.end()
        parts.append(_TRANSLATED.get(part) or _in_python(part))
        if part in _REPETITIONS:
            if not can_repeat:
                return None
            repeats[-1] |= part != "?"
        elif part == "(":
            repeats.append(False)
        elif part[0] == ")":
            inner, outer = repeats.pop(), part in {")*", ")+"}
            if not repeats or (inner and outer):
                return None
            repeats[-1] |= inner or outer
        can_repeat = part not in _NOT_TO_REPEAT
    return re.compile("".join(parts)).search if len(repeats) == 1 else None


def _in_python(part: str) -> str:
    """Writes a part as Python does, which names no categories and code points in another way."""
    part = part.replace(r"\p{Cc}", _CONTROL)
    return _CODE_POINT.sub(r"\\u\1", part)

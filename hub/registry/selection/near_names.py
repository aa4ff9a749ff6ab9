"""Names similar to an unknown one, for "did you mean …?". Pure."""

from collections.abc import Iterable
from heapq import nlargest, nsmallest
from itertools import islice, pairwise
from typing import Final

MAX_EXAMINED: Final = 2000
"""The maximum number of names to examine; each costs a few microseconds."""

MAX_BYTES: Final = 100
"""The maximum length of a suggestion in bytes of UTF-8, because an error must fit into headers."""

_MAX_COMPARED: Final = 64
_MAX_LENGTH: Final = 200
_LEAST_LIKENESS: Final = 0.5


def near_names(wanted: str, names: Iterable[str], most: int = 3) -> list[str]:
    """At most `most` of `names` that a person may have meant by `wanted`, best first.

    None of them is longer than `MAX_BYTES`. Case does not matter, and a name is similar if
    it starts with `wanted` or vice versa. Examines the first `MAX_EXAMINED`
    names, and compares those that share the most letters, so that the cost is bounded
    whatever the names are.
    """
    if not 0 < len(wanted) <= _MAX_LENGTH:
        return []
    folded = wanted.casefold()
    letters = set(folded)
    examined = (
        (len(letters.symmetric_difference(name.casefold())), name)
        for name in islice(names, MAX_EXAMINED)
        if len(name.encode()) <= MAX_BYTES
    )
    pairs = _pairs(folded)
    scored = []
    for _, name in nsmallest(_MAX_COMPARED, examined):
        likeness = _likeness(folded, pairs, name.casefold())
        if likeness >= _LEAST_LIKENESS:
            # Of two equally similar names, the shorter one is more likely.
            scored.append((likeness, -len(name), name))
    return [name for _, _, name in nlargest(most, scored)]


def _likeness(wanted: str, pairs: set[tuple[str, str]], name: str) -> float:
    """The Dice coefficient of the pairs of letters: 0 to 1."""
    others = _pairs(name)
    dice = 2 * len(pairs & others) / (len(pairs) + len(others))
    shorter, longer = sorted((wanted, name), key=len)
    if len(shorter) > 2 and longer.startswith(shorter):
        return max(dice, _LEAST_LIKENESS)
    return dice


def _pairs(text: str) -> set[tuple[str, str]]:
    """Pairs of adjacent letters; start and end count as letters."""
    return set(pairwise(f"\n{text}\n"))

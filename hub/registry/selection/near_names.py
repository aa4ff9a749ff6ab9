"""Names similar to an unknown one, for "did you mean …?". Pure."""

from collections.abc import Iterable
from heapq import nlargest, nsmallest
from itertools import islice, pairwise
from typing import Final

MAX_LOOKED_AT: Final = 2000
"""How many names are examined; each costs some microseconds."""

MAX_BYTES: Final = 100
"""The longest suggestion in bytes of UTF-8: an error has to fit into headers."""

_MAX_COMPARED: Final = 64
_MAX_LENGTH: Final = 200
_LEAST_LIKENESS: Final = 0.5


def near_names(wanted: str, names: Iterable[str], most: int = 3) -> list[str]:
    """At most `most` of `names` that a person may have meant by `wanted`, best first.

    None is longer than `MAX_BYTES`. Case does not matter, and a name that starts with
    `wanted`, or the other way round, is near. Examines the first `MAX_LOOKED_AT` names
    and compares the few with the most letters in common, in linear time, so that the
    cost is bounded whatever the names are.
    """
    if not 0 < len(wanted) <= _MAX_LENGTH:
        return []
    folded = wanted.casefold()
    letters = set(folded)
    looked_at = (
        (len(letters.symmetric_difference(name.casefold())), name)
        for name in islice(names, MAX_LOOKED_AT)
        if len(name.encode()) <= MAX_BYTES
    )
    pairs = _pairs(folded)
    scored = []
    for _, name in nsmallest(_MAX_COMPARED, looked_at):
        likeness = _likeness(folded, pairs, name.casefold())
        if likeness >= _LEAST_LIKENESS:
            # Of equally near names the shorter one is likelier.
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
    """Pairs of neighbouring letters; start and end count as letters."""
    return set(pairwise(f"\n{text}\n"))

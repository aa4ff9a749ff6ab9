"""Plain values as YAML in block style, the same text for the same values.

Strings are always quoted as in JSON, which YAML 1.2 contains: what an untrusted server calls
its models can neither end a string nor become a number, a date or a tag.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

_WORD: Final = re.compile(r"[A-Za-z][A-Za-z_]*")
_RESERVED: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})

Plain = str | int | float | bool | None | Sequence["Plain"] | Mapping[str, "Plain"]


def block_yaml(value: Mapping[str, Plain]) -> str:
    """The document of a mapping, with a line break at its end."""
    return "".join(f"{line}\n" for line in _lines(value)) or "{}\n"


def _lines(value: Plain) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _entry(f"{_key(key)}:", inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            first, *rest = _lines(inner)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield _scalar(value)


def _entry(head: str, value: Plain) -> Iterator[str]:
    if isinstance(value, str) or not isinstance(value, Mapping | Sequence):
        yield f"{head} {_scalar(value)}"
    elif not value:
        yield f"{head} {'{}' if isinstance(value, Mapping) else '[]'}"
    else:
        yield head
        yield from (f"  {line}" for line in _lines(value))


def _scalar(value: Plain) -> str:
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    # The programs' own words stay readable; YAML reads a few words as other things.
    return name if _WORD.fullmatch(name) and name.lower() not in _RESERVED else _scalar(name)

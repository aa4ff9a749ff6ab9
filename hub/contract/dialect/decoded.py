"""The outcome of decoding one JSON value, which converters fill as they go."""

from dataclasses import replace
from typing import Generic, TypeVar

from google.protobuf.message import Message

from hub.contract.dialect.names import MAX_VIOLATIONS, json_type, shown
from hub.contract.errors import FieldViolation

M = TypeVar("M", bound=Message)


class Decoded(Generic[M]):
    """A message with what was wrong in the JSON it came from.

    A field with a violation is unset in `message`, a wrong item of a list has the
    default value. `unknown_fields` counts the keys that no field has, at any depth.
    Converters record here as they go: one object a message, the hot path counts them.
    """

    __slots__ = ("message", "unknown_fields", "violations")
    message: M

    def __init__(self) -> None:
        self.violations: list[FieldViolation] = []
        self.unknown_fields = 0

    def add(self, path: str, error: str, detail: str, value: str | None = None) -> None:
        """Records a violation, unless too many are recorded already."""
        if len(self.violations) < MAX_VIOLATIONS:
            self.violations.append(FieldViolation(path, error, detail, value))

    def add_wrong_type(self, path: str, expected: str, value: object, *, show: bool = True) -> None:
        """Records that a value is not of the expected JSON type."""
        detail = f"expected {expected}, got {json_type(value)}"
        self.add(path, "wrong_type", detail, shown(value) if show else None)

    def add_out_of_range(self, path: str, value: object, low: int, high: int) -> None:
        """Records that a number is outside a range."""
        self.add(path, "out_of_range", f"must be between {low} and {high}", shown(value))

    def move_below(self, prefix: str, first: int) -> None:
        """Puts `prefix` before the paths of the violations from index `first` on.

        Paths are completed on the way out, and only where something is wrong, so that
        a valid message pays nothing for them.
        """
        for index in range(first, len(self.violations)):
            violation = self.violations[index]
            separator = "" if violation.field[:1] in ("", "[") else "."
            path = f"{prefix}{separator}{violation.field}"
            self.violations[index] = replace(violation, field=path)

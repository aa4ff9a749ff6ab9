"""The result of a measurement: rows of a table, each with its floor, budget and verdict."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a budget bounds."""

    RATIO = "≤ {limit:g} times"
    RATIO_AT_LEAST = "≥ {limit:g} times"
    AT_MOST = "≤ {limit:g} {unit}"
    AT_LEAST = "≥ {limit:,.0f} {unit}"


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit for the ratio to the floor, or for the figure itself."""

    kind: Kind
    limit: float


def ratio(limit: float) -> Budget:
    """At most `limit` times the floor."""
    return Budget(Kind.RATIO, limit)


def ratio_at_least(limit: float) -> Budget:
    """At least `limit` times the floor."""
    return Budget(Kind.RATIO_AT_LEAST, limit)


def at_most(limit: float) -> Budget:
    """At most `limit` of the row's unit."""
    return Budget(Kind.AT_MOST, limit)


def at_least(limit: float) -> Budget:
    """At least `limit` of the row's unit."""
    return Budget(Kind.AT_LEAST, limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure of the hub.

    `subject` and `floor` are in `unit`. `floor` is the figure of a bare library for
    the same work, driven by the same load generator in the same run. `earlier`
    is the figure of the earlier hub with this protocol, as text.
    """

    work: str
    unit: str
    subject: float
    floor: float | None = None
    budget: Budget | None = None
    earlier: str = ""

    @property
    def ratio(self) -> float | None:
        """The figure as a multiple of its floor."""
        return self.subject / self.floor if self.floor else None

    @property
    def verdict(self) -> str:
        """Whether the figure meets its budget: "ok", "missed", or "" without a budget."""
        match self.budget:
            case Budget(Kind.RATIO, limit) if self.ratio is not None:
                return "ok" if self.ratio <= limit else "missed"
            case Budget(Kind.RATIO_AT_LEAST, limit) if self.ratio is not None:
                return "ok" if self.ratio >= limit else "missed"
            case Budget(Kind.AT_MOST, limit):
                return "ok" if self.subject <= limit else "missed"
            case Budget(Kind.AT_LEAST, limit):
                return "ok" if self.subject >= limit else "missed"
        return ""


_HEADINGS = ("work", "unit", "hub", "floor", "ratio", "budget", "verdict", "earlier hub")
_NUMBERS = (2, 3, 4)


def table(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table that is also aligned for a terminal."""
    cells = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]
    rule = [
        "-" * (width - 1) + ":" if column in _NUMBERS else "-" * width
        for column, width in enumerate(widths)
    ]
    lines = [cells[0], rule, *cells[1:]]
    return "\n".join(_line(line, widths) for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    budget = row.budget
    return (
        row.work,
        row.unit,
        _figure(row.subject),
        "" if row.floor is None else _figure(row.floor),
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "" if budget is None else budget.kind.value.format(limit=budget.limit, unit=row.unit),
        row.verdict,
        row.earlier,
    )


def _figure(value: float) -> str:
    if value >= 999.5 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell.rjust(width) if column in _NUMBERS else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "| " + " | ".join(padded) + " |"

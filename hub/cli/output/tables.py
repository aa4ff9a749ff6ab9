"""Draws grids as tables on a terminal, as wide as it is."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hub.cli.output.grids import Grid
from hub.cli.output.printable import printable

STYLES: Mapping[str, str] = {
    "healthy": "green",
    "unhealthy": "bold red",
    "unknown": "yellow",
    "draining": "yellow",
    "disabled": "dim",
    "ok": "green",
    "warning": "yellow",
    "failed": "bold red",
    "loaded": "green",
    "put": "green",
    "delete": "red",
    "-": "dim",
}
"""The style of each state's word, in every table."""

# The space between two columns, with the rule below the headings.
_GAP = 3
# The width that a shrinking column keeps, in cells; less would be useless.
_MIN_WIDTH = 18


def print_tables(grids: Sequence[Grid]) -> None:
    """Prints the grids, with their titles if there are several."""
    console = Console(highlight=False)
    for number, grid in enumerate(grids):
        if number:
            console.print()
        is_alone = len(grids) == 1
        console.print(table(replace(grid, title="") if is_alone else grid, console.width))


def table(grid: Grid, width: int) -> Table:
    """The grid as a rich table, no wider than `width` columns if possible."""
    fitting = _fitting(grid, width)
    widths = _widths(fitting)
    drawn = Table(
        title=grid.title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, _GAP - 1, 0, 0),
        header_style="bold dim",
    )
    for heading in fitting.headings:
        folds = heading == grid.folds or not (grid.folds or grid.optional)
        drawn.add_column(heading, overflow="fold" if folds else "ellipsis", no_wrap=not folds)
    rest = sum(_min_width(fitting, heading, widths) for heading in fitting.headings)
    room = width - rest - _GAP * (len(fitting.headings) - 1)
    for row in fitting.rows:
        cells = [
            _shortened(cell, _min_width(fitting, heading, widths) + max(0, room))
            if heading == grid.shortens
            else cell
            for heading, cell in zip(fitting.headings, row, strict=True)
        ]
        # Text, not str, so that a cell is never read as markup.
        drawn.add_row(*(cell_text(cell) for cell in cells))
    return drawn


def cell_text(cell: str, style: Callable[[str], str] = lambda cell: STYLES.get(cell, "")) -> Text:
    """A cell that is safe to show, in the colour of its state."""
    return Text(printable(cell), style=style(cell))


def _fitting(grid: Grid, width: int) -> Grid:
    """The grid without the optional columns that do not fit."""
    kept = list(grid.headings)
    widths = _widths(grid)
    for heading in grid.optional:
        # A column that can shrink counts only with its minimum width.
        needed = sum(_min_width(grid, each, widths) for each in kept)
        if needed + _GAP * (len(kept) - 1) <= width:
            break
        kept.remove(heading)
    places = [grid.headings.index(heading) for heading in kept]
    rows = [tuple(row[place] for place in places) for row in grid.rows]
    return replace(grid, headings=tuple(kept), rows=rows)


def _widths(grid: Grid) -> dict[str, int]:
    """The width of each column in terminal cells."""
    return {
        heading: max(len(heading), *(cell_len(printable(row[number])) for row in grid.rows), 0)
        for number, heading in enumerate(grid.headings)
    }


def _min_width(grid: Grid, heading: str, widths: Mapping[str, int]) -> int:
    shrinks = heading in (grid.folds, grid.shortens)
    return min(widths[heading], _MIN_WIDTH) if shrinks else widths[heading]


def _shortened(cell: str, width: int) -> str:
    """Cuts `cell`, a list of names with commas, to `width`: the last ones become "+3"."""
    names = printable(cell).split(", ")
    if cell_len(", ".join(names)) <= width:
        return cell
    # The cell may already end with "+3".
    hidden = int(names.pop()[1:]) if re.fullmatch(r"\+[0-9]+", names[-1]) else 0
    while len(names) > 1:
        names.pop()
        hidden += 1
        text = f"{', '.join(names)}, +{hidden}"
        if cell_len(text) <= width:
            return text
    end = f", +{hidden}" if hidden else ""
    first = Text(names[0])
    first.truncate(max(1, width - len(end)), overflow="ellipsis")
    return first.plain + end

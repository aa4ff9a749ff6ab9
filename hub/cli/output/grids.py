"""What commands print: tables on a terminal, tab-separated lines in a pipe, or JSON and YAML.

Rich colours only on a terminal, and never if NO_COLOR is set. The words for the
contract's enums are those of the JSON dialect.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import click
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hub.cli.output.printable import printable
from hub.contract.dialect.encode import to_json
from hub.contract.dialect.names import enum_words
from llmhub.v1.endpoint_pb2 import AdminState, Backend, Status
from llmhub.v1.registry_service_pb2 import Rejection, Strategy
from llmhub.v1.resources_pb2 import Role

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


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows under headings; `title` is shown above them if there are several grids.

    If the terminal is too narrow, the columns in `optional` are left out, the first one
    first. `folds` names the column whose text wraps, `shortens` the one whose list of
    names may end in "+3" for the rest. Other columns are truncated only when every
    optional one is left out. A pipe gets all columns.
    """

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    title: str = ""
    optional: tuple[str, ...] = ()
    folds: str = ""
    shortens: str = ""


def print_value(value: object, output: str) -> None:
    """Prints a JSON value as "json" or "yaml"."""
    if output == "yaml":
        # Imported here: only YAML output needs the library.
        import yaml

        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)
    else:
        click.echo(json.dumps(value, indent=2))


def print_line(value: object, output: str) -> None:
    """Prints one of many values: a line of JSON, or a YAML document."""
    if output == "yaml":
        click.echo("---")
        print_value(value, output)
    else:
        click.echo(json.dumps(value))
    sys.stdout.flush()


def print_message(message: Message, output: str) -> None:
    """Prints a message in the JSON dialect of the HTTP API."""
    print_value(to_json(message), output)


def print_messages(name: str, messages: Sequence[Message], output: str) -> None:
    """Prints `{name: [...]}` in the JSON dialect of the HTTP API."""
    print_value({name: [to_json(message) for message in messages]}, output)


def print_grids(*grids: Grid) -> None:
    """Prints tables on a terminal, elsewhere tab-separated lines with blanks between grids."""
    if sys.stdout.isatty():
        console = Console(highlight=False)
        for number, grid in enumerate(grids):
            if number:
                console.print()
            is_alone = len(grids) == 1
            console.print(table(replace(grid, title="") if is_alone else grid, console.width))
        return
    blocks = []
    for grid in grids:
        lines = [grid.headings, *grid.rows]
        blocks.append("\n".join("\t".join(printable(cell) for cell in line) for line in lines))
    click.echo("\n\n".join(blocks))


def is_interactive() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def time_text(timestamp: Timestamp, *, present: bool) -> str:
    """RFC 3339 in UTC, to the second, or "-" if there is no time."""
    if not present:
        return "-"
    return Timestamp(seconds=timestamp.seconds).ToJsonString()


def bytes_text(count: int | None) -> str:
    """A number of bytes in GiB, or "?" if it is unknown."""
    return "?" if count is None else f"{count / 2**30:.1f} GiB"


def span_text(seconds: float) -> str:
    """A span of time in at most two units: "4 s", "3 min", "2 h 5 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    hours, minutes = divmod(whole // 60, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


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


BACKENDS = cast("Mapping[str, Backend]", enum_words(Backend.DESCRIPTOR))
ROLES = cast("Mapping[str, Role]", enum_words(Role.DESCRIPTOR))
STATUSES = cast("Mapping[str, Status]", enum_words(Status.DESCRIPTOR))
STRATEGIES = cast("Mapping[str, Strategy]", enum_words(Strategy.DESCRIPTOR))


def _by_number(enum: EnumDescriptor) -> dict[int, str]:
    return {number: word for word, number in enum_words(enum).items()}


BACKEND_WORDS = _by_number(Backend.DESCRIPTOR)
REJECTION_WORDS = _by_number(Rejection.DESCRIPTOR)
ROLE_WORDS = _by_number(Role.DESCRIPTOR)
STATE_WORDS = _by_number(AdminState.DESCRIPTOR)
STATUS_WORDS = _by_number(Status.DESCRIPTOR)

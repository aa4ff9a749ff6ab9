"""What commands print: tables for people, tab-separated lines for pipes, JSON for programs."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import click
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hub.cli.text import printable
from hub.codec.encode import to_json


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows under headings; `title` stands above them where there are several grids."""

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    title: str = ""


def print_json(value: object) -> None:
    """Prints a JSON value, indented."""
    click.echo(json.dumps(value, indent=2))


def print_message(message: Message) -> None:
    """Prints a message in the JSON dialect of the HTTP door."""
    print_json(to_json(message))


def print_messages(name: str, messages: Sequence[Message]) -> None:
    """Prints `{name: [...]}` in the JSON dialect of the HTTP door."""
    print_json({name: [to_json(message) for message in messages]})


def print_grids(*grids: Grid) -> None:
    """Prints tables on a terminal; elsewhere lines with tabs, a blank line between grids."""
    if sys.stdout.isatty():
        console = Console()
        for grid in grids:
            console.print(_table(grid))
        return
    blocks = []
    for grid in grids:
        lines = [grid.headings, *grid.rows]
        blocks.append("\n".join("\t".join(printable(cell) for cell in line) for line in lines))
    click.echo("\n\n".join(blocks))


def time_text(timestamp: Timestamp, *, present: bool) -> str:
    """UTC to the second as RFC 3339, or "-" where there is no time."""
    if not present:
        return "-"
    return Timestamp(seconds=timestamp.seconds).ToJsonString()


def bytes_text(count: int | None) -> str:
    """A number of bytes in GiB, or "?" where it is unknown."""
    return "?" if count is None else f"{count / 2**30:.1f} GiB"


def _table(grid: Grid) -> Table:
    table = Table(title=grid.title or None, title_justify="left", box=None, pad_edge=False)
    for heading in grid.headings:
        table.add_column(heading, overflow="fold")
    for row in grid.rows:
        # Text, not str: a cell is never markup.
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table

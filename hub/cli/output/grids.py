"""What commands print: tables on a terminal, tab-separated lines in a pipe, or JSON and YAML.

Rich colours only on a terminal, and never if NO_COLOR is set. The words for the
contract's enums are those of the JSON dialect.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import click
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from hub.cli.output.printable import printable
from hub.contract.dialect.encode import to_json
from hub.contract.dialect.names import enum_words
from llmhub.v1.endpoint_pb2 import AdminState, Backend, Status
from llmhub.v1.registry_service_pb2 import Rejection, Strategy
from llmhub.v1.resources_pb2 import Role


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
        # Imported here: only a terminal needs rich, which takes long to import.
        from hub.cli.output.tables import print_tables

        print_tables(grids)
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

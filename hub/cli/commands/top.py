"""`llm-hub top`: the fleet as it moves, on a terminal."""

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from dataclasses import replace

import click
from rich.console import Console
from rich.live import Live

from hub.cli.calling.connection import HubConnection, hub_command
from hub.cli.failures import CommandFailed, ExitCode
from hub.cli.output.top_view import Picture, render, rows_that_fit
from llmhub.v1.admin_service_pb2 import GetServerInfoRequest
from llmhub.v1.registry_service_pb2 import GetSnapshotRequest

# What a terminal sends for the keys that move (ECMA-48; xterm's control sequences).
_KEYS = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "k": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "j": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    " ": "page down",
    "q": "quit",
    "Q": "quit",
    "\x03": "quit",
    "s": "sort",
}


@click.command()
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 60),
    default=1.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--once", is_flag=True, help="Show it once and end.")
@hub_command
def top(*, connection: HubConnection, output: str, interval: float, once: bool) -> None:
    """Watch the fleet: health, models in memory, and what the hosts have left."""
    if output != "table":
        raise CommandFailed("top is for people; programs use snapshot or watch", ExitCode.USAGE)
    console = Console(highlight=False)
    first = _look(connection, Picture(connection.address, 0))
    if once:
        console.print(
            render(first, console.width, rows_that_fit(len(first.snapshot.endpoints)) + 9)
        )
        return
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        raise CommandFailed("top needs a terminal; use --once or snapshot", ExitCode.USAGE)
    with _single_keys(), Live(console=console, screen=True, auto_refresh=False) as live:
        _show(connection, console, live, first, interval)


def _show(
    connection: HubConnection, console: Console, live: Live, picture: Picture, interval: float
) -> None:
    next_look = time.monotonic() + interval
    while True:
        live.update(render(picture, console.width, console.height), refresh=True)
        key = _read_key(max(0.0, next_look - time.monotonic()))
        page = rows_that_fit(console.height)
        last = max(0, len(picture.snapshot.endpoints) - page)
        moves = {"up": -1, "down": 1, "page up": -page, "page down": page}
        if key == "quit":
            return
        if key == "sort":
            picture = replace(picture, order=picture.order.next(), offset=0)
        elif key in moves:
            picture = replace(picture, offset=min(max(picture.offset + moves[key], 0), last))
        if time.monotonic() >= next_look:
            picture = _look_again(connection, picture)
            next_look = time.monotonic() + interval


def _look(connection: HubConnection, picture: Picture) -> Picture:
    """The fleet as it is now. Raises CommandFailed."""
    snapshot = connection.call(connection.registry.GetSnapshot, GetSnapshotRequest()).snapshot
    info = None
    # A reader may see the fleet, and not ask about the hub.
    with contextlib.suppress(CommandFailed):
        info = connection.call(connection.admin.GetServerInfo, GetServerInfoRequest())
    return replace(
        picture, snapshot=snapshot, info=info, now_ms=time.time_ns() // 1_000_000, trouble=""
    )


def _look_again(connection: HubConnection, picture: Picture) -> Picture:
    """Like `_look`; a hub that has gone is shown as such, with the fleet as it last was."""
    try:
        return _look(connection, picture)
    except CommandFailed as error:
        if error.code == ExitCode.NOT_AUTHORISED:
            raise
        return replace(picture, trouble=error.message.partition(";")[0])


@contextlib.contextmanager
def _single_keys() -> Iterator[None]:
    """Lets each key be read as it is pressed, and not be shown."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _read_key(timeout_s: float) -> str:
    """What the key that is pressed within that time means; "" for none."""
    readable, _, _ = select.select([sys.stdin], [], [], timeout_s)
    if not readable:
        return ""
    # A key that moves comes as several bytes at once.
    pressed = os.read(sys.stdin.fileno(), 16).decode("utf-8", "replace")
    return _KEYS.get(pressed, "")

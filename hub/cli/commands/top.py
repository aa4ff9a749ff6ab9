"""`llm-hub top`: shows the fleet on a terminal, refreshed every second by default."""

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

from hub.cli.calling.connection import HubTarget, find_hub, hub_options
from hub.cli.failures import CommandFailed, ExitCode
from hub.cli.output.top_view import Picture, render, rows_that_fit
from hub.client import CallFailed, Hub

# What a terminal sends for each key (ECMA-48; xterm's control sequences).
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
    help="Seconds between refreshes.",
)
@click.option("--once", is_flag=True, help="Show the fleet once and exit.")
@hub_options
def top(*, interval: float, once: bool, **options: object) -> None:
    """Watch the fleet: health, models in memory, and the hosts' resources."""
    target = find_hub(options)
    if target.output != "table":
        raise CommandFailed("top is for people; programs use snapshot or watch", ExitCode.USAGE)
    console = Console(highlight=False)
    with target.connect() as hub:
        first = _fetch(hub, Picture(hub.address, 0))
        if once:
            height = rows_that_fit(len(first.snapshot.endpoints)) + 9
            console.print(render(first, console.width, height, with_keys=False))
            return
        if not (sys.stdout.isatty() and sys.stdin.isatty()):
            raise CommandFailed("top needs a terminal; use --once or snapshot", ExitCode.USAGE)
        with _single_keys(), Live(console=console, screen=True, auto_refresh=False) as live:
            for picture in _pictures(hub, target, console, first, interval):
                live.update(render(picture, console.width, console.height), refresh=True)


def _pictures(
    hub: Hub, target: HubTarget, console: Console, picture: Picture, interval: float
) -> Iterator[Picture]:
    """A picture after every refresh and every key press, until the user quits."""
    next_refresh = time.monotonic() + interval
    while True:
        yield picture
        key = _read_key(max(0.0, next_refresh - time.monotonic()))
        page = rows_that_fit(console.height)
        last = max(0, len(picture.snapshot.endpoints) - page)
        moves = {"up": -1, "down": 1, "page up": -page, "page down": page}
        if key == "quit":
            return
        if key == "sort":
            picture = replace(picture, order=picture.order.next(), offset=0)
        elif key in moves:
            picture = replace(picture, offset=min(max(picture.offset + moves[key], 0), last))
        if time.monotonic() >= next_refresh:
            picture = _refresh(hub, target, picture)
            next_refresh = time.monotonic() + interval


def _fetch(hub: Hub, picture: Picture) -> Picture:
    """The fleet as it is now. Raises CallFailed."""
    snapshot = hub.snapshot()
    info = None
    # The reader role may see the fleet, but not the hub's own state.
    with contextlib.suppress(CallFailed):
        info = hub.server_info()
    return replace(
        picture, snapshot=snapshot, info=info, now_ms=time.time_ns() // 1_000_000, trouble=""
    )


def _refresh(hub: Hub, target: HubTarget, picture: Picture) -> Picture:
    """Like `_fetch`, but keeps the last known fleet if the hub does not answer."""
    try:
        return _fetch(hub, picture)
    except CallFailed as failed:
        failure = target.failure(failed)
        if failure.code is ExitCode.NOT_AUTHORISED:
            raise
        return replace(picture, trouble=failure.found)


@contextlib.contextmanager
def _single_keys() -> Iterator[None]:
    """Makes the terminal deliver each key as it is pressed, without echo."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _read_key(timeout_s: float) -> str:
    """The meaning of a key that is pressed within that time; "" if none is."""
    readable, _, _ = select.select([sys.stdin], [], [], timeout_s)
    if not readable:
        return ""
    # An arrow key sends several bytes at once.
    pressed = os.read(sys.stdin.fileno(), 16).decode("utf-8", "replace")
    return _KEYS.get(pressed, "")

import io
import os
import pty
import re
import subprocess
import sys

import pytest
from rich.console import Console

from hub.cli.output.endpoint_grid import endpoint_grid
from hub.cli.output.grids import Grid
from hub.cli.output.tables import table
from hub.client import Hub
from llmhub.v1.endpoint_pb2 import (
    MODEL_STATE_LOADED,
    STATUS_HEALTHY,
    Endpoint,
    Flapping,
    Model,
)
from tests.support.hub_process import HubProcess, hub_environment


def read_all(descriptor: int) -> str:
    received = b""
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:
            # Linux answers so when the terminal's other side is closed.
            break
        if not part:
            break
        received += part
    return received.decode()


def on_a_terminal(hub: HubProcess, **environment: str) -> str:
    """What `llm-hub endpoints` prints there."""
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "hub.cli", "endpoints"],
        stdout=theirs,
        env={**hub_environment(), **hub.environment, **environment},
        timeout=30,
        check=True,
    )
    os.close(theirs)
    shown = read_all(ours)
    os.close(ours)
    return shown


def test_a_terminal_gets_a_table_that_no_name_can_break(hub: HubProcess, client: Hub) -> None:
    client.register("127.0.0.1:1", name="[red]x[/red]")
    client.disable("127.0.0.1:1")
    shown = on_a_terminal(hub, COLUMNS="120")
    assert "BACKEND" in shown
    assert "[red]x[/red]" in shown
    assert "\t" not in shown


def test_a_narrow_terminal_leaves_out_the_least_useful_columns() -> None:
    rows = [("10.0.0.1:11434", "healthy", "x" * 60, "2027-01-15T08:00:00Z")]
    grid = Grid(("ID", "STATUS", "ERROR", "CHECKED"), rows, optional=("CHECKED",), folds="ERROR")

    def drawn(width: int) -> str:
        console = Console(width=width, file=io.StringIO(), record=True)
        console.print(table(grid, width))
        return console.export_text()

    assert "CHECKED" in drawn(120)
    assert "CHECKED" not in drawn(60)
    assert "CHECKED" not in drawn(30)
    for width in (60, 80, 120):
        assert max(map(len, drawn(width).splitlines())) <= width


def test_no_color_is_respected(hub: HubProcess, client: Hub) -> None:
    client.register("127.0.0.1:1")
    client.drain("127.0.0.1:1")
    coloured = r"\x1b\[(?:\d+;)*(?:3\d|9\d)"
    shown = on_a_terminal(hub, TERM="xterm-256color", COLUMNS="120")
    assert re.search(coloured, shown), "draining is yellow"
    shown = on_a_terminal(hub, TERM="xterm-256color", COLUMNS="120", NO_COLOR="1")
    assert "draining" in shown
    # Bold and dim are no colours; 30 to 37, 90 to 97 and 38 are.
    assert not re.search(coloured, shown)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_id_and_status_are_never_cut_and_models_are_counted(width: int) -> None:
    names = [f"a-family-of-models-{number}:70b-instruct" for number in range(6)]
    fleet = [
        Endpoint(
            id=f"gpu-{number}.rack.example:11434",
            name="a name for people",
            status=STATUS_HEALTHY,
            version="0.12.3",
            flapping=Flapping(reason="connection refused " * 4),
            models=[Model(name=name, state=MODEL_STATE_LOADED) for name in names],
        )
        for number in range(2)
    ]
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(table(endpoint_grid(fleet), width))
    drawn = console.export_text()
    assert "STATUS" in drawn
    assert "MODELS" in drawn
    for each in fleet:
        assert re.search(rf"^{each.id} .*\bhealthy .*\+[0-9]", drawn, re.MULTILINE), drawn
    assert max(map(len, drawn.splitlines())) <= width


def test_a_narrow_table_leaves_times_out_instead_of_breaking_them() -> None:
    row = ("t-0123456789", "sidecar", "node-1", "2027-01-15T08:00:00Z", "2027-02-14T08:00:00Z")
    grid = Grid(
        ("ID", "ROLE", "AGENT", "CREATED", "EXPIRES", "DESCRIPTION"),
        [(*row, "a note for people")],
        optional=("CREATED", "DESCRIPTION", "EXPIRES"),
        folds="DESCRIPTION",
    )
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(table(grid, 80))
    drawn = console.export_text()
    assert "CREATED" not in drawn
    assert "t-0123456789" in drawn
    assert "2027-02-14T08:00:00Z" in drawn

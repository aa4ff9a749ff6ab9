"""`llm-hub top` on a terminal of its own, against a hub that runs."""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hub.client import Hub
from tests.support.command import llm_hub
from tests.support.hub_process import HubProcess, hub_environment, running_hub


@pytest.fixture(autouse=True)
def registered(client: Hub) -> None:
    client.register("127.0.0.1:1", name="box-1")


class Terminal:
    """A command on a pseudo-terminal of 100 columns."""

    def __init__(self, hub: HubProcess, *arguments: str) -> None:
        self.ours, theirs = pty.openpty()
        self.shown = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hub.cli", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={
                **hub_environment(),
                **hub.environment,
                "TERM": "xterm-256color",
                "COLUMNS": "100",
                "LINES": "24",
            },
        )
        os.close(theirs)

    def wait_for(self, text: str, timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while text not in self.shown:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} is not in {self.shown[-2000:]!r}"
            readable, _, _ = select.select([self.ours], [], [], left)
            if readable:
                self.shown += os.read(self.ours, 65536).decode("utf-8", "replace")

    def press(self, key: str) -> None:
        self.shown = ""
        os.write(self.ours, key.encode())

    def end(self) -> int:
        code = self.process.wait(30)
        os.close(self.ours)
        return code


def test_keys_sort_and_quit(hub: HubProcess) -> None:
    terminal = Terminal(hub, "top", "--interval", "0.5")
    terminal.wait_for("box-1")
    terminal.wait_for("sorted by state")
    terminal.press("s")
    terminal.wait_for("sorted by name")
    terminal.press("q")
    # The screen from before comes back.
    terminal.wait_for("\x1b[?1049l")
    assert terminal.end() == 0


def test_top_goes_on_when_the_hub_stops(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data") as hub:
        terminal = Terminal(hub, "top", "--interval", "0.2")
        terminal.wait_for("No endpoints yet")
        assert hub.stop() == 0
        terminal.wait_for("no hub answers")
        terminal.press("q")
        assert terminal.end() == 0


def test_once_needs_no_terminal(hub: HubProcess) -> None:
    done = llm_hub("top", "--once", env=hub.environment)
    assert (done.code, done.err) == (0, "")
    assert "box-1" in done.out
    assert "\x1b" not in done.out
    assert " quit" not in done.out


@pytest.mark.parametrize("arguments", [("top",), ("top", "-o", "json")])
def test_without_a_terminal_it_names_the_alternatives(
    hub: HubProcess, arguments: tuple[str, ...]
) -> None:
    done = llm_hub(*arguments, env=hub.environment)
    assert done.code == 2
    assert "snapshot" in done.err

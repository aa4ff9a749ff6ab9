import os
import pty
import subprocess
import sys

import pytest

from hub.cli.output import bytes_text
from hub.cli.text import printable
from llmhub.v1.endpoint_pb2 import Endpoint
from tests.support.grpc_stand_in import ADMIN_TOKEN, StandIn


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


def test_a_terminal_gets_a_table_that_no_name_can_break(hub: StandIn) -> None:
    hub.endpoints["a:1"] = Endpoint(id="a:1", name="[red]x[/red]\x1b[2J")
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "hub", "--hub", hub.address, "--token", ADMIN_TOKEN, "endpoints"],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "120"},
        timeout=30,
        check=False,
    )
    os.close(theirs)
    shown = read_all(ours)
    os.close(ours)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "Endpoints" in shown
    assert r"[red]x[/red]\x1b[2J" in shown
    assert "\t" not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain ä 模型", "plain ä 模型"), ("a\r\nb", r"a\r\nb"), ("\u202e\x00", r"\u202e\x00")],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_bytes_text() -> None:
    assert [bytes_text(value) for value in (None, 0, 3 * 2**29)] == ["?", "0.0 GiB", "1.5 GiB"]

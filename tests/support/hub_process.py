"""The real hub in a separate process, as `llm-hub serve` starts it."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.engines import engine_environment

START_DEADLINE_S = 60
STOP_DEADLINE_S = 30

READY = re.compile(r"^ready ws=(\S+) grpc=(\S+) http=(\S+)$", re.MULTILINE)


@dataclass
class HubProcess:
    process: subprocess.Popen[bytes]
    data_dir: Path
    said: str
    ws: str
    grpc: str
    http: str

    @property
    def admin_token(self) -> str:
        return (self.data_dir / "admin.token").read_text().strip()

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which the command finds the hub and its token."""
        return {"LLM_HUB_ADDRESS": self.grpc, "LLM_HUB_DATA_DIR": str(self.data_dir)}

    def stop(self) -> int:
        """Interrupts the hub as Ctrl-C does; returns its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_DEADLINE_S)


def serve_command(data_dir: Path, *arguments: str) -> list[str]:
    transports = ("ws", "grpc", "http")
    listeners = [part for each in transports for part in (f"--{each}", "127.0.0.1:0")]
    return [
        sys.executable,
        "-m",
        "hub.cli",
        "serve",
        "--data-dir",
        str(data_dir),
        *listeners,
        *arguments,
    ]


def hub_environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LLM_HUB_")}
    # A hub under test connects only to this machine, whatever a test registers.
    loopback = {"LLM_HUB_PROBES__ALLOW": "127.0.0.0/8,::1/128"}
    return {**kept, **loopback, **engine_environment(), "PYTHONPATH": os.pathsep.join(sys.path)}


@contextmanager
def running_hub(data_dir: Path, *arguments: str) -> Iterator[HubProcess]:
    """Runs a hub on free ports; yields when it is ready, and kills it if it still runs."""
    log = data_dir.parent / f"{data_dir.name}.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            serve_command(data_dir, *arguments),
            stdout=subprocess.PIPE,
            stderr=errors,
            env=hub_environment(),
        ) as process,
    ):
        try:
            said, match = _wait_until_ready(process, log)
            yield HubProcess(process, data_dir, said, *match.groups())
        finally:
            if process.poll() is None:
                process.kill()


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> tuple[str, re.Match[str]]:
    said = b""
    deadline = time.monotonic() + START_DEADLINE_S
    while not (match := READY.search(said.decode())):
        left = deadline - time.monotonic()
        readable, _, _ = select.select([process.stdout], [], [], max(left, 0))
        part = os.read(process.stdout.fileno(), 65536) if readable else b""
        if not part:
            raise AssertionError(f"the hub did not become ready: {said!r}\n{log.read_text()}")
        said += part
    return said.decode(), match

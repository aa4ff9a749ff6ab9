"""A real etcd with one member for tests, on its own ports."""

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.ports import lasting_port


class EtcdServer:
    """An etcd process on a data directory; a test can kill and restart it."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp())
        self._ports = lasting_port(), lasting_port()
        self.target = f"127.0.0.1:{self._ports[0]}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        atexit.register(self.remove)

    def start(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in self._ports)
        self._process = subprocess.Popen(
            [
                *("etcd", "--data-dir", str(self._directory), "--log-level", "error"),
                *("--listen-client-urls", client, "--advertise-client-urls", client),
                *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                *("--initial-cluster", f"default={peer}"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)


@functools.cache
def shared_server() -> EtcdServer:
    """One server per test process; each test uses its own prefix."""
    return EtcdServer()

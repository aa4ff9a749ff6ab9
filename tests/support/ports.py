"""Ports for servers that leave and come back to the same place.

A port that the kernel picked (port 0) is free for anybody once its server has gone: the next
connection of another test may have it as its own end. These lie below the range that the kernel
picks from, and each test process has its own share of them.
"""

import itertools
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

_FIRST = 10_000
_KERNEL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
# RFC 6335: dynamic ports start here where the kernel does not say otherwise.
_DYNAMIC = 49_152
_PROCESSES = 64


def _share() -> Iterator[int]:
    dynamic = int(_KERNEL_RANGE.read_text().split()[0]) if _KERNEL_RANGE.exists() else _DYNAMIC
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
    own = range(_FIRST + worker, dynamic, _PROCESSES)
    # Not from the start: another run of these tests may be under way on this machine.
    return itertools.islice(itertools.cycle(own), secrets.randbelow(len(own)), None)


_ports = _share()


def lasting_port() -> int:
    """A port of 127.0.0.1 on which nobody listens and which nobody is given by chance."""
    for port in itertools.islice(_ports, 300):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port below the kernel's own range is free")


def lasting_address() -> str:
    """127.0.0.1 with such a port."""
    return f"127.0.0.1:{lasting_port()}"

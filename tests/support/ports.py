"""Ports for servers that leave and come back to the same place.

A port that the kernel picked (port 0) is free for anybody once its server has gone: the next
connection of another test may have it as its own end. These lie outside the range that the kernel
picks from, and each test process has its own share of them.
"""

import itertools
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

_FIRST = 10_000
_LAST = 65_535
_KERNEL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
# RFC 6335: dynamic ports are these where the kernel does not say otherwise.
_DYNAMIC = "49152 65535"
_PROCESSES = 64
_ENOUGH = 20 * _PROCESSES


def outside(kernel_range: str) -> range:
    """The ports that a kernel with that range does not pick.

    Where it leaves next to none, some that it may pick all the same.
    """
    first, last = map(int, kernel_range.split())
    spans = range(_FIRST, first), range(last + 1, _LAST + 1), range(_FIRST, _LAST + 1)
    return next(span for span in spans if len(span) >= _ENOUGH)


def _share() -> Iterator[int]:
    ports = outside(_KERNEL_RANGE.read_text() if _KERNEL_RANGE.exists() else _DYNAMIC)
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
    own = ports[worker::_PROCESSES]
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
    raise RuntimeError("no port that the kernel does not pick is free")


def lasting_address() -> str:
    """127.0.0.1 with such a port."""
    return f"127.0.0.1:{lasting_port()}"

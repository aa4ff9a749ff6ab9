"""Ports for servers that stop and start again at the same address.

Once a server has stopped, the kernel can give its ephemeral port (port 0) to any other socket, for
example to an outgoing connection of another test. The ports of this module are outside the kernel's
range, and each test process has its own share of them.
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
# RFC 6335: the dynamic ports, if the kernel does not report its range.
_DYNAMIC = "49152 65535"
_PROCESSES = 64
_ENOUGH = 20 * _PROCESSES


def outside(kernel_range: str) -> range:
    """The ports that a kernel with that range does not pick.

    If there are too few of them, ports that it may pick.
    """
    first, last = map(int, kernel_range.split())
    spans = range(_FIRST, first), range(last + 1, _LAST + 1), range(_FIRST, _LAST + 1)
    return next(span for span in spans if len(span) >= _ENOUGH)


def _share() -> Iterator[int]:
    ports = outside(_KERNEL_RANGE.read_text() if _KERNEL_RANGE.exists() else _DYNAMIC)
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
    own = ports[worker::_PROCESSES]
    # Start at random: another run of these tests may be using ports on this machine.
    return itertools.islice(itertools.cycle(own), secrets.randbelow(len(own)), None)


_ports = _share()


def lasting_port() -> int:
    """A free port of 127.0.0.1 that the kernel does not give to other sockets.

    Raises RuntimeError if there is none.
    """
    for port in itertools.islice(_ports, 300):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port outside the kernel's range is free")


def lasting_address() -> str:
    """127.0.0.1 with a `lasting_port`."""
    return f"127.0.0.1:{lasting_port()}"

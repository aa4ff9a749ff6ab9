"""Opens a server at its address, or explains in one line why it cannot."""

import errno
import os
from typing import Protocol

from hub.base.address import join_host_port
from hub.base.start_error import StartError


class Server(Protocol):
    """Listens at an address of its own."""

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises OSError when it cannot."""
        ...


async def listen(name: str, server: Server, host: str, port: int) -> str:
    """Makes a server listen; returns its address, with the port that the system chose for 0.

    `name` is the option that changes the address. Raises StartError.
    """
    try:
        bound = await server.start(host, port)
    except OSError as error:
        why = _why(error)
        if error.errno == errno.EADDRINUSE:
            free = join_host_port(host, 0)
            why += (
                f"; stop what listens there, or name another port: --{name} {free} takes a free one"
            )
        address = join_host_port(host, port)
        raise StartError(f"{name}: cannot listen on {address}: {why}") from error
    return join_host_port(host, bound)


def _why(error: OSError) -> str:
    """The system's message; asyncio's own repeats the address."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)

"""Which connections a server keeps, and which end where there are too many.

A connection that has shown no valid token is a stranger's. Strangers have a bound of their
own, and one more of them ends the oldest: a caller with a token shows it at once, so
connections that are only held open keep no caller out. Above the bound of all connections
a small reserve answers health checks, and nothing else, for a few seconds each: a prober
must not find a busy hub dead.
"""

import asyncio
from typing import Final, Protocol

from hub.transports.grpc.native.arrivals import Arrivals
from hub.transports.grpc.native.limits import Limits


class KeptConnection(Protocol):
    """What the table knows of a connection."""

    @property
    def network(self) -> str:
        """The address that it counts for: an IPv4 address or an IPv6 /64."""
        ...

    @property
    def known(self) -> bool:
        """Whether a caller on it has shown a valid token."""
        ...

    def abort(self) -> None:
        """Cuts it; `Connections.remove` follows later."""
        ...

    def drain(self) -> None:
        """Has it accept no more calls, and end with the last one."""
        ...

    def sweep(self, now: float) -> None:
        """Keeps its time limits."""
        ...


class Connections:
    """The open connections of one server."""

    __slots__ = ("_counted", "_reserve", "_strangers", "draining", "emptied", "open")

    def __init__(self, limits: Limits) -> None:
        self._counted: Final[Arrivals[KeptConnection]] = Arrivals(
            per_network=limits.connections_per_address, in_all=limits.connections
        )
        self._strangers: Final[Arrivals[KeptConnection]] = Arrivals(
            per_network=limits.strangers_per_address, in_all=limits.strangers
        )
        self._reserve: Final[Arrivals[KeptConnection]] = Arrivals(
            per_network=limits.reserved_connections, in_all=limits.reserved_connections
        )
        self.open: set[KeptConnection] = set()
        """All of them."""
        self.draining = False
        """Whether the server stops."""
        self.emptied = asyncio.Event()
        """Set once it stops and has no more connections."""

    def __len__(self) -> int:
        return len(self.open)

    def add(self, connection: KeptConnection) -> bool:
        """Takes a connection in; returns whether it is one of the reserve."""
        network = connection.network
        reserved = self._counted.in_the_way(network) is not None
        if reserved:
            _make_room(self._reserve, network)
            self._reserve.add(connection, network)
        else:
            _make_room(self._strangers, network)
            self._strangers.add(connection, network)
            self._counted.add(connection, network)
        self.open.add(connection)
        return reserved

    def remove(self, connection: KeptConnection) -> None:
        """The connection is closed."""
        self.open.discard(connection)
        for kept in (self._counted, self._strangers, self._reserve):
            kept.discard(connection)
        if self.draining and not self.open:
            self.emptied.set()


def _make_room(kept: Arrivals[KeptConnection], network: str) -> None:
    """Ends the oldest that is in the way of one more; known ones are no strangers."""
    while (oldest := kept.in_the_way(network)) is not None:
        kept.discard(oldest)
        if not oldest.known:
            oldest.abort()

"""Decides which connections a server keeps, and which it closes if there are too many.

A connection on which no valid token was shown is a stranger. Strangers have a bound of
their own, and one more of them closes the oldest. A real caller shows its token at once, so
idle connections cannot keep callers out. Above the bound on all connections, a small
reserve answers only health checks, for a few seconds each, so that a prober does not
mistake a busy hub for a dead one.
"""

import asyncio
from typing import Final, Protocol

from hub.transports.arrivals import Arrivals
from hub.transports.grpc.native.limits import Limits


class KeptConnection(Protocol):
    """A connection as this table sees it."""

    @property
    def network(self) -> str:
        """The network that it counts towards: an IPv4 address or an IPv6 /64."""
        ...

    @property
    def known(self) -> bool:
        """Whether a caller on it has shown a valid token."""
        ...

    def abort(self) -> None:
        """Closes it at once; `Connections.remove` is called later."""
        ...

    def drain(self) -> None:
        """Makes it accept no more calls, and close after the last one."""
        ...

    def sweep(self, now: float) -> None:
        """Enforces its time limits."""
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
        """All open connections."""
        self.draining = False
        """Whether the server is stopping."""
        self.emptied = asyncio.Event()
        """Set once the server is stopping and has no connections."""

    def __len__(self) -> int:
        return len(self.open)

    def add(self, connection: KeptConnection) -> bool:
        """Adds a connection; returns whether it belongs to the reserve."""
        network = connection.network
        reserved = self._counted.to_evict(network) is not None
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
        """Removes a closed connection."""
        self.open.discard(connection)
        for kept in (self._counted, self._strangers, self._reserve):
            kept.discard(connection)
        if self.draining and not self.open:
            self.emptied.set()


def _make_room(kept: Arrivals[KeptConnection], network: str) -> None:
    """Makes room for one more: closes the oldest strangers, and stops counting known ones."""
    while (oldest := kept.to_evict(network)) is not None:
        kept.discard(oldest)
        if not oldest.known:
            oldest.abort()

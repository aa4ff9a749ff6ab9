"""What all connections together hold, by address and in all."""

from collections import Counter
from typing import Final

from hub.transports.grpc.native.limits import Limits


class Account:
    """A quantity (streams, bytes) that is bounded by address and in all."""

    __slots__ = ("_by_address", "_in_all", "_per_address", "total")

    def __init__(self, *, per_address: int, in_all: int) -> None:
        self._per_address: Final = per_address
        self._in_all: Final = in_all
        self._by_address: Counter[str] = Counter()
        self.total = 0
        """What is held now, in all."""

    def has_room(self, address: str, count: int) -> bool:
        """Whether `count` more fit. An address that holds nothing always has room for its first."""
        held = self._by_address.get(address, 0)
        return not held or (
            held + count <= self._per_address and self.total + count <= self._in_all
        )

    def add(self, address: str, count: int) -> None:
        """Notes that the address holds more, or less where `count` is negative."""
        self.total += count
        held = self._by_address[address] + count
        if held:
            self._by_address[address] = held
        else:
            del self._by_address[address]


class Ledger:
    """The accounts of one server."""

    __slots__ = ("connections", "received", "streams", "unsent")

    def __init__(self, limits: Limits) -> None:
        self.connections = Account(
            per_address=limits.connections_per_address, in_all=limits.connections
        )
        self.streams = Account(per_address=limits.streams_per_address, in_all=limits.streams_in_all)
        self.received = Account(
            per_address=limits.received_bytes_per_address, in_all=limits.received_bytes_in_all
        )
        self.unsent = Account(
            per_address=limits.unsent_bytes_per_address, in_all=limits.unsent_bytes_in_all
        )

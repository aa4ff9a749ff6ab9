"""What all connections together hold, per address and in total."""

from collections import Counter
from typing import Final

from hub.transports.grpc.native.limits import Limits


class Account:
    """A quantity (streams, bytes) that is bounded per address and in total."""

    __slots__ = ("_by_address", "_in_all", "_per_address", "total")

    def __init__(self, *, per_address: int, in_all: int) -> None:
        self._per_address: Final = per_address
        self._in_all: Final = in_all
        self._by_address: Counter[str] = Counter()
        self.total = 0
        """The amount that is held now."""

    def has_room(self, address: str, count: int) -> bool:
        """Whether `count` more fit. An address that holds nothing always has room for its first."""
        held = self._by_address.get(address, 0)
        return not held or (
            held + count <= self._per_address and self.total + count <= self._in_all
        )

    def add(self, address: str, count: int) -> None:
        """Notes that the address holds more, or less if `count` is negative."""
        self.total += count
        held = self._by_address[address] + count
        if held:
            self._by_address[address] = held
        else:
            del self._by_address[address]


class Ledger:
    """The accounts of one server."""

    __slots__ = ("calls", "connections", "received", "streams", "unsent")

    def __init__(self, limits: Limits) -> None:
        self.connections = Account(
            per_address=limits.connections_per_address, in_all=limits.connections
        )
        self.calls = Account(per_address=limits.calls_per_address, in_all=limits.calls_in_all)
        self.streams = Account(per_address=limits.streams_per_address, in_all=limits.streams_in_all)
        self.received = Account(
            per_address=limits.received_bytes_per_address, in_all=limits.received_bytes_in_all
        )
        self.unsent = Account(
            per_address=limits.unsent_bytes_per_address, in_all=limits.unsent_bytes_in_all
        )


class Share:
    """What one connection holds of a server's accounts."""

    __slots__ = ("_address", "_calls", "_ledger", "_received", "_streams", "_unsent")

    def __init__(self, ledger: Ledger, address: str) -> None:
        self._ledger = ledger
        self._address = address
        self._calls = self._streams = self._received = self._unsent = 0

    @property
    def received(self) -> int:
        """Bytes received but not handled, as last noted."""
        return self._received

    def fits_streams(self, count: int) -> bool:
        """Whether the connection may have this many streams open."""
        return self._ledger.streams.has_room(self._address, count - self._streams)

    def fits_calls(self, count: int) -> bool:
        """Whether the handlers of this many calls may run or wait."""
        return self._ledger.calls.has_room(self._address, count - self._calls)

    def fits_received(self, count: int) -> bool:
        """Whether it may hold this many unhandled bytes."""
        return self._ledger.received.has_room(self._address, count - self._received)

    def fits_unsent(self, count: int) -> bool:
        """Whether this many bytes may wait until it reads them."""
        return self._ledger.unsent.has_room(self._address, count - self._unsent)

    def note_received(self, count: int) -> None:
        """Notes how many bytes are not handled now."""
        if count != self._received:
            self._ledger.received.add(self._address, count - self._received)
            self._received = count

    def note_calls(self, count: int) -> None:
        """Notes how many calls have handlers that run or wait."""
        self._ledger.calls.add(self._address, count - self._calls)
        self._calls = count

    def note(self, *, streams: int, unsent: int) -> None:
        """Notes how many streams are open now, and how many bytes wait to be read."""
        if streams != self._streams:
            self._ledger.streams.add(self._address, streams - self._streams)
            self._streams = streams
        if unsent != self._unsent:
            self._ledger.unsent.add(self._address, unsent - self._unsent)
            self._unsent = unsent

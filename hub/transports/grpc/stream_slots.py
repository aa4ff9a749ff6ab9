"""Bounds the streams that callers without a token hold open.

The calls that run at a time are bounded for all callers together. Without a narrower bound
a stranger could hold them all, and the hub would refuse every caller with a token.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hub.contract.errors import LimitReached
from hub.transports.peer import network_of

_MAX_OPEN: Final = 256
_MAX_OPEN_PER_PEER: Final = 64
_MAX_UNIDENTIFIED: Final = 1_024
_MAX_UNIDENTIFIED_PER_PEER: Final = 64


class StreamSlots:
    """At most `in_all` streams at a time, and `per_peer` of one address, or one IPv6 /64."""

    def __init__(self, *, in_all: int, per_peer: int) -> None:
        self._in_all = in_all
        self._per_peer = per_peer
        self._taken = 0
        self._by_peer: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._taken

    def take(self, peer: str) -> "StreamSlot":
        """A slot for a stream from that address. Raises LimitReached."""
        peer = network_of(peer)
        if self._taken >= self._in_all:
            raise LimitReached(f"{self._in_all} streams of unknown callers are open")
        if self._by_peer[peer] >= self._per_peer:
            raise LimitReached(f"{self._per_peer} streams of unknown callers at {peer} are open")
        self._taken += 1
        self._by_peer[peer] += 1
        return StreamSlot(self, peer)

    @contextmanager
    def held(self, peer: str) -> Iterator[None]:
        """A slot while the block runs. Raises LimitReached."""
        slot = self.take(peer)
        try:
            yield
        finally:
            slot.free()

    def _free(self, peer: str) -> None:
        self._taken -= 1
        self._by_peer[peer] -= 1
        if not self._by_peer[peer]:
            del self._by_peer[peer]


def open_to_all() -> StreamSlots:
    """Slots for health and reflection, which need no token."""
    return StreamSlots(in_all=_MAX_OPEN, per_peer=_MAX_OPEN_PER_PEER)


def unidentified() -> StreamSlots:
    """Slots for sidecars' streams, which identify only after they are open."""
    return StreamSlots(in_all=_MAX_UNIDENTIFIED, per_peer=_MAX_UNIDENTIFIED_PER_PEER)


class StreamSlot:
    """One stream's slot."""

    def __init__(self, slots: StreamSlots, peer: str) -> None:
        self._slots = slots
        self._peer = peer
        self._held = True

    def free(self) -> None:
        """Gives the slot back. Idempotent."""
        if self._held:
            self._held = False
            self._slots._free(self._peer)

"""Bounds what callers without a token keep open: streams and health checks.

The number of running calls is bounded for all callers together. Without a narrower bound
a stranger could use it up, and the hub would refuse every caller with a token.

Callers without a token may share an address with a kubelet or a load balancer. So when
all slots are taken, a new check is not refused: it replaces the oldest check that still
waits for its message. The hub cannot end a reply that is not read (grpc has no reset for
servers), so replies are bounded per connection.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from hub.contract.errors import LimitReached
from hub.service.metrics.refusals import Refusals
from hub.transports.peer import network_of

_MAX_OPEN: Final = 256
_MAX_OPEN_PER_PEER: Final = 64
_MAX_UNIDENTIFIED: Final = 1_024
_MAX_UNIDENTIFIED_PER_PEER: Final = 64


class StreamSlots:
    """At most `in_all` streams at a time, and `per_peer` from one address or IPv6 /64."""

    def __init__(self, bound: str, refusals: Refusals, *, in_all: int, per_peer: int) -> None:
        """Refusals count as refused by `bound`."""
        self._bound = bound
        self._refusals = refusals
        self._in_all = in_all
        self._per_peer = per_peer
        self._taken = 0
        self._by_peer: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._taken

    def take(self, peer: str) -> "StreamSlot":
        """A slot for a stream from that address. Raises LimitReached."""
        address, peer = peer, network_of(peer)
        if self._taken >= self._in_all:
            self._refusals.note("grpc", self._bound, address)
            raise LimitReached(f"{self._in_all} streams of unknown callers are open")
        if self._by_peer[peer] >= self._per_peer:
            self._refusals.note("grpc", f"{self._bound}_per_address", address)
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


def open_to_all(refusals: Refusals) -> StreamSlots:
    """Slots for health and reflection, which need no token."""
    return StreamSlots("open_streams", refusals, in_all=_MAX_OPEN, per_peer=_MAX_OPEN_PER_PEER)


def unidentified(refusals: Refusals) -> StreamSlots:
    """Slots for sidecars' streams, which identify only after they are open."""
    return StreamSlots(
        "unidentified", refusals, in_all=_MAX_UNIDENTIFIED, per_peer=_MAX_UNIDENTIFIED_PER_PEER
    )


class StreamSlot:
    """One stream's slot."""

    def __init__(self, slots: StreamSlots, peer: str) -> None:
        self._slots = slots
        self._peer = peer
        self._held = True

    def free(self) -> None:
        """Releases the slot. Idempotent."""
        if self._held:
            self._held = False
            self._slots._free(self._peer)


class CheckSlots:
    """Bounds health checks: at most `waiting` that wait for their message, and `replies`.

    Of those, at most `waiting_per_peer` come from one address, and at most
    `replies_per_connection` are being sent on one connection.
    """

    def __init__(
        self, *, waiting: int, waiting_per_peer: int, replies: int, replies_per_connection: int
    ) -> None:
        self._max_waiting = waiting
        self._max_waiting_per_peer = waiting_per_peer
        self._max_replies = replies
        self._max_replies_per_connection = replies_per_connection
        # Both are in the order of arrival.
        self._waiting: dict[asyncio.Timeout, str] = {}
        self._by_peer: dict[str, dict[asyncio.Timeout, None]] = {}
        self._replies: Counter[str] = Counter()

    @asynccontextmanager
    async def waiting(self, peer: str) -> AsyncIterator[None]:
        """Room for the block, which waits for the message of a check from that address.

        Raises LimitReached in the block when newer checks need the room.
        """
        network = network_of(peer)
        self._make_room(network)
        try:
            async with asyncio.timeout(None) as end:
                self._waiting[end] = network
                self._by_peer.setdefault(network, {})[end] = None
                try:
                    yield
                finally:
                    self._forget(end)
        except TimeoutError:
            raise LimitReached("newer health checks needed the room") from None

    @contextmanager
    def replying(self, connection: str) -> Iterator[None]:
        """Room for the block, which sends a reply. Raises LimitReached.

        A connection's only reply always has room, which no other connection can take.
        """
        held = self._replies[connection]
        if held and (
            held >= self._max_replies_per_connection or self._replies.total() >= self._max_replies
        ):
            raise LimitReached(f"{held} replies to health checks are unread")
        self._replies[connection] += 1
        try:
            yield
        finally:
            self._replies[connection] -= 1
            if not self._replies[connection]:
                del self._replies[connection]

    def _make_room(self, network: str) -> None:
        same = self._by_peer.get(network, {})
        if len(same) >= self._max_waiting_per_peer:
            oldest = next(iter(same))
        elif len(self._waiting) >= self._max_waiting:
            oldest = next(iter(self._waiting))
        else:
            return
        self._forget(oldest)
        oldest.reschedule(asyncio.get_running_loop().time())

    def _forget(self, end: asyncio.Timeout) -> None:
        network = self._waiting.pop(end, None)
        if network is not None:
            del self._by_peer[network][end]
            if not self._by_peer[network]:
                del self._by_peer[network]

"""Leases: which endpoints callers use, as far as they say so. Pure.

A selection with a lease counts as load on its endpoint from that moment, long before a
probe can see the request. So simultaneous callers spread over the fleet, instead of all
choosing the endpoint that was best before.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush


class TooManyLeases(Exception):
    """The maximum number of leases is held, in total or by one owner."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One lease; times are epoch milliseconds."""

    id: str
    endpoint_id: str
    expires_ms: int
    owner: str = ""
    model: str = ""


class Leases:
    """The leases that are held: at most `max_leases`, and `max_per_owner` per owner.

    `on_change` is called with the endpoint's id whenever its count changes. Call `expire`
    before reading. Leases exist only in memory; a restarted hub has none.
    """

    def __init__(
        self, *, max_leases: int, max_per_owner: int, on_change: Callable[[str], None]
    ) -> None:
        self._max_leases = max_leases
        self._max_per_owner = max_per_owner
        self._on_change = on_change
        self._leases: dict[str, Lease] = {}
        self._in_flight: dict[str, int] = {}
        self._owned: Counter[str] = Counter()
        self._deadlines: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._leases)

    def in_flight(self, endpoint_id: str) -> int:
        """The number of leases on an endpoint."""
        return self._in_flight.get(endpoint_id, 0)

    def get(self, lease_id: str) -> Lease | None:
        """The lease with that id, or None."""
        return self._leases.get(lease_id)

    def next_deadline_ms(self) -> int | None:
        """When the next lease may expire, or None. It may have been released already."""
        return self._deadlines[0][0] if self._deadlines else None

    def take(
        self,
        lease_id: str,
        endpoint_id: str,
        ttl_ms: int,
        now_ms: int,
        owner: str = "",
        model: str = "",
    ) -> Lease:
        """Takes a lease; `model` is the endpoint's name of it. Raises TooManyLeases."""
        if len(self._leases) >= self._max_leases:
            raise TooManyLeases(f"{self._max_leases} leases are held")
        if self._owned.get(owner, 0) >= self._max_per_owner:
            raise TooManyLeases(f"the caller holds {self._max_per_owner} leases")
        lease = self._leases[lease_id] = Lease(lease_id, endpoint_id, now_ms + ttl_ms, owner, model)
        self._owned[owner] += 1
        # Released leases leave their deadlines behind, which must not accumulate.
        if len(self._deadlines) > 2 * len(self._leases) + 64:
            self._deadlines = [(each.expires_ms, each.id) for each in self._leases.values()]
            heapify(self._deadlines)
        else:
            heappush(self._deadlines, (lease.expires_ms, lease_id))
        self._count(endpoint_id, 1)
        return lease

    def release(self, lease_id: str) -> Lease | None:
        """Ends a lease, and returns it; None if there is none."""
        lease = self._leases.pop(lease_id, None)
        if lease is None:
            return None
        self._owned[lease.owner] -= 1
        if not self._owned[lease.owner]:
            del self._owned[lease.owner]
        self._count(lease.endpoint_id, -1)
        return lease

    def expire(self, now_ms: int) -> None:
        """Ends expired leases."""
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            _, lease_id = heappop(self._deadlines)
            self.release(lease_id)

    def _count(self, endpoint_id: str, change: int) -> None:
        count = self._in_flight.get(endpoint_id, 0) + change
        if count:
            self._in_flight[endpoint_id] = count
        else:
            del self._in_flight[endpoint_id]
        self._on_change(endpoint_id)

"""A bounded set in order of arrival, with one bound per network and one in total.

If the set is full, the oldest item of the network with the most items gives way. So callers
from a few networks, however fast they are, cannot evict those of another.
"""

from typing import Final, Generic, TypeVar

T = TypeVar("T")


class Arrivals(Generic[T]):
    """Items in the order of their arrival, each from a network (see `network_of`)."""

    __slots__ = ("_by_network", "_in_all", "_networks", "_per_network")

    def __init__(self, *, per_network: int, in_all: int) -> None:
        self._per_network: Final = per_network
        self._in_all: Final = in_all
        self._networks: dict[T, str] = {}
        self._by_network: dict[str, dict[T, None]] = {}

    def __len__(self) -> int:
        return len(self._networks)

    def __contains__(self, item: T) -> bool:
        return item in self._networks

    def count(self, network: str) -> int:
        """The number of items from this network."""
        return len(self._by_network.get(network, ()))

    def network(self, item: T) -> str:
        """The network that an item arrived from. Raises KeyError."""
        return self._networks[item]

    def to_evict(self, network: str) -> T | None:
        """The item to evict before another one from this network is added, or None."""
        same = self._by_network.get(network, {})
        if len(same) >= self._per_network:
            return next(iter(same))
        return self.oldest_of_most() if len(self._networks) >= self._in_all else None

    def oldest_of_most(self) -> T | None:
        """The oldest item of the network with the most; None if the set is empty."""
        if not self._by_network:
            return None
        greediest = max(self._by_network, key=lambda network: len(self._by_network[network]))
        return next(iter(self._by_network[greediest]))

    def add(self, item: T, network: str) -> None:
        """Adds an item that arrived from this network."""
        self._networks[item] = network
        self._by_network.setdefault(network, {})[item] = None

    def discard(self, item: T) -> None:
        """Removes an item, if it is there."""
        network = self._networks.pop(item, None)
        if network is not None:
            same = self._by_network[network]
            del same[item]
            if not same:
                del self._by_network[network]

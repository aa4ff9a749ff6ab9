"""What came and waits, oldest first, bounded by network and in all."""

from typing import Final, Generic, TypeVar

T = TypeVar("T")


class Arrivals(Generic[T]):
    """Things in the order in which they came, each from a network (see `network_of`)."""

    __slots__ = ("_by_network", "_in_all", "_networks", "_per_network")

    def __init__(self, *, per_network: int, in_all: int) -> None:
        self._per_network: Final = per_network
        self._in_all: Final = in_all
        self._networks: dict[T, str] = {}
        self._by_network: dict[str, dict[T, None]] = {}

    def __len__(self) -> int:
        return len(self._networks)

    def __contains__(self, thing: T) -> bool:
        return thing in self._networks

    def in_the_way(self, network: str) -> T | None:
        """The oldest thing that must go before one more of this network may come, or None."""
        same = self._by_network.get(network, {})
        if len(same) >= self._per_network:
            return next(iter(same))
        if len(self._networks) >= self._in_all:
            return next(iter(self._networks))
        return None

    def add(self, thing: T, network: str) -> None:
        """The thing came from this network."""
        self._networks[thing] = network
        self._by_network.setdefault(network, {})[thing] = None

    def discard(self, thing: T) -> None:
        """The thing left, or does not count any more. Idempotent."""
        network = self._networks.pop(thing, None)
        if network is not None:
            same = self._by_network[network]
            del same[thing]
            if not same:
                del self._by_network[network]

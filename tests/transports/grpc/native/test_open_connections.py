"""Which connections are kept; with real sockets in test_attacks.py."""

from dataclasses import replace

import pytest

from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.open_connections import Connections


class Kept:
    """A connection that remembers whether it was cut."""

    def __init__(self, network: str = "a", *, known: bool = False) -> None:
        self.network = network
        self.known = known
        self.cut = False

    def abort(self) -> None:
        self.cut = True

    def drain(self) -> None:
        """Not called here."""

    def sweep(self, now: float) -> None:
        """Not called here."""


async def test_one_more_stranger_ends_the_oldest_of_its_address() -> None:
    connections = Connections(Limits(strangers_per_address=2))
    other = Kept("b")
    first, known, third, fourth = Kept(), Kept(known=True), Kept(), Kept()
    for one in (other, known, first, third, fourth):
        assert not connections.add(one)
    assert (first.cut, known.cut, other.cut, third.cut) == (True, False, False, False)
    assert len(connections) == 5


async def test_strangers_are_bounded_in_all() -> None:
    connections = Connections(Limits(strangers=2))
    strangers = [Kept(name) for name in "abc"]
    for one in strangers:
        connections.add(one)
    assert [one.cut for one in strangers] == [True, False, False]


@pytest.mark.parametrize("limits", [Limits(connections=1), Limits(connections_per_address=1)])
async def test_above_the_bound_there_is_a_reserve_whose_oldest_ends(limits: Limits) -> None:
    connections = Connections(replace(limits, reserved_connections=1))
    kept, second, third = Kept(known=True), Kept(), Kept()
    assert [connections.add(one) for one in (kept, second, third)] == [False, True, True]
    assert (kept.cut, second.cut, third.cut) == (False, True, False)
    connections.remove(kept)
    assert not connections.add(Kept())


async def test_the_last_one_leaves_a_server_that_stops() -> None:
    connections = Connections(Limits())
    only = Kept()
    connections.add(only)
    connections.draining = True
    connections.remove(only)
    assert connections.emptied.is_set()

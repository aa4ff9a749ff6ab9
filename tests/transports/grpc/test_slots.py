import asyncio

import pytest

from hub.contract.errors import LimitReached
from hub.service.metrics.refusals import Refusals
from hub.transports.grpc.slots import CheckSlots, StreamSlots
from tests.support.waiting import wait_until


def slots_for(**bounds: int) -> CheckSlots:
    plenty = {"waiting": 9, "waiting_per_peer": 9, "replies": 9, "replies_per_connection": 9}
    return CheckSlots(**plenty | bounds)


class Waiting:
    """Checks that wait for ever, by the order in which they came."""

    def __init__(self, slots: CheckSlots, peers: str) -> None:
        self._tasks = [asyncio.create_task(self._wait(slots, peer)) for peer in peers]

    @staticmethod
    async def _wait(slots: CheckSlots, peer: str) -> None:
        async with slots.waiting(peer):
            await asyncio.Event().wait()

    async def refused(self, count: int) -> list[int]:
        """Waits until so many have been refused; returns which."""
        await wait_until(lambda: sum(task.done() for task in self._tasks) >= count)
        # Whoever else was to be refused would be by now.
        for _ in range(5):
            await asyncio.sleep(0)
        ended = [task for task in self._tasks if task.done()]
        assert all(isinstance(task.exception(), LimitReached) for task in ended)
        return [self._tasks.index(task) for task in ended]

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("bounds", "peers", "refused"),
    [
        ({"waiting": 3}, "abc", []),
        ({"waiting": 3}, "abcde", [0, 1]),
        ({"waiting_per_peer": 2}, "abbab", [1]),
        ({"waiting": 3, "waiting_per_peer": 2}, "abbb", [1]),
    ],
)
async def test_the_oldest_check_of_a_full_peer_makes_room(
    bounds: dict[str, int], peers: str, refused: list[int]
) -> None:
    slots = slots_for(**bounds)
    waiting = Waiting(slots, peers)
    try:
        assert await waiting.refused(len(refused)) == refused
        assert len(slots._waiting) == len(peers) - len(refused)
    finally:
        await waiting.end()
    assert not slots._waiting
    assert not slots._by_peer


async def test_an_error_in_the_block_is_passed_on() -> None:
    slots = slots_for()
    with pytest.raises(ValueError, match="wrong"):
        async with slots.waiting("a"):
            raise ValueError("wrong")
    assert not slots._waiting


def test_replies_are_bounded_except_a_connections_first() -> None:
    slots = slots_for(replies=3, replies_per_connection=2)
    with slots.replying("a"), slots.replying("a"):
        with pytest.raises(LimitReached), slots.replying("a"):
            pass
        with slots.replying("b"):
            with pytest.raises(LimitReached), slots.replying("b"):
                pass
            with slots.replying("c"):
                pass
    assert not slots._replies


def test_slots_are_bounded_per_peer_and_in_total() -> None:
    slots = StreamSlots("open", Refusals(), in_all=3, per_peer=2)
    first = slots.take("a")
    slots.take("a")
    with pytest.raises(LimitReached):
        slots.take("a")
    slots.take("b")
    with pytest.raises(LimitReached):
        slots.take("c")
    first.free()
    first.free()
    assert len(slots) == 2
    slots.take("c")
    with pytest.raises(LimitReached):
        slots.take("a")


def test_a_held_slot_is_always_freed() -> None:
    slots = StreamSlots("open", Refusals(), in_all=1, per_peer=1)
    for _ in range(2):
        with pytest.raises(ValueError, match="gone"), slots.held("a"):
            raise ValueError("gone")
    assert not len(slots)
    assert not slots._by_peer


def test_the_addresses_of_an_ipv6_network_share_their_slots() -> None:
    slots = StreamSlots("open", Refusals(), in_all=3, per_peer=1)
    held = slots.take("2001:db8::1")
    with pytest.raises(LimitReached):
        slots.take("2001:db8::2")
    slots.take("2001:db8:0:1::1")
    held.free()
    slots.take("2001:db8::2")


def test_what_has_no_slot_is_counted_under_its_bound():
    refusals = Refusals()
    slots = StreamSlots("open", refusals, in_all=2, per_peer=1)
    slots.take("10.0.0.1")
    with pytest.raises(LimitReached):
        slots.take("10.0.0.1")
    slots.take("10.0.0.2")
    with pytest.raises(LimitReached):
        slots.take("10.0.0.3")
    assert refusals.counts == {("grpc", "open_per_address"): 1, ("grpc", "open"): 1}

import pytest

from hub.contract.errors import LimitReached
from hub.transports.grpc.stream_slots import StreamSlots


def test_slots_are_bounded_for_one_and_for_all() -> None:
    slots = StreamSlots(in_all=3, per_peer=2)
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


def test_a_held_slot_comes_back_whatever_happens() -> None:
    slots = StreamSlots(in_all=1, per_peer=1)
    for _ in range(2):
        with pytest.raises(ValueError, match="gone"), slots.held("a"):
            raise ValueError("gone")
    assert not len(slots)
    assert not slots._by_peer


def test_the_addresses_of_an_ipv6_network_share_their_slots() -> None:
    slots = StreamSlots(in_all=3, per_peer=1)
    held = slots.take("2001:db8::1")
    with pytest.raises(LimitReached):
        slots.take("2001:db8::2")
    slots.take("2001:db8:0:1::1")
    held.free()
    slots.take("2001:db8::2")

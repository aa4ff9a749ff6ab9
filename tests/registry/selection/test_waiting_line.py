from collections.abc import Collection
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.registry.selection.waiting_line import LineFull, Place, WaitingLine

Line = WaitingLine[str]


def join(line: Line, token: str, name: str, priority: int = 0, group: str = "g") -> Place[str]:
    place = Place(token, priority, group, name)
    line.join(place)
    return place


def served(line: Line, blocked: Collection[str] = ()) -> list[str]:
    names = []
    while (place := line.next_in_turn(blocked)) is not None:
        names.append(place.item)
        line.serve(place)
    return names


def test_tokens_take_turns_whatever_the_number_of_their_selections() -> None:
    line = Line()
    for n in range(4):
        join(line, "many", f"m{n}")
    join(line, "few", "f0")
    join(line, "other", "o0")
    join(line, "few", "f1")
    assert served(line) == ["m0", "f0", "o0", "m1", "f1", "m2", "m3"]
    assert len(line) == 0


def test_a_higher_priority_comes_first() -> None:
    line = Line()
    join(line, "a", "low", priority=0)
    join(line, "a", "high", priority=5)
    join(line, "b", "highest", priority=9)
    assert served(line) == ["highest", "high", "low"]


def test_a_blocked_group_is_passed_over() -> None:
    line = Line()
    join(line, "a", "full", group="x")
    join(line, "a", "free", group="y")
    join(line, "b", "full too", group="x")
    assert served(line, blocked={"x"}) == ["free"]
    assert served(line) == ["full too", "full"], "the other token has just had its turn"


def test_one_tokens_selections_are_served_in_order_whatever_their_groups() -> None:
    line = Line()
    for n, group in enumerate("xyxzy"):
        join(line, "a", str(n), group=group)
    assert served(line) == list("01234")


def test_a_place_that_left_is_not_served() -> None:
    line = Line()
    first, second = join(line, "a", "first"), join(line, "a", "second")
    assert line.leave(first)
    assert not line.leave(first)
    assert served(line) == ["second"]
    assert not line.leave(second)


def test_the_line_is_bounded_in_all_per_token_and_by_needs() -> None:
    line = Line(max_waiting=4, max_per_token=3, max_groups_per_token=2)
    for group in "xxy":
        join(line, "a", "", group=group)
    with pytest.raises(LineFull, match="3 selections of this token"):
        join(line, "a", "")
    join(line, "b", "")
    with pytest.raises(LineFull, match="4 selections are"):
        join(line, "c", "")
    served(line)
    join(line, "a", "", group="x")
    join(line, "a", "", group="y")
    with pytest.raises(LineFull, match="2 different needs"):
        join(line, "a", "", group="z")
    join(line, "a", "", group="y")


@given(st.integers(0, 2**32))
def test_nothing_is_lost_served_twice_or_left_behind(seed: int) -> None:
    random = Random(seed)
    line = Line(max_waiting=20, max_per_token=8, max_groups_per_token=3)
    waiting: dict[str, Place[str]] = {}
    for n in range(200):
        match random.randrange(4):
            case 0 if waiting:
                name = random.choice([*waiting])
                assert line.leave(waiting.pop(name))
            case 1:
                blocked = {group for group in "xyz" if random.random() < 0.4}
                place = line.next_in_turn(blocked)
                possible = [each for each in waiting.values() if each.group not in blocked]
                assert (place is None) == (not possible)
                if place is not None:
                    assert place.priority == max(each.priority for each in possible)
                    assert waiting.pop(place.item) is place
                    line.serve(place)
            case _:
                try:
                    waiting[str(n)] = join(
                        line,
                        random.choice("abc"),
                        str(n),
                        random.randrange(3),
                        random.choice("xyz"),
                    )
                except LineFull:
                    assert len(line) >= 8 or len({each.group for each in waiting.values()}) == 3
        assert len(line) == len(waiting)
    for place in waiting.values():
        line.leave(place)
    assert not line._turns
    assert not line._groups

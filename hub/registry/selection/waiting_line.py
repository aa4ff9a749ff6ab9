"""The order in which selections wait for a place. Pure.

The highest priority is first. The tokens that wait at one priority take turns, so a token
with many waiting selections does not delay another with few. Those of one token are served
in the order of their arrival.

Selections with the same needs form a group: if no endpoint fits one of them, none fits the
others, so one attempt per group and change is enough.
"""

from collections import Counter, OrderedDict
from collections.abc import Container, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

MAX_WAITING: Final = 10_000
"""How many selections wait in all."""

MAX_WAITING_PER_TOKEN: Final = 1_000
"""How many selections of one token wait."""

MAX_GROUPS_PER_TOKEN: Final = 32
"""How many different needs the waiting selections of one token have; each costs attempts."""

T = TypeVar("T")


class LineFull(Exception):
    """No more selections may wait, in all or of one token; the message says which."""


@dataclass(slots=True, eq=False)
class Place(Generic[T]):
    """One waiting selection. `item` is what its owner needs to serve it."""

    token: str
    priority: int
    group: Hashable
    item: T
    number: int = 0


@dataclass(slots=True)
class _Turns(Generic[T]):
    """The waiting selections of one token at one priority: by group, in order of arrival."""

    groups: dict[Hashable, dict[int, Place[T]]] = field(default_factory=dict)

    def first(self, blocked: Container[Hashable]) -> Place[T] | None:
        heads = [
            next(iter(places.values()))
            for group, places in self.groups.items()
            if group not in blocked
        ]
        return min(heads, key=lambda place: place.number, default=None)


class WaitingLine(Generic[T]):
    """The places in their order, within bounds; `count` is their number."""

    def __init__(
        self,
        *,
        max_waiting: int = MAX_WAITING,
        max_per_token: int = MAX_WAITING_PER_TOKEN,
        max_groups_per_token: int = MAX_GROUPS_PER_TOKEN,
    ) -> None:
        self._max_waiting = max_waiting
        self._max_per_token = max_per_token
        self._max_groups = max_groups_per_token
        self._number = 0
        self.count = 0
        self._waiting: Counter[str] = Counter()
        self._groups: dict[str, Counter[Hashable]] = {}
        # The token whose turn is next comes first.
        self._turns: dict[int, OrderedDict[str, _Turns[T]]] = {}

    def __len__(self) -> int:
        return self.count

    def join(self, place: Place[T]) -> None:
        """Adds a place at the end of its token's places. Raises LineFull."""
        token = place.token
        if len(self) >= self._max_waiting:
            raise LineFull(f"{self._max_waiting} selections are already waiting")
        if self._waiting[token] >= self._max_per_token:
            raise LineFull(f"{self._max_per_token} selections of this token are already waiting")
        groups = self._groups.get(token, Counter())
        if place.group not in groups and len(groups) >= self._max_groups:
            raise LineFull(
                f"selections of this token with {self._max_groups} different needs already wait"
            )
        self._groups[token] = groups
        groups[place.group] += 1
        self._waiting[token] += 1
        self.count += 1
        self._number += 1
        place.number = self._number
        turns = self._turns.setdefault(place.priority, OrderedDict())
        turns.setdefault(token, _Turns()).groups.setdefault(place.group, {})[place.number] = place

    def next_in_turn(self, blocked: Container[Hashable]) -> Place[T] | None:
        """The place to serve next among the groups that are not blocked, or None."""
        for priority in sorted(self._turns, reverse=True):
            for turns in self._turns[priority].values():
                place = turns.first(blocked)
                if place is not None:
                    return place
        return None

    def serve(self, place: Place[T]) -> None:
        """Removes a place that was served; the turn passes to the next token."""
        self.leave(place)
        turns = self._turns.get(place.priority)
        if turns is not None and place.token in turns:
            turns.move_to_end(place.token)

    def leave(self, place: Place[T]) -> bool:
        """Removes a place; False if it is not in the line."""
        turns = self._turns.get(place.priority) or OrderedDict[str, _Turns[T]]()
        own = turns.get(place.token)
        places = own.groups.get(place.group, {}) if own is not None else {}
        if own is None or places.pop(place.number, None) is None:
            return False
        if not places:
            del own.groups[place.group]
        if not own.groups:
            del turns[place.token]
        if not turns:
            del self._turns[place.priority]
        self._waiting[place.token] -= 1
        self.count -= 1
        groups = self._groups[place.token]
        groups[place.group] -= 1
        if not groups[place.group]:
            del groups[place.group]
        if not self._waiting[place.token]:
            del self._waiting[place.token]
            del self._groups[place.token]
        return True

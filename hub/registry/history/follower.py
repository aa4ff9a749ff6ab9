"""One reader of a history: the revision up to which it has read. Pure.

All readers that keep a state of their own in step with a history use this class,
so that there is one answer to the question what happens if a reader is too slow:
`take` returns None until the reader has read the whole state again.
"""

import sys
from collections.abc import Sequence
from typing import Final, Generic, Protocol, TypeVar

from hub.registry.history.ring import Compacted


class Revised(Protocol):
    """An item of a history."""

    @property
    def revision(self) -> int:
        """The revision that made the item."""
        ...


R = TypeVar("R", bound=Revised)
R_co = TypeVar("R_co", bound=Revised, covariant=True)


class History(Protocol[R_co]):
    """A `Ring` of items that know their revision, or a `LatestLog`."""

    def after(self, revision: int, limit: int) -> Sequence[R_co]:
        """At most `limit` items after `revision`, oldest first. Raises Compacted."""
        ...


NOTHING_READ: Final = -1
"""Before every history: a follower from here has to read the whole state first."""


class Follower(Generic[R]):
    """Takes the items of a history one after the other.

    `revision` is where it stands. It has no queue, so a slow follower costs nothing.
    """

    __slots__ = ("_history", "revision")

    def __init__(self, history: History[R], revision: int = NOTHING_READ) -> None:
        self._history = history
        self.revision = revision

    def take(self, limit: int = sys.maxsize) -> Sequence[R] | None:
        """The next items, oldest first; fewer than `limit` are all there are.

        None if the history no longer has all of them. The reader then reads the whole
        state and calls `go_to` with the state's revision. Until it does, each call
        returns None: a reader that is interrupted while it reads the state starts again.
        """
        try:
            items = self._history.after(self.revision, limit)
        except Compacted:
            return None
        if items:
            self.revision = items[-1].revision
        return items

    def go_to(self, revision: int) -> None:
        """Continues from `revision`; what lies between is skipped."""
        self.revision = revision

"""What the hub requires of a store: ordered, revisioned, durable key/value batches.

A store keeps bytes under string keys and knows nothing about endpoints or tokens
(`hub.service.records` does). Every committed batch has a revision greater than every
earlier one; an entry remembers the revision that last wrote it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Put:
    """Writes `value` under `key`."""

    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Delete:
    """Removes `key`; does nothing if there is no such key."""

    key: str


Operation = Put | Delete


@dataclass(frozen=True, slots=True)
class Expect:
    """Requires that `key` was last written at `revision`; 0 requires that it does not exist."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Operations that are committed together, and their preconditions.

    Raises ValueError for an empty batch, and for one that names a key twice or
    has an empty key: engines disagree on what these mean.
    """

    operations: tuple[Operation, ...]
    expect: tuple[Expect, ...] = ()

    def __post_init__(self) -> None:
        if not self.operations:
            raise ValueError("a batch must have at least one operation")
        if len({operation.key for operation in self.operations}) < len(self.operations):
            raise ValueError("a batch must not name a key twice")
        if not all(operation.key for operation in self.operations):
            raise ValueError("a batch must not have an empty key")


@dataclass(frozen=True, slots=True)
class Entry:
    """One key with its value and the revision that wrote it."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """One committed batch: what it wrote and removed, at one revision.

    `deletes` are the removed keys. A batch that only deleted missing keys has
    neither puts nor deletes.
    """

    revision: int
    puts: tuple[Entry, ...]
    deletes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything in a store at one revision.

    `known_revision` is the last one that the engine knows to have acknowledged. If it is
    greater than `revision`, the changes in between are lost.
    """

    entries: tuple[Entry, ...]
    revision: int
    known_revision: int = 0


ChangeListener = Callable[[Change], None]

TransactionObserver = Callable[[int, float], None]
"""Called in the event loop with a transaction's batches and the seconds until it was durable."""


class PreconditionFailed(Exception):
    """An `Expect` was not met: nothing of the batch was written."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key!r} is not at the expected revision")
        self.key = key


class StoreError(Exception):
    """The store cannot be opened, read or written; the message says what to do."""


class Store(Protocol):
    """A durable key/value store with revisions and an ordered change feed."""

    @property
    def kind(self) -> str:
        """The engine's name: "sqlite" or "etcd"."""
        ...

    @property
    def waiting(self) -> int:
        """The number of batches that are not durable yet."""
        ...

    @property
    def out_of_touch_s(self) -> float:
        """For how many seconds the store may have missed changes; 0 while it is connected.

        A store in this process is never out of touch.
        """
        ...

    async def open(self, listener: ChangeListener) -> Contents:
        """Opens the store and returns all its contents.

        From then on `listener` is called in the event loop, once for every
        change after the returned revision, in the order of revisions, without
        gaps or repetitions. Raises StoreError.
        """
        ...

    async def commit(self, operations: Sequence[Operation], expect: Sequence[Expect] = ()) -> int:
        """Commits all operations or none, and returns their revision.

        Returns only after the batch is durable and the listener has received it.
        If the call is cancelled, the batch may still be committed. Raises
        PreconditionFailed (nothing was written), StoreError (the batch may or may
        not have been written) or ValueError (see `Batch`).
        """
        ...

    async def next_incarnation(self, at_least: int) -> int:
        """Returns and stores the number of a new incarnation of this hub.

        It is greater than every earlier number, and at least `at_least`.
        """
        ...

    async def close(self) -> None:
        """Commits pending batches and closes the store. Idempotent."""
        ...

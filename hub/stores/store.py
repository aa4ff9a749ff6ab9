"""What the hub asks of a store: ordered, revisioned, durable key/value batches.

A store keeps bytes under string keys and knows nothing of endpoints or tokens
(`hub.service.records` does). Every committed batch has a revision, greater than every
earlier one; an entry remembers the revision that wrote it last.
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
    """Removes `key`; nothing happens where it is not there."""

    key: str


Operation = Put | Delete


@dataclass(frozen=True, slots=True)
class Expect:
    """Demands that `key` was last written at `revision`; 0: that it is not there."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Operations that are committed together, and what they demand.

    Raises ValueError for an empty batch, and for one that names a key twice or
    has an empty key: engines disagree on what these mean.
    """

    operations: tuple[Operation, ...]
    expect: tuple[Expect, ...] = ()

    def __post_init__(self) -> None:
        if not self.operations:
            raise ValueError("a batch needs at least one operation")
        if len({operation.key for operation in self.operations}) < len(self.operations):
            raise ValueError("a batch may name a key once only")
        if not all(operation.key for operation in self.operations):
            raise ValueError("a batch may not have an empty key")


@dataclass(frozen=True, slots=True)
class Entry:
    """One key with its value and the revision that wrote it."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """One committed batch: what it wrote and removed, at one revision.

    `deletes` are the keys that were there; a batch that only deleted what was
    not there has neither puts nor deletes.
    """

    revision: int
    puts: tuple[Entry, ...]
    deletes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything in a store at one revision."""

    entries: tuple[Entry, ...]
    revision: int


ChangeListener = Callable[[Change], None]

TransactionObserver = Callable[[int, float], None]
"""Told, in the event loop, the batches of a transaction and the seconds until it was durable."""


class PreconditionFailed(Exception):
    """An `Expect` did not hold: nothing of the batch was written."""

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
        """How many batches are on their way to the disk."""
        ...

    @property
    def out_of_touch_s(self) -> float:
        """For how many seconds changes may have been missed; 0 while all is well.

        A store in this process is never out of touch.
        """
        ...

    async def open(self, listener: ChangeListener) -> Contents:
        """Opens the store and returns all it holds.

        From then on `listener` is called in the event loop, once for every
        change after the returned revision, in the order of revisions, without
        gap or repetition. Raises StoreError.
        """
        ...

    async def commit(self, operations: Sequence[Operation], expect: Sequence[Expect] = ()) -> int:
        """Commits all operations or none, and returns their revision.

        Returns only after the batch is durable and the listener has been called
        with it. Cancelled, the batch may be committed all the same. Raises
        PreconditionFailed (nothing was written), StoreError (unknown: it may or
        may not have been) or ValueError (see `Batch`).
        """
        ...

    async def next_incarnation(self, at_least: int) -> int:
        """Returns the number of a new incarnation of this hub, and remembers it.

        It is greater than every one returned before, and not less than `at_least`.
        """
        ...

    async def close(self) -> None:
        """Commits what is pending and closes the store. Idempotent."""
        ...

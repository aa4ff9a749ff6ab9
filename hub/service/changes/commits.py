"""Durable changes: decide on what is there, commit, and decide again if another writer won.

A hub that shares its store has rivals. Each commit expects the revision that its decision
rests on, so one of two rivals wins and the other retries against the winning write.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from hub.contract.errors import EtagMismatch, StoreUnavailable
from hub.stores.store import Expect, Operation, PreconditionFailed, Store, StoreError

ATTEMPTS: Final = 8
"""How often a change is decided before the hub gives up."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to write, and the revision of the record that the decision rests on.

    `absent` lists further records that the decision expects not to exist.
    """

    operations: Sequence[Operation]
    expect: Expect
    absent: Sequence[Expect] = ()


class Commits:
    """Commits changes to the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def write(self, operations: Sequence[Operation], *expects: Expect) -> int:
        """Commits once; returns the revision. Raises PreconditionFailed, StoreUnavailable."""
        try:
            return await self._store.commit(operations, expects)
        except StoreError as error:
            raise StoreUnavailable(f"the store did not take the change: {error}") from error

    async def change(self, what: str, decide: Callable[[], Decision | None]) -> int | None:
        """Commits what `decide` wants; calls it again each time another writer won.

        Returns the revision, or None if `decide` returns None because nothing changes.
        `what` names the record in the error. Raises EtagMismatch after `ATTEMPTS` lost
        races, StoreUnavailable, and what `decide` raises.
        """
        for _ in range(ATTEMPTS):
            decision = decide()
            if decision is None:
                return None
            try:
                return await self.write(decision.operations, decision.expect, *decision.absent)
            except PreconditionFailed:
                continue
        raise EtagMismatch(f"{what} keeps changing; try again")

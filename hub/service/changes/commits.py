"""Durable changes: decide on the current state, commit, and retry if another writer won.

Several hubs may write to one store. Each commit expects the revision that its decision
rests on, so one of two writers wins and the other retries against the winning write.
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
    """What to write, and the record's revision that the decision rests on.

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
            raise StoreUnavailable(f"the store did not accept the change: {error}") from error

    async def change(self, what: str, decide: Callable[[], Decision | None]) -> int | None:
        """Commits what `decide` returns; calls it again each time another writer wins.

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

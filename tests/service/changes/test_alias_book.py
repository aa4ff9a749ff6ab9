import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.contract.errors import EtagMismatch, LimitReached, StoreUnavailable
from hub.registry.state import Registry
from hub.service.access.caller import Caller, Principal
from hub.service.changes.alias_book import AliasBook, AliasFollower
from hub.service.changes.audit_trail import AuditTrail, Author
from hub.service.changes.commits import Commits
from hub.stores.store import Entry, StoreError
from llmhub.v1.model_alias_pb2 import AliasTarget, ModelAlias
from llmhub.v1.resources_pb2 import ROLE_ADMIN
from tests.support.core import Core, running_core

NOW = 1_800_000_000_000
CALLER = Caller(Principal(ROLE_ADMIN, "", "tok"), "10.0.0.9", "grpc")


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with running_core(tmp_path) as running:
        yield running


def author() -> Author:
    return Author(AuditTrail(), CALLER, "SetModelAlias", NOW)


def alias(name: str) -> ModelAlias:
    return ModelAlias(name=name, targets=[AliasTarget(model="m")])


@pytest.mark.parametrize("value", [b"\xff", ModelAlias(name="other").SerializeToString()])
def test_a_damaged_record_is_named(value: bytes) -> None:
    follower = AliasFollower(Registry(first_revision=1))
    with pytest.raises(StoreError, match="aliases/x"):
        follower.apply_put(Entry("aliases/x", value, 1))


async def test_the_number_of_aliases_is_bounded(core: Core) -> None:
    book = AliasBook(Commits(core.store), core.registry, max_aliases=1)
    await book.set(alias("a"), author())
    await book.set(alias("a"), author())
    with pytest.raises(LimitReached):
        await book.set(alias("b"), author())


async def test_aliases_being_written_count_for_the_limit(core: Core) -> None:
    book = AliasBook(Commits(core.store), core.registry, max_aliases=3)
    done = await asyncio.gather(
        *(book.set(alias(f"a{n}"), author()) for n in range(10)), return_exceptions=True
    )
    assert sum(isinstance(each, LimitReached) for each in done) == 7
    assert len(core.registry.aliases) == 3


async def test_concurrent_changes_of_an_alias_are_serialised(core: Core) -> None:
    book = AliasBook(Commits(core.store), core.registry)
    done = await asyncio.gather(*(book.set(alias("a"), author()) for _ in range(5)))
    assert len({each.etag for each in done}) == 5
    (current,) = [record.message for _, record in core.registry.aliases.items()]
    etagged = alias("a")
    etagged.etag = current.etag
    results = await asyncio.gather(
        *(book.set(etagged, author()) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(each, ModelAlias) for each in results) == 1
    assert sum(isinstance(each, EtagMismatch) for each in results) == 4


async def test_a_closed_store_is_reported(core: Core) -> None:
    book = AliasBook(Commits(core.store), core.registry)
    await core.store.close()
    with pytest.raises(StoreUnavailable):
        await book.set(alias("a"), author())

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.contract.errors import EtagMismatch, StoreUnavailable
from hub.service.changes.commits import ATTEMPTS, Commits, Decision
from hub.stores.sqlite import SqliteStore
from hub.stores.store import Expect, PreconditionFailed, Put


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "hub.db")
    await store.open(lambda _change: None)
    yield store
    await store.close()


async def test_a_lost_race_is_retried(store: SqliteStore) -> None:
    winning = await store.commit([Put("a/1", b"theirs")])
    seen = iter([0, winning])

    def decide() -> Decision:
        return Decision([Put("a/1", b"ours")], Expect("a/1", next(seen)))

    revision = await Commits(store).change("a 1", decide)
    assert revision is not None
    assert revision > winning
    assert list(seen) == []


async def test_an_endless_race_ends_with_an_error(store: SqliteStore) -> None:
    decided = []

    def decide() -> Decision:
        decided.append(1)
        return Decision([Put("a/1", b"x")], Expect("a/1", 999))

    with pytest.raises(EtagMismatch, match="alias x keeps changing"):
        await Commits(store).change("alias x", decide)
    assert len(decided) == ATTEMPTS


async def test_nothing_is_written_if_nothing_changes(store: SqliteStore) -> None:
    before = store.commits
    assert await Commits(store).change("a 1", lambda: None) is None
    assert store.commits == before


async def test_a_single_write_reports_what_went_wrong(store: SqliteStore) -> None:
    commits = Commits(store)
    with pytest.raises(PreconditionFailed):
        await commits.write([Put("a/1", b"x")], Expect("a/1", 999))
    assert await commits.write([Put("a/1", b"x")])
    await store.close()
    with pytest.raises(StoreUnavailable, match="did not accept the change"):
        await commits.write([Put("a/1", b"x")])

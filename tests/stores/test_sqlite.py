import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hub.stores.sqlite import SqliteStore
from hub.stores.sqlite_file import SqliteFile
from hub.stores.store import Delete, Expect, PreconditionFailed, Put, StoreError
from tests.support.stores import Feed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open(Feed())
    yield store
    await store.close()


class Gate:
    """Holds the writer thread back until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        commit = SqliteFile.commit

        def held(file: SqliteFile, batches: object) -> object:
            self.reached.set()
            assert self.opened.wait(30)
            return commit(file, batches)  # type: ignore[arg-type]

        monkeypatch.setattr(SqliteFile, "commit", held)


async def test_waiting_writes_share_one_transaction(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    first = asyncio.ensure_future(store.commit([Put("first", b"")]))
    await asyncio.to_thread(gate.reached.wait, 30)
    rest = [asyncio.ensure_future(store.commit([Put(f"k/{i}", b"")])) for i in range(500)]
    await asyncio.sleep(0)
    gate.opened.set()
    await asyncio.gather(first, *rest)
    assert (store.commits, store.batches, store.last_batch_size) == (2, 501, 500)


async def test_concurrent_callers_share_transactions(store: SqliteStore) -> None:
    async def caller(name: int) -> None:
        for i in range(20):
            await store.commit([Put(f"k/{name}/{i}", b"")])

    await asyncio.gather(*(caller(name) for name in range(32)))
    assert store.batches == 640
    assert store.commits <= 128


async def test_a_failed_precondition_fails_only_its_own_batch(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    held = asyncio.ensure_future(store.commit([Put("held", b"")]))
    await asyncio.to_thread(gate.reached.wait, 30)
    tasks = [
        asyncio.ensure_future(store.commit([Put("a", b"%d" % i)], [Expect("a", 0)] * (i % 2)))
        for i in range(6)
    ]
    await asyncio.sleep(0)
    gate.opened.set()
    await held
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [int, PreconditionFailed] * 3
    assert store.commits == 2


async def test_a_group_whose_preconditions_all_fail_writes_nothing(store: SqliteStore) -> None:
    with pytest.raises(PreconditionFailed):
        await store.commit([Put("a", b"")], [Expect("a", 5)])
    assert (store.commits, store.batches) == (0, 0)


async def test_an_overloaded_store_refuses_commits_and_recovers(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    store = SqliteStore(path, max_waiting=5)
    await store.open(Feed())
    tasks = [asyncio.ensure_future(store.commit([Put(f"k/{i}", b"")])) for i in range(5)]
    await asyncio.to_thread(gate.reached.wait, 30)
    with pytest.raises(StoreError, match="overloaded"):
        await store.commit([Put("one too many", b"")])
    gate.opened.set()
    await asyncio.gather(*tasks)
    await store.commit([Put("again", b"")])
    await store.close()


async def test_the_observer_receives_every_transaction(path: Path) -> None:
    reported: list[tuple[int, float]] = []
    store = SqliteStore(
        path, on_transaction=lambda batches, seconds: reported.append((batches, seconds))
    )
    await store.open(Feed())
    await asyncio.gather(*(store.commit([Put(f"k/{i}", b"")]) for i in range(50)))
    await store.close()
    assert sum(batches for batches, _ in reported) == 50
    assert len(reported) == store.commits
    assert all(seconds > 0 for _, seconds in reported)


async def test_a_full_disk_fails_the_callers_but_not_the_store(path: Path) -> None:
    feed = Feed()
    store = SqliteStore(path, max_bytes=64 * 1024)
    await store.open(feed)
    await store.commit([Put("a", b"1")])
    outcomes = await asyncio.gather(
        *(store.commit([Put(f"big/{i}", bytes(100_000))]) for i in range(8)),
        return_exceptions=True,
    )
    assert all(isinstance(outcome, StoreError) for outcome in outcomes)
    assert len({id(outcome) for outcome in outcomes}) == 8
    assert await store.commit([Put("b", b"2")], [Expect("a", 1)]) == 2
    assert list(feed.replayed()) == ["a", "b"]
    await store.close()


async def test_a_store_that_could_not_be_opened_can_be_closed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    with pytest.raises(StoreError, match="cannot be opened"):
        await store.open(Feed())
    with pytest.raises(StoreError, match="not open"):
        await store.commit([Put("a", b"")])
    await store.close()


async def test_a_second_store_on_the_same_file_is_refused(store: SqliteStore, path: Path) -> None:
    second = SqliteStore(path)
    with pytest.raises(StoreError, match="in use by another hub"):
        await second.open(Feed())
    await second.close()
    await store.commit([Put("a", b"")])


async def test_the_writer_thread_ends_with_the_store(path: Path) -> None:
    store = SqliteStore(path)
    await store.open(Feed())
    assert [thread for thread in threading.enumerate() if thread.name == "hub-store"]
    thread = store._thread
    await store.close()
    assert thread is not None
    assert not thread.is_alive()


async def test_a_closed_store_leaves_no_log(store: SqliteStore, path: Path) -> None:
    await store.commit([Put("a", b"")])
    await store.close()
    assert {each.name for each in path.parent.iterdir()} == {"hub.db", "hub.db-revision"}


async def test_backup_while_commits_go_on(store: SqliteStore, tmp_path: Path) -> None:
    tasks = [asyncio.ensure_future(store.commit([Put(f"k/{i}", b"")])) for i in range(100)]
    target = tmp_path / "backup.db"
    await asyncio.sleep(0)
    size = await store.backup(target)
    await asyncio.gather(*tasks)
    assert size > 0
    copy = SqliteStore(target)
    contents = await copy.open(Feed())
    assert len(contents.entries) == contents.revision
    await copy.close()
    with pytest.raises(StoreError, match="cannot be created"):
        await store.backup(target)


_VICTIM = """
import asyncio, sys
from pathlib import Path
from hub.stores.store import Put
from hub.stores.sqlite import SqliteStore

async def caller(store, name):
    for i in range(100_000):
        await store.commit([Put(f"{name}/{i}", b"x" * 100)])
        print(f"{name}/{i}", flush=True)

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open(lambda change: None)
    await asyncio.gather(*(caller(store, name) for name in range(16)))

asyncio.run(main())
"""


def killed_writer(path: Path) -> set[str]:
    """Kills a process while it writes, and returns the keys that the store confirmed."""
    victim = subprocess.Popen(
        [sys.executable, "-c", _VICTIM, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert victim.stdout is not None
    acknowledged = [victim.stdout.readline() for _ in range(1000)]
    victim.kill()
    acknowledged += victim.stdout.read().splitlines(keepends=True)
    victim.stdout.close()
    victim.wait(30)
    # The kill may have cut off the last line.
    return {line[:-1] for line in acknowledged if line.endswith("\n")}


async def test_a_kill_loses_no_acknowledged_commit(path: Path) -> None:
    keys = await asyncio.to_thread(killed_writer, path)
    assert len(keys) >= 1000
    store = SqliteStore(path)
    contents = await store.open(Feed())
    await store.close()
    assert keys <= {entry.key for entry in contents.entries}


KEYS = st.sampled_from("abcd")


class Model(RuleBasedStateMachine):
    """Compares the store with a dict: outcomes and contents, also after reopening."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp())
        self.model: dict[str, tuple[bytes, int]] = {}
        self.feed = Feed()
        self.revision = 0
        self._open()

    def _open(self) -> None:
        self.store = SqliteStore(self.directory / "hub.db")
        self.contents = self.runner.run(self.store.open(self.feed))

    @rule(
        puts=st.dictionaries(KEYS, st.binary(max_size=8), max_size=3),
        deletes=st.sets(KEYS, max_size=2),
        expect=st.dictionaries(KEYS, st.integers(0, 12), max_size=2),
        truthful=st.booleans(),
    )
    def commit(
        self, puts: dict[str, bytes], deletes: set[str], expect: dict[str, int], truthful: bool
    ) -> None:
        operations = [Put(key, value) for key, value in puts.items()]
        operations += [Delete(key) for key in deletes - puts.keys()]
        if not operations:
            return
        if truthful:
            expect = {key: self.model.get(key, (b"", 0))[1] for key in expect}
        holds = all(self.model.get(key, (b"", 0))[1] == value for key, value in expect.items())
        commit = self.store.commit(operations, [Expect(*item) for item in expect.items()])
        if not holds:
            with pytest.raises(PreconditionFailed):
                self.runner.run(commit)
            return
        revision = self.runner.run(commit)
        assert revision == self.revision + 1
        self.revision = revision
        for key in deletes - puts.keys():
            self.model.pop(key, None)
        self.model.update((key, (value, revision)) for key, value in puts.items())

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.store.close())
        self._open()
        found = {entry.key: (entry.value, entry.revision) for entry in self.contents.entries}
        assert found == self.model
        assert self.contents.revision == self.revision

    @invariant()
    def the_feed_has_the_same_contents(self) -> None:
        replayed = self.feed.replayed()
        assert {key: (entry.value, entry.revision) for key, entry in replayed.items()} == self.model

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()
        shutil.rmtree(self.directory)


TestModel = Model.TestCase
TestModel.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)

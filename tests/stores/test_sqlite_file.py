import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hub.stores.sqlite_file import APPLICATION_ID, SCHEMA_VERSION, SqliteFile
from hub.stores.store import (
    Batch,
    Change,
    Delete,
    Entry,
    Expect,
    PreconditionFailed,
    Put,
    StoreError,
)


def put(key: str, value: bytes = b"", *expect: Expect) -> Batch:
    return Batch((Put(key, value),), expect)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


def refused(path: Path) -> str:
    """The one-line error of a file that cannot be opened."""
    with pytest.raises(StoreError) as failure:
        SqliteFile(path)
    message = str(failure.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_the_file_and_its_companions_are_private(path: Path) -> None:
    old = os.umask(0)
    try:
        file = SqliteFile(path)
        file.commit([put("a", b"1")])
        modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
        file.close()
    finally:
        os.umask(old)
    assert modes == dict.fromkeys(("hub.db", "hub.db-wal", "hub.db-revision"), 0o600)


def test_the_durability_settings(path: Path) -> None:
    file = SqliteFile(path)
    ask = file._connection.execute
    assert ask("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert ask("PRAGMA synchronous").fetchone()[0] == 2
    assert ask("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    assert ask("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
    file.close()


def test_a_batch_sees_the_earlier_ones_of_its_group(path: Path) -> None:
    file = SqliteFile(path)
    outcomes = file.commit(
        [
            put("a", b"1", Expect("a", 0)),
            put("a", b"2", Expect("a", 0)),
            put("a", b"3", Expect("a", 1)),
            Batch((Delete("a"), Put("b", b"")), (Expect("a", 2),)),
            Batch((Delete("a"),)),
            put("a", b"4", Expect("a", 0)),
        ]
    )
    assert [outcome for outcome in outcomes if isinstance(outcome, Change)] == [
        Change(1, (Entry("a", b"1", 1),), ()),
        Change(2, (Entry("a", b"3", 2),), ()),
        Change(3, (Entry("b", b"", 3),), ("a",)),
        Change(4, (), ()),
        Change(5, (Entry("a", b"4", 5),), ()),
    ]
    assert isinstance(outcomes[1], PreconditionFailed)
    file.close()
    contents = SqliteFile(path).take_contents()
    assert contents.entries == (Entry("a", b"4", 5), Entry("b", b"", 3))
    assert contents.revision == 5


def test_writing_more_rows_than_one_statement_takes(path: Path) -> None:
    file = SqliteFile(path)
    file.commit([Batch(tuple(Put(f"k/{i:04}", b"%d" % i) for i in range(1000)))])
    file.commit([Batch(tuple(Delete(f"k/{i:04}") for i in range(0, 1000, 2)))])
    file.close()
    entries = SqliteFile(path).take_contents().entries
    assert [entry.value for entry in entries] == [b"%d" % i for i in range(1, 1000, 2)]


def test_a_second_store_on_one_file_is_refused(path: Path) -> None:
    file = SqliteFile(path)
    file.commit([put("a")])
    assert "in use by another hub" in refused(path)
    # The refused attempt must not have released the lock.
    assert "in use by another hub" in refused(path)
    file.commit([put("b")])
    file.close()
    assert len(SqliteFile(path).take_contents().entries) == 2


def test_a_second_process_on_one_file_is_refused(path: Path) -> None:
    file = SqliteFile(path)
    program = (
        "import sys\nfrom pathlib import Path\nfrom hub.stores.sqlite_file import SqliteFile\n"
        "SqliteFile(Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 1
    assert "in use by another hub" in done.stderr
    file.close()


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, however long it may be" * 200)


def damaged(path: Path) -> None:
    file = SqliteFile(path)
    file.commit([Batch(tuple(Put(f"k/{i}", bytes(100)) for i in range(1000)))])
    file.close()
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 200] = b"\xa5" * 200
    path.write_bytes(content)


def truncated(path: Path) -> None:
    damaged(path)
    path.write_bytes(path.read_bytes()[: 3 * 4096])


def cut_short(path: Path) -> None:
    # SQLite reads the end of a row in the last page as zeros, and finds nothing wrong.
    file = SqliteFile(path)
    file.commit([Batch(tuple(Put(f"k/{i}", b"\xff" * 100) for i in range(1000)))])
    file.close()
    path.write_bytes(path.read_bytes()[:-1])


def without_meta(path: Path) -> None:
    SqliteFile(path).close()
    sql(path, "DELETE FROM meta")


def of_another_program(path: Path) -> None:
    sql(path, "CREATE TABLE theirs (x)")


def newer(path: Path) -> None:
    SqliteFile(path).close()
    sql(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


def sql(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_file_that_its_log_completes_is_opened(path: Path) -> None:
    """A machine may lose power while pages move from the log to the file."""
    file = SqliteFile(path)
    file.commit([Batch((Put("k", b"v"),))])
    copy = path.with_name("copy.db")
    copy.write_bytes(path.read_bytes()[:-1])
    copy.chmod(0o600)
    copy.with_name("copy.db-wal").write_bytes(path.with_name(f"{path.name}-wal").read_bytes())
    file.close()
    again = SqliteFile(copy)
    assert [entry.key for entry in again.take_contents().entries] == ["k"]
    again.close()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (Path.mkdir, "cannot be opened"),
        (garbage, "not a database of the hub"),
        (damaged, "is damaged: restore a backup"),
        (truncated, "is damaged: restore a backup"),
        (cut_short, "is damaged: restore a backup"),
        (without_meta, "is damaged: restore a backup"),
        (of_another_program, "another program"),
        (newer, "update the hub"),
        (lambda path: path.symlink_to(path.parent / "no" / "where"), "cannot be opened"),
    ],
)
def test_unusable_files_are_refused(path: Path, spoil: Callable[[Path], None], words: str) -> None:
    spoil(path)
    if path.is_file():
        path.chmod(0o600)
    before = path.read_bytes() if path.is_file() else None
    assert words in refused(path)
    if before is not None:
        assert path.read_bytes() == before, "a refused file must stay unchanged"


def test_a_file_that_other_users_can_read_is_refused(path: Path) -> None:
    SqliteFile(path).close()
    path.chmod(0o640)
    assert "chmod 600" in refused(path)
    assert "0640" in refused(path)


def test_a_missing_directory_is_named_in_the_error(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "no" / "hub.db")


def test_an_empty_file_is_a_new_store(path: Path) -> None:
    path.touch(0o600)
    assert SqliteFile(path).take_contents().entries == ()


def test_a_full_disk_fails_only_the_group(path: Path) -> None:
    file = SqliteFile(path, max_bytes=64 * 1024)
    assert isinstance(file.commit([put("kept", b"1")])[0], Change)
    for _ in range(3):
        with pytest.raises(StoreError, match="no space left"):
            file.commit([put("small"), put("big", bytes(100_000))])
    change = file.commit([put("after", b"2", Expect("small", 0), Expect("kept", 1))])[0]
    assert isinstance(change, Change)
    assert change.revision == 2
    file.close()
    entries = SqliteFile(path).take_contents().entries
    assert [entry.key for entry in entries] == ["after", "kept"]


def test_removing_keys_frees_space(path: Path) -> None:
    file = SqliteFile(path, max_bytes=64 * 1024)
    file.commit([put("a", bytes(30_000))])
    with pytest.raises(StoreError, match="no space left"):
        file.commit([put("b", bytes(30_000))])
    file.commit([Batch((Delete("a"),))])
    file.commit([put("b", bytes(30_000))])
    file.close()


def test_a_value_too_large_for_sqlite_fails_and_leaves_the_file_usable(path: Path) -> None:
    file = SqliteFile(path)
    with pytest.raises(StoreError):
        file.commit([put("\ud800", b"a lone surrogate")])
    assert isinstance(file.commit([put("a")])[0], Change)
    file.close()


def test_an_incarnation_beyond_the_limit_is_refused(path: Path) -> None:
    file = SqliteFile(path)
    assert file.next_incarnation(2**62) == 2**62
    with pytest.raises(StoreError):
        file.next_incarnation(2**64)
    assert file.next_incarnation(0) == 2**62 + 1
    file.close()


def test_a_backup_is_a_usable_store(path: Path, tmp_path: Path) -> None:
    file = SqliteFile(path)
    file.commit([put("a", b"1")])
    target = tmp_path / "backup.db"
    size = file.backup(target)
    file.commit([put("b", b"2")])
    assert size == target.stat().st_size
    assert target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreError, match="cannot be created"):
        file.backup(target)
    file.close()
    copy = SqliteFile(target)
    assert copy.take_contents().entries == (Entry("a", b"1", 1),)
    copy.close()


def test_a_copy_of_an_open_file_with_its_wal_is_complete(path: Path, tmp_path: Path) -> None:
    file = SqliteFile(path)
    file.commit([put("a", b"1")])
    other = tmp_path / "other"
    other.mkdir()
    for name in ("hub.db", "hub.db-wal"):
        shutil.copy(path.parent / name, other / name)
    copy = SqliteFile(other / "hub.db")
    assert copy.take_contents().entries == (Entry("a", b"1", 1),)
    copy.close()
    file.close()


def test_a_damaged_log_shows_in_the_revision_that_is_known(path: Path) -> None:
    file = SqliteFile(path)
    for number in range(5):
        file.commit([put(f"key-{number}", b"1")])
    killed = path.with_name("killed")
    killed.mkdir()
    for name in ("hub.db", "hub.db-wal", "hub.db-revision"):
        shutil.copy(path.with_name(name), killed / name)
    file.close()
    log = killed / "hub.db-wal"
    log.write_bytes(log.read_bytes()[:-100])
    again = SqliteFile(killed / "hub.db")
    contents = again.take_contents()
    assert (len(contents.entries), contents.revision, contents.known_revision) == (4, 4, 5)
    # From here on the store is what it is.
    again.commit([put("later", b"1")])
    again.close()
    third = SqliteFile(killed / "hub.db")
    assert third.take_contents().known_revision == 5 == third._revision
    third.close()


def test_a_file_that_cannot_be_opened_leaves_no_descriptor(path: Path) -> None:
    path.write_bytes(b"x" * 100)
    path.chmod(0o600)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        refused(path)
    assert len(os.listdir("/proc/self/fd")) == before

"""The SQLite file behind the embedded store, and its schema. Blocks; for a single thread.

One transaction takes any number of batches. Preconditions are evaluated in memory,
against the revisions of all keys, and the rows of all batches are written by one
statement: each call into SQLite releases the interpreter's lock, and with a busy event
loop it may take a whole switch interval (5 ms) to get it back.
"""

import contextlib
import functools
import os
import sqlite3
import stat
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from hub.stores.revision_mark import RevisionMark
from hub.stores.store import Batch, Change, Contents, Entry, PreconditionFailed, Put, StoreError

SCHEMA_VERSION: Final = 1
# "LLMH": distinguishes the hub's database from those of other programs.
APPLICATION_ID: Final = 0x4C4C4D48
DEFAULT_MAX_BYTES: Final = 1 << 30
MARK_SUFFIX: Final = "-revision"
"""Of the name of the file beside the database that has its last revision."""

# SQLite allows 32,766 parameters per statement; fewer rows keep the statement cache small.
_ROWS_PER_STATEMENT: Final = 512
# Long enough for a predecessor that is closing, short enough for a person to wait.
_LOCK_TIMEOUT_S: Final = 0.5

_SCHEMA: Final = (
    "CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL)"
    " WITHOUT ROWID",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO meta VALUES ('revision', 0), ('incarnation', 0)",
    # A transaction is the rows of one INSERT: (key, value, revision) writes a key,
    # (key, NULL, revision) removes it, (NULL, NULL, revision) sets the store's revision.
    "CREATE VIEW transactions AS SELECT key, value, revision FROM entries",
    "CREATE TRIGGER puts INSTEAD OF INSERT ON transactions WHEN new.value IS NOT NULL BEGIN"
    " INSERT OR REPLACE INTO entries VALUES (new.key, new.value, new.revision); END",
    "CREATE TRIGGER deletes INSTEAD OF INSERT ON transactions"
    " WHEN new.value IS NULL AND new.key IS NOT NULL BEGIN"
    " DELETE FROM entries WHERE key = new.key; END",
    "CREATE TRIGGER revisions INSTEAD OF INSERT ON transactions WHEN new.key IS NULL BEGIN"
    " UPDATE meta SET value = new.revision WHERE name = 'revision'; END",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

# By primary result code: https://sqlite.org/rescode.html
_ADVICE: Final = MappingProxyType(
    {
        sqlite3.SQLITE_BUSY: "{path} is in use by another hub: stop that hub, or give this one"
        " another data directory",
        sqlite3.SQLITE_NOTADB: "{path} is not a database of the hub: move it away, or restore a"
        " backup",
        sqlite3.SQLITE_CORRUPT: "{path} is damaged: restore a backup, or move it away to start"
        " empty",
        sqlite3.SQLITE_CANTOPEN: "{path} cannot be opened: it must be a file in a directory that"
        " this user may write to",
        sqlite3.SQLITE_READONLY: "{path} cannot be written: check the owner and the mode of the"
        " file and its directory, and that the disk is not mounted read-only",
        sqlite3.SQLITE_FULL: "there is no space left for {path}: free some disk space, or remove"
        " entries that are not needed; the hub retries with the next change",
        sqlite3.SQLITE_IOERR: "reading or writing {path} failed: check the disk ({error})",
    }
)


def explain(error: Exception, path: Path) -> StoreError:
    """An error that says in one line what is wrong with the file and what to do."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    # The low byte is the primary code; the other bits are variants of it.
    advice = _ADVICE.get(code & 0xFF, "{path} cannot be used: {error}")
    return StoreError(advice.format(path=path, error=error))


@functools.lru_cache(maxsize=64)
def _insert(rows: int) -> str:
    # The text contains only question marks, no values.
    return f"INSERT INTO transactions VALUES {','.join(['(?,?,?)'] * rows)}"  # noqa: S608


class SqliteFile:
    """An open database file, locked against every other process.

    Must be created and used in one thread. Raises StoreError if the file cannot
    be opened, belongs to another program, is damaged, or is readable by other users.
    """

    def __init__(self, path: Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._path = path
        _prepare(path)
        self._mark = RevisionMark(path.with_name(path.name + MARK_SUFFIX))
        self._has_log = _is_filled(path.with_name(f"{path.name}-wal"))
        try:
            self._connection = sqlite3.connect(path, timeout=_LOCK_TIMEOUT_S, isolation_level=None)
        except sqlite3.Error as error:
            self._mark.close()
            raise explain(error, path) from error
        try:
            self._set_up(max_bytes)
            rows = self._connection.execute(
                "SELECT key, value, revision FROM entries ORDER BY key"
            ).fetchall()
            self._revision = self._meta("revision")
        except sqlite3.Error as error:
            self.close()
            raise explain(error, path) from error
        except StoreError:
            self.close()
            raise
        self._contents: Contents | None = Contents(
            tuple(Entry(*row) for row in rows), self._revision, self._mark.revision
        )
        self._revisions: dict[str, int] = {key: revision for key, _, revision in rows}

    def take_contents(self) -> Contents:
        """Returns the contents of the file when it was opened. Can be called only once."""
        contents, self._contents = self._contents, None
        if contents is None:
            raise RuntimeError("the contents have been taken")
        return contents

    def commit(self, batches: Sequence[Batch]) -> list[Change | PreconditionFailed]:
        """Commits the batches in one transaction, with one fsync.

        Each batch sees the earlier ones. A batch whose precondition fails does not
        affect the others. If it raises StoreError, none of them was committed.
        """
        written: dict[str, Entry | None] = {}
        revision = self._revision
        outcomes: list[Change | PreconditionFailed] = []
        for batch in batches:
            failed = self._failed_precondition(batch, written)
            if failed is not None:
                outcomes.append(PreconditionFailed(failed))
                continue
            revision += 1
            outcomes.append(self._apply(batch, revision, written))
        if revision == self._revision:
            return outcomes
        try:
            self._write(written, revision)
        except Exception as error:
            self._roll_back()
            raise explain(error, self._path) from error
        self._mark.write(revision)
        self._revision = revision
        for key, entry in written.items():
            if entry is None:
                self._revisions.pop(key, None)
            else:
                self._revisions[key] = entry.revision
        return outcomes

    def next_incarnation(self, at_least: int) -> int:
        """See `hub.stores.store.Store`."""
        try:
            incarnation = max(self._meta("incarnation") + 1, at_least)
            self._connection.execute(
                "UPDATE meta SET value = ? WHERE name = 'incarnation'", (incarnation,)
            )
        except (sqlite3.Error, OverflowError) as error:
            self._roll_back()
            raise explain(error, self._path) from error
        return incarnation

    def backup(self, target: Path) -> int:
        """Copies the whole database to a new file (0600). Returns its size in bytes.

        Raises StoreError if the target exists or cannot be written; a failed copy
        leaves no file behind.
        """
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError as error:
            raise StoreError(f"{target} cannot be created: {error.strerror}") from error
        try:
            with contextlib.closing(sqlite3.connect(target)) as copy:
                self._connection.backup(copy)
            return target.stat().st_size
        except (sqlite3.Error, OSError) as error:
            target.unlink(missing_ok=True)
            raise explain(error, target) from error

    def scrub(self) -> int:
        """Rewrites the file without its free pages, and empties the log; returns 0.

        Raises StoreError.
        """
        try:
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise explain(error, self._path) from error
        return 0

    def close(self) -> None:
        """Closes the file. Committed data is safe whether or not this succeeds."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._mark.close()

    def _set_up(self, max_bytes: int) -> None:
        execute = self._connection.execute
        # With an exclusive lock, the WAL's index needs no shared memory file.
        execute("PRAGMA locking_mode = EXCLUSIVE")
        fresh = execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not fresh:
            self._check()
        if execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise StoreError(f"{self._path} is on a file system that does not support SQLite's WAL")
        execute("PRAGMA synchronous = FULL")
        page_size = execute("PRAGMA page_size").fetchone()[0]
        execute(f"PRAGMA max_page_count = {max(max_bytes // page_size, 1)}")
        # Once taken, the exclusive lock is held until the file is closed.
        execute("BEGIN IMMEDIATE")
        if fresh:
            for statement in _SCHEMA:
                execute(statement)
        execute("COMMIT")

    def _check(self) -> None:
        execute = self._connection.execute
        if execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StoreError(
                f"{self._path} is the database of another program: move it away, or give the hub"
                " another data directory"
            )
        version = execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self._path} was written by a newer hub (schema {version}, but this one knows"
                f" {SCHEMA_VERSION}): update the hub"
            )
        if execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise self._damaged()
        # SQLite reads zeros where the last page is cut off. A log would restore the page.
        page_size = execute("PRAGMA page_size").fetchone()[0]
        if not self._has_log and self._path.stat().st_size % page_size:
            raise self._damaged()

    def _meta(self, name: str) -> int:
        row = self._connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise self._damaged()
        return int(row[0])

    def _damaged(self) -> StoreError:
        return StoreError(_ADVICE[sqlite3.SQLITE_CORRUPT].format(path=self._path))

    def _failed_precondition(self, batch: Batch, written: dict[str, Entry | None]) -> str | None:
        for expect in batch.expect:
            if self._revision_of(expect.key, written) != expect.revision:
                return expect.key
        return None

    def _revision_of(self, key: str, written: dict[str, Entry | None]) -> int:
        if key not in written:
            return self._revisions.get(key, 0)
        entry = written[key]
        return 0 if entry is None else entry.revision

    def _apply(self, batch: Batch, revision: int, written: dict[str, Entry | None]) -> Change:
        puts: list[Entry] = []
        deletes: list[str] = []
        for operation in batch.operations:
            key = operation.key
            if isinstance(operation, Put):
                entry = Entry(key, operation.value, revision)
                puts.append(entry)
                written[key] = entry
            elif self._revision_of(key, written):
                deletes.append(key)
                written[key] = None
        return Change(revision, tuple(puts), tuple(deletes))

    def _write(self, written: dict[str, Entry | None], revision: int) -> None:
        rows: list[tuple[str | None, bytes | None, int]] = [
            (
                key,
                None if entry is None else entry.value,
                revision if entry is None else entry.revision,
            )
            for key, entry in written.items()
        ]
        rows.append((None, None, revision))
        # One statement is a transaction by itself.
        single = len(rows) <= _ROWS_PER_STATEMENT
        if not single:
            self._connection.execute("BEGIN IMMEDIATE")
        for start in range(0, len(rows), _ROWS_PER_STATEMENT):
            part = rows[start : start + _ROWS_PER_STATEMENT]
            self._connection.execute(_insert(len(part)), [value for row in part for value in row])
        if not single:
            self._connection.execute("COMMIT")

    def _roll_back(self) -> None:
        # After some errors SQLite has already rolled back: https://sqlite.org/lang_transaction.html
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")


def _is_filled(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _prepare(path: Path) -> None:
    """Creates the file, private to this user, or checks that an existing one is private.

    An existing file is never opened here: closing any descriptor of it would
    drop the POSIX locks that another store of this process holds on it.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
        if stat.S_ISREG(mode) and mode & 0o077 and os.name == "posix":
            raise StoreError(
                f"{path} holds secrets and is open to other users (mode {mode & 0o777:04o}):"
                " make it private with chmod 600"
            ) from None
    except FileNotFoundError as error:
        raise StoreError(
            f"{path} cannot be created: the directory {path.parent} does not exist"
        ) from error
    except OSError as error:
        raise StoreError(f"{path} cannot be created: {error.strerror}") from error

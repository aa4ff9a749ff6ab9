"""The embedded store: one SQLite file, one writer thread, one fsync for all waiting batches."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final, TypeVar, TypeVarTuple, Unpack

from hub.stores.sqlite_file import DEFAULT_MAX_BYTES, SqliteFile
from hub.stores.store import (
    Batch,
    Change,
    ChangeListener,
    Contents,
    Expect,
    Operation,
    PreconditionFailed,
    StoreError,
    TransactionObserver,
)

DEFAULT_MAX_WAITING: Final = 10_000

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


@dataclass(frozen=True, slots=True)
class _Waiting:
    batch: Batch
    future: asyncio.Future[int]


@dataclass(frozen=True, slots=True)
class _Call:
    """Any other work that the writer thread does with the file."""

    function: Callable[[SqliteFile], int]
    future: asyncio.Future[int]


@dataclass(frozen=True, slots=True)
class _Close:
    """The last item of the queue."""


class SqliteStore:
    """A `Store` in one file, for one hub.

    Batches that wait while a transaction is being written go into the next one
    together, so that under load all callers share the cost of an fsync. `commits`,
    `batches` and `last_batch_size` count the durable transactions and the
    batches in them. `max_waiting` bounds the waiting batches, `max_bytes` the
    file. All methods must be called in the event loop that called `open`.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_waiting: int = DEFAULT_MAX_WAITING,
        max_bytes: int = DEFAULT_MAX_BYTES,
        on_transaction: TransactionObserver | None = None,
    ) -> None:
        self._path = path
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._on_transaction = on_transaction
        self._queue: SimpleQueue[_Waiting | _Call | _Close] = SimpleQueue()
        self._waiting = 0
        self._thread: threading.Thread | None = None
        self._closed: asyncio.Future[None] | None = None
        self._accepting = False
        self.commits = 0
        self.batches = 0
        self.last_batch_size = 0

    @property
    def kind(self) -> str:
        """See `Store`."""
        return "sqlite"

    @property
    def waiting(self) -> int:
        """See `Store`."""
        return self._waiting

    @property
    def out_of_touch_s(self) -> float:
        """See `Store`."""
        return 0.0

    async def open(self, listener: ChangeListener) -> Contents:
        """See `Store`. A store that is closed cannot be opened again."""
        if self._thread is not None:
            raise StoreError("the store has been opened before")
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[Contents] = loop.create_future()
        self._closed = loop.create_future()
        # A daemon, so that an event loop that ended without close() does not keep the process.
        self._thread = threading.Thread(
            target=self._run,
            args=(loop, listener, opened, self._closed),
            name="hub-store",
            daemon=True,
        )
        self._thread.start()
        contents = await opened
        self._accepting = True
        return contents

    async def commit(self, operations: Sequence[Operation], expect: Sequence[Expect] = ()) -> int:
        """See `Store`. Raises StoreError at once if too many batches are waiting."""
        batch = Batch(tuple(operations), tuple(expect))
        if self._waiting >= self._max_waiting:
            raise StoreError(
                f"the store is overloaded: {self._waiting} changes wait for the disk; try later"
            )
        future = self._new_future()
        self._waiting += 1
        self._queue.put(_Waiting(batch, future))
        return await future

    async def next_incarnation(self, at_least: int) -> int:
        """See `Store`."""
        return await self._call(lambda file: file.next_incarnation(at_least))

    async def backup(self, target: Path) -> int:
        """Copies the current contents to a new file. Returns its size in bytes.

        Commits wait during the copy. Raises StoreError.
        """
        return await self._call(lambda file: file.backup(target))

    async def scrub(self) -> None:
        """Rewrites the file, so that it no longer holds what was overwritten or removed.

        Commits wait meanwhile. Raises StoreError.
        """
        await self._call(SqliteFile.scrub)

    async def close(self) -> None:
        """See `Store`."""
        if self._thread is None or self._closed is None:
            return
        if not self._closed.done():
            self._accepting = False
            self._queue.put(_Close())
            # Shielded, because a caller that gives up must not cancel it for the others.
            await asyncio.shield(self._closed)
        self._thread.join()

    def _new_future(self) -> asyncio.Future[int]:
        if not self._accepting:
            raise StoreError("the store is not open")
        return asyncio.get_running_loop().create_future()

    async def _call(self, function: Callable[[SqliteFile], int]) -> int:
        future = self._new_future()
        self._queue.put(_Call(function, future))
        return await future

    # Methods that run in the writer thread, up to _deliver.

    def _run(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: ChangeListener,
        opened: asyncio.Future[Contents],
        closed: asyncio.Future[None],
    ) -> None:
        try:
            file = SqliteFile(self._path, max_bytes=self._max_bytes)
        except Exception as error:  # open() must return, whatever the error is
            _post(loop, _fail, opened, error)
            _post(loop, _resolve, closed, None)
            return
        _post(loop, _resolve, opened, file.take_contents())
        try:
            while self._work(loop, listener, file):
                pass
        finally:
            file.close()
            _post(loop, _resolve, closed, None)

    def _work(
        self, loop: asyncio.AbstractEventLoop, listener: ChangeListener, file: SqliteFile
    ) -> bool:
        """Handles all waiting items, batches first. Returns False after the last one."""
        items = [self._queue.get()]
        # No other thread removes items, so a queue that is not empty stays so.
        while not self._queue.empty():
            items.append(self._queue.get_nowait())
        group = [item for item in items if isinstance(item, _Waiting)]
        if group:
            started = time.perf_counter()
            outcomes: list[Change | PreconditionFailed] | Exception
            try:
                outcomes = file.commit([waiting.batch for waiting in group])
            except Exception as error:  # the thread must survive any batch
                outcomes = error
            seconds = time.perf_counter() - started
            _post(loop, self._deliver, listener, group, outcomes, seconds)
        for item in items:
            if isinstance(item, _Call):
                try:
                    _post(loop, _resolve, item.future, item.function(file))
                except Exception as error:  # the same here
                    _post(loop, _fail, item.future, error)
        return not any(isinstance(item, _Close) for item in items)

    # Methods that run in the event loop.

    def _deliver(
        self,
        listener: ChangeListener,
        group: list[_Waiting],
        outcomes: list[Change | PreconditionFailed] | Exception,
        seconds: float,
    ) -> None:
        self._waiting -= len(group)
        if isinstance(outcomes, Exception):
            for waiting in group:
                # Each gets its own exception, because raising one extends its traceback.
                _fail(waiting.future, StoreError(str(outcomes)))
            return
        changes = [outcome for outcome in outcomes if isinstance(outcome, Change)]
        if changes:
            self.commits += 1
            self.batches += len(changes)
            self.last_batch_size = len(changes)
            if self._on_transaction is not None:
                self._on_transaction(len(changes), seconds)
        for change in changes:
            try:
                listener(change)
            except Exception as error:  # one failing change must not stop the feed
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "the store's listener failed", "exception": error}
                )
        for waiting, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Change):
                _resolve(waiting.future, outcome.revision)
            else:
                _fail(waiting.future, outcome)


def _post(
    loop: asyncio.AbstractEventLoop, function: Callable[[Unpack[_Ts]], None], *args: *_Ts
) -> None:
    """Calls `function` in the loop; does nothing if the loop is closed."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *args)


def _resolve(future: asyncio.Future[_T], result: _T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[_T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)

"""The distributed store: an etcd cluster, accessed with aetcd's messages and stubs.

Keys are under `<prefix>data/`. Every transaction also writes that key itself, the
marker, so that a batch which only deletes missing keys has a revision too.
aetcd's own watcher hands out single events and does not show where a revision
ends, so this module uses the watch stub directly: etcd sends whole revisions
(https://etcd.io/docs/v3.4/learning/api/, "Watch streams").
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import Any, Final

import grpc
import grpc.aio
from aetcd import rpc

from hub.base.tasks import log_unexpected_end
from hub.stores.store import (
    Batch,
    Change,
    ChangeListener,
    Contents,
    Entry,
    Expect,
    Operation,
    PreconditionFailed,
    Put,
    StoreError,
    TransactionObserver,
)

DEFAULT_TIMEOUT_S: Final = 5.0
DEFAULT_MAX_WAITING: Final = 10_000

_PAGE: Final = 1_000
_RECONNECT_S: Final = (0.05, 0.2, 1.0)
_CHANNEL_OPTIONS: Final = (
    # Detects a half-open connection within 15 s; the watch itself has no deadline.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_receive_message_length", 64 << 20),
)
_ADVICE: Final = MappingProxyType(
    {
        grpc.StatusCode.UNAVAILABLE: "check that it is running and reachable",
        grpc.StatusCode.DEADLINE_EXCEEDED: "check that it has a leader and a fast disk",
        grpc.StatusCode.INVALID_ARGUMENT: "the change exceeds the limits set for etcd",
        grpc.StatusCode.RESOURCE_EXHAUSTED: "the change is too large, or its quota is used up",
        grpc.StatusCode.UNAUTHENTICATED: "check the credentials",
        grpc.StatusCode.PERMISSION_DENIED: "check the permissions of its user",
    }
)
# With this, etcd ends the stream if its member loses the leader, instead of going silent.
_WATCH_METADATA: Final = (("hasleader", "true"),)


class EtcdStore:
    """A `Store` in an etcd cluster, for any number of hubs.

    `target` is a gRPC target, such as "127.0.0.1:2379" or a list of members
    ("ipv4:10.0.0.1:2379,10.0.0.2:2379"). `prefix` separates the hub's keys from those of
    other programs. Every call has a deadline of `timeout_s` seconds. etcd accepts at
    most 128 operations per batch (its --max-txn-ops).

    The watch reconnects by itself and continues after the last delivered revision. If
    the following revisions have been compacted, the store is read again and the
    difference is delivered as one change.
    """

    def __init__(
        self,
        target: str,
        *,
        prefix: str = "llmhub/",
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_waiting: int = DEFAULT_MAX_WAITING,
        credentials: grpc.ChannelCredentials | None = None,
        on_transaction: TransactionObserver | None = None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_failure` is called if the watch has ended and does not restart."""
        self._target = target
        self._data = f"{prefix}data/".encode()
        self._data_end = self._data[:-1] + b"0"
        self._incarnation = f"{prefix}incarnation".encode()
        self._timeout_s = timeout_s
        self._max_waiting = max_waiting
        self._credentials = credentials
        self._on_transaction = on_transaction
        self._on_failure = on_failure
        self._channel: grpc.aio.Channel | None = None
        # Any: aetcd has no type information.
        self._kv: Any = None
        self._accepting = False
        self._delivered = 0
        self._revisions: dict[str, int] = {}
        self._commits: set[asyncio.Task[int]] = set()
        self._arrivals: dict[asyncio.Future[None], int] = {}
        # By the loop's clock; None while the watch's stream is connected.
        self._lost_at: float | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def kind(self) -> str:
        """See `Store`."""
        return "etcd"

    @property
    def waiting(self) -> int:
        """See `Store`."""
        return len(self._commits)

    @property
    def out_of_touch_s(self) -> float:
        """See `Store`."""
        if self._lost_at is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._lost_at

    async def open(self, listener: ChangeListener) -> Contents:
        """See `Store`. A store that is closed cannot be opened again."""
        if self._channel is not None:
            raise StoreError("the store has been opened before")
        if self._credentials is None:
            self._channel = grpc.aio.insecure_channel(self._target, _CHANNEL_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(
                self._target, self._credentials, _CHANNEL_OPTIONS
            )
        self._kv = rpc.KVStub(self._channel)
        contents = await self._read()
        self._revisions = {entry.key: entry.revision for entry in contents.entries}
        self._delivered = contents.revision
        self._watcher = asyncio.create_task(self._watch(listener), name="etcd-watch")
        log_unexpected_end(self._watcher, self._on_failure)
        self._accepting = True
        return contents

    async def commit(self, operations: Sequence[Operation], expect: Sequence[Expect] = ()) -> int:
        """See `Store`. Raises StoreError at once if too many batches are waiting."""
        batch = Batch(tuple(operations), tuple(expect))
        self._check_open()
        if len(self._commits) >= self._max_waiting:
            raise StoreError(
                f"the store is overloaded: {len(self._commits)} changes wait for etcd; try later"
            )
        # The store owns the task: a caller that gives up must not interrupt it.
        task = asyncio.create_task(self._commit(batch))
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)
        return await asyncio.shield(task)

    async def next_incarnation(self, at_least: int) -> int:
        """See `Store`."""
        self._check_open()
        while True:
            found = await self._call(self._kv.Range, rpc.RangeRequest(key=self._incarnation))
            known, revision = 0, 0
            if found.kvs:
                known, revision = _number(found.kvs[0]), found.kvs[0].mod_revision
            incarnation = max(known + 1, at_least)
            put = rpc.PutRequest(key=self._incarnation, value=b"%d" % incarnation)
            request = rpc.TxnRequest(
                compare=[_mod_revision_is(self._incarnation, revision)],
                success=[rpc.RequestOp(request_put=put)],
            )
            # If another hub was faster, this one tries again; each round has one winner.
            if (await self._call(self._kv.Txn, request)).succeeded:
                return incarnation

    async def close(self) -> None:
        """See `Store`."""
        self._accepting = False
        if self._commits:
            # Each commit has its own deadlines.
            await asyncio.wait(self._commits)
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            await asyncio.wait([watcher])
        if self._channel is not None:
            await self._channel.close()

    def _check_open(self) -> None:
        if not self._accepting:
            raise StoreError("the store is not open")

    async def _commit(self, batch: Batch) -> int:
        request = rpc.TxnRequest(
            compare=[_mod_revision_is(self._key(each.key), each.revision) for each in batch.expect],
            success=[self._request(operation) for operation in batch.operations],
            # These show which precondition failed, and at which revision. The marker has
            # that revision even if the winning write deleted the key.
            failure=[
                rpc.RequestOp(request_range=rpc.RangeRequest(key=key, keys_only=True))
                for key in (*(self._key(each.key) for each in batch.expect), self._data)
            ],
        )
        request.success.append(rpc.RequestOp(request_put=rpc.PutRequest(key=self._data)))
        started = time.perf_counter()
        answer = await self._call(self._kv.Txn, request)
        if not answer.succeeded:
            # A retry must see the write that won, not the state before it.
            await self._until_delivered(_latest(answer.responses))
            raise PreconditionFailed(_failed(batch.expect, answer.responses))
        if self._on_transaction is not None:
            self._on_transaction(1, time.perf_counter() - started)
        revision = int(answer.header.revision)
        await self._until_delivered(revision)
        return revision

    async def _until_delivered(self, revision: int) -> None:
        """Waits until the listener has received `revision`. Raises StoreError."""
        if self._delivered >= revision:
            return
        arrival = asyncio.get_running_loop().create_future()
        self._arrivals[arrival] = revision
        try:
            await asyncio.wait_for(arrival, self._timeout_s)
        except TimeoutError:
            raise StoreError(
                f"etcd at {self._target} has the change, but its watch does not deliver it: check"
                " the connection"
            ) from None
        finally:
            self._arrivals.pop(arrival, None)

    async def _read(self) -> Contents:
        """Reads all keys, page by page, at one revision."""
        entries: list[Entry] = []
        start, revision = self._data, 0
        while True:
            request = rpc.RangeRequest(
                key=start, range_end=self._data_end, limit=_PAGE, revision=revision
            )
            page = await self._call(self._kv.Range, request)
            revision = revision or int(page.header.revision)
            entries += (self._entry(pair) for pair in page.kvs if pair.key != self._data)
            if not page.more:
                return Contents(tuple(entries), revision)
            start = page.kvs[-1].key + b"\0"

    async def _watch(self, listener: ChangeListener) -> None:
        """Delivers changes for as long as the store is open, over any number of streams."""
        failures = 0
        while True:
            before = self._delivered
            try:
                if await self._watch_stream(listener):
                    await self._read_again(listener)
            except (grpc.aio.AioRpcError, StoreError):
                # Commits report errors to their callers; the watch only reconnects.
                pass
            if self._lost_at is None:
                self._lost_at = asyncio.get_running_loop().time()
            failures = 0 if self._delivered > before else failures + 1
            await asyncio.sleep(_RECONNECT_S[min(failures, len(_RECONNECT_S) - 1)])

    async def _watch_stream(self, listener: ChangeListener) -> bool:
        """Delivers from one stream until it ends. Returns whether history was compacted."""
        create = rpc.WatchRequest(
            create_request=rpc.WatchCreateRequest(
                key=self._data, range_end=self._data_end, start_revision=self._delivered + 1
            )
        )

        async def requests() -> AsyncIterator[Any]:
            yield create
            # etcd closes a stream whose requests have ended.
            await asyncio.Event().wait()

        stream = rpc.WatchStub(self._channel).Watch(requests(), metadata=_WATCH_METADATA)
        try:
            async for response in stream:
                if response.compact_revision:
                    return True
                if response.canceled:
                    return False
                self._lost_at = None
                for revision, events in groupby(response.events, _revision_of_event):
                    self._deliver(listener, self._change(revision, events))
        finally:
            stream.cancel()
        return False

    async def _read_again(self, listener: ChangeListener) -> None:
        contents = await self._read()
        present = {entry.key for entry in contents.entries}
        puts = tuple(
            entry for entry in contents.entries if self._revisions.get(entry.key) != entry.revision
        )
        deletes = tuple(key for key in self._revisions if key not in present)
        self._deliver(listener, Change(contents.revision, puts, deletes))

    def _change(self, revision: int, events: Iterable[Any]) -> Change:
        puts: list[Entry] = []
        deletes: list[str] = []
        for event in events:
            if event.kv.key == self._data:
                continue
            if event.type == rpc.Event.EventType.DELETE:
                deletes.append(self._name(event.kv.key))
            else:
                puts.append(self._entry(event.kv))
        return Change(revision, tuple(puts), tuple(deletes))

    def _deliver(self, listener: ChangeListener, change: Change) -> None:
        if change.revision <= self._delivered:
            return
        for key in change.deletes:
            self._revisions.pop(key, None)
        self._revisions.update((entry.key, entry.revision) for entry in change.puts)
        try:
            listener(change)
        except Exception as error:  # one failing change must not stop the feed
            asyncio.get_running_loop().call_exception_handler(
                {"message": "the store's listener failed", "exception": error}
            )
        self._delivered = change.revision
        # After a compaction, one change covers many revisions.
        for arrival, revision in self._arrivals.items():
            if revision <= change.revision and not arrival.done():
                arrival.set_result(None)

    async def _call(self, method: Any, request: Any) -> Any:
        try:
            return await method(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            advice = _ADVICE.get(error.code(), "see its log")
            raise StoreError(
                f"etcd at {self._target} failed ({error.code().name}: {error.details()}): {advice}"
            ) from error

    def _request(self, operation: Operation) -> Any:
        key = self._key(operation.key)
        if isinstance(operation, Put):
            return rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=operation.value))
        return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key))

    def _key(self, name: str) -> bytes:
        try:
            return self._data + name.encode()
        except UnicodeEncodeError as error:
            raise StoreError(f"{name!r} is not a key: {error}") from error

    def _name(self, key: bytes) -> str:
        # Another program's key may contain any bytes, which must not stop the watch.
        return key[len(self._data) :].decode(errors="backslashreplace")

    def _entry(self, pair: Any) -> Entry:
        return Entry(self._name(pair.key), pair.value, int(pair.mod_revision))


def _mod_revision_is(key: bytes, revision: int) -> Any:
    # A missing key compares as revision 0.
    return rpc.Compare(
        result=rpc.Compare.CompareResult.EQUAL,
        target=rpc.Compare.CompareTarget.MOD,
        key=key,
        mod_revision=revision,
    )


def _number(pair: Any) -> int:
    try:
        return int(pair.value)
    except ValueError:
        raise StoreError(f"the key {pair.key!r} in etcd is damaged; remove it") from None


def _failed(expect: Sequence[Expect], responses: Sequence[Any]) -> str:
    for each, response in zip(expect, responses, strict=False):
        pairs = response.response_range.kvs
        if (pairs[0].mod_revision if pairs else 0) != each.revision:
            return each.key
    return expect[0].key


def _latest(responses: Sequence[Any]) -> int:
    """The highest revision of the keys that were read."""
    return max(
        (int(pair.mod_revision) for each in responses for pair in each.response_range.kvs),
        default=0,
    )


def _revision_of_event(event: Any) -> int:
    return int(event.kv.mod_revision)

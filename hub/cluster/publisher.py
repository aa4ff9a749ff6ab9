"""Publishes what the hub observes: the latest value of each key, in batches.

The registry only signals that something changed. A tenth of a second later the publisher
reads the changes since its last look, as any other reader of the history does, and
composes the values then. So however often something changed, it is written once. Pending
writes are a set of keys, so nothing queues up if the engine is slow, and nothing is lost
if it fails.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final

import structlog

from hub.base.clock import Clock
from hub.cluster.fact_messages import (
    BUCKETS,
    CHECKS,
    HEALTH,
    LEARNED,
    RESOURCES,
    bucket_of,
    checks_value,
    endpoint_value,
    host_value,
    is_news,
)
from hub.cluster.learned import LearnedFacts
from hub.cluster.warm_start import Restored
from hub.registry.history.ring import Follower
from hub.registry.host_report import ResourcesRecord
from hub.registry.state import Registry
from hub.stores.shared_facts import FactsUnavailable, SharedFacts
from llmhub.v1.endpoint_pb2 import Endpoint

log = structlog.get_logger(__name__)

# How long a change waits for others to be written with it.
_GAP_S: Final = 0.1
# How often the publisher checks whether a bucket is due, and looks at reports: a sidecar may
# send more than one in this time.
_TURN_S: Final = 1.0
_RETRY_S: Final = 5.0
_KEYS_PER_BATCH: Final = 100
_STOP_S: Final = 2.0
# A report without news is still written this often, because of its age.
_REFRESH_MS: Final = 30_000


class FactPublisher:
    """Follows a registry and publishes its observed facts.

    `interval_ms` is the interval of the probes. Each bucket of checks is written at most
    once within it.
    """

    def __init__(
        self,
        registry: Registry,
        facts: SharedFacts,
        clock: Clock,
        learned: Mapping[str, LearnedFacts],
        *,
        interval_ms: int,
    ) -> None:
        self._registry = registry
        self._facts = facts
        self._clock = clock
        self._learned = learned
        self._interval_ms = max(1, interval_ms)
        self._events = Follower(registry.ring)
        self._checks = Follower(registry.checks)
        self._reports = Follower(registry.resources)
        # The keys that the engine has, each with a digest of its value, or 0.
        self._written: dict[str, int] = {}
        self._dirty: dict[str, None] = {}
        self._hosts: dict[str, tuple[ResourcesRecord, int]] = {}
        self._buckets: list[dict[str, None]] = [{} for _ in range(BUCKETS)]
        self._dirty_buckets: set[int] = set()
        self._turn = 0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._has_failed = False

    def start(self, restored: Restored) -> asyncio.Task[None]:
        """Starts to publish what differs from the restored facts."""
        self._written = dict.fromkeys([*restored.current, *restored.outdated], 0)
        self._dirty = dict.fromkeys(restored.outdated)
        self._turn = self._turn_at(self._clock.now_ms())
        for record in self._registry.endpoints():
            id_ = record.message.id
            self._buckets[bucket_of(id_)][id_] = None
        for follower in (self._events, self._checks, self._reports):
            follower.go_to(self._registry.revision)
        self._registry.on_change(self._changed.set)
        if self._dirty:
            self._changed.set()
        self._task = asyncio.create_task(self._run(), name="fact-publisher")
        return self._task

    async def stop(self) -> None:
        """Publishes the rest, within a few seconds, and ends. Idempotent."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        self._collect(reports=True)
        self._dirty.update((f"{CHECKS}/{bucket}", None) for bucket in self._dirty_buckets)
        self._dirty_buckets.clear()
        with suppress(TimeoutError, FactsUnavailable):
            async with asyncio.timeout(_STOP_S):
                await self._flush()

    async def publish_changes(self, *, reports: bool = True) -> None:
        """Publishes what changed since the last call. Raises FactsUnavailable.

        Without `reports` those of the hosts wait for a later call.
        """
        self._collect(reports=reports)
        self._take_turns()
        await self._flush()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        reports, reports_due = True, loop.time()
        while True:
            if self._dirty_buckets or not reports:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TURN_S):
                        await self._changed.wait()
            else:
                await self._changed.wait()
            await asyncio.sleep(_GAP_S)
            self._changed.clear()
            reports = loop.time() >= reports_due
            if reports:
                reports_due = loop.time() + _TURN_S
            try:
                await self.publish_changes(reports=reports)
            except FactsUnavailable as error:
                if not self._has_failed:
                    self._has_failed = True
                    log.warning("facts_not_written", why=str(error))
                await asyncio.sleep(_RETRY_S)
                self._changed.set()

    async def _flush(self) -> None:
        """Writes all dirty keys, batch by batch. Raises FactsUnavailable."""
        while self._dirty:
            keys = [key for key, _ in zip(self._dirty, range(_KEYS_PER_BATCH), strict=False)]
            for key in keys:
                del self._dirty[key]
            digests: dict[str, int] = {}
            values: dict[str, bytes | None] = {}
            try:
                for key in keys:
                    composed = self._compose(key)
                    if composed is not None:
                        digests[key], values[key] = composed
                if values:
                    await self._facts.publish(values)
            except BaseException:
                self._write_again(keys)
                raise
            for key, value in values.items():
                if value is None:
                    self._written.pop(key, None)
                else:
                    self._written[key] = digests[key]
            if values and self._has_failed:
                self._has_failed = False
                log.info("facts_written_again")
            await asyncio.sleep(0)

    def _write_again(self, keys: Iterable[str]) -> None:
        """Marks keys as dirty again that may or may not have been written."""
        for key in keys:
            self._dirty[key] = None
            self._written[key] = 0
            kind, _, name = key.partition("/")
            if kind == RESOURCES:
                self._hosts.pop(name, None)

    # Which keys have changed.

    def _collect(self, *, reports: bool) -> None:
        """Marks the keys of everything that changed since the last call."""
        events = self._events.take()
        if events is None:
            self._all_changed()
        else:
            for event in events:
                self._endpoint_changed(event.id, is_gone=event.after is None)
        for check in self._checks.take() or ():
            self._dirty_buckets.add(bucket_of(check.key))
        if reports:
            self._collect_reports()
        for kind, learned in self._learned.items():
            self._dirty.update(
                (f"{LEARNED}/{kind}/{name}", None) for name in learned.take_changed()
            )

    def _collect_reports(self) -> None:
        reports = self._reports.take()
        if reports is None:
            self._reports.go_to(self._registry.revision)
            names = (key for key in self._written if key.startswith(f"{RESOURCES}/"))
            self._dirty.update(dict.fromkeys(names))
            hosts = self._registry.resources.items()
            self._dirty.update((f"{RESOURCES}/{agent_id}", None) for agent_id, _ in hosts)
        else:
            self._dirty.update((f"{RESOURCES}/{report.key}", None) for report in reports)

    def _all_changed(self) -> None:
        self._events.go_to(self._registry.revision)
        for bucket in self._buckets:
            bucket.clear()
        for record in self._registry.endpoints():
            self._endpoint_changed(record.message.id, is_gone=False)
        self._dirty.update(
            dict.fromkeys(key for key in self._written if key.startswith(f"{HEALTH}/"))
        )
        self._dirty_buckets.update(range(BUCKETS))

    def _endpoint_changed(self, id_: str, *, is_gone: bool) -> None:
        self._dirty[f"{HEALTH}/{id_}"] = None
        bucket = bucket_of(id_)
        self._dirty_buckets.add(bucket)
        if is_gone:
            self._buckets[bucket].pop(id_, None)
        else:
            self._buckets[bucket][id_] = None

    def _turn_at(self, now_ms: int) -> int:
        return now_ms * BUCKETS // self._interval_ms

    def _take_turns(self) -> None:
        """Marks the dirty buckets that are due as keys to write next."""
        turn, last = self._turn_at(self._clock.now_ms()), self._turn
        self._turn = turn
        for each in range(max(last, turn - BUCKETS) + 1, turn + 1):
            bucket = each % BUCKETS
            if bucket in self._dirty_buckets:
                self._dirty_buckets.discard(bucket)
                self._dirty[f"{CHECKS}/{bucket}"] = None

    # Which values are written.

    def _compose(self, key: str) -> tuple[int, bytes | None] | None:
        """The digest and value of a key, as of now; None if there is nothing to write."""
        kind, _, name = key.partition("/")
        digest, value = 0, None
        if kind == HEALTH:
            digest, value = self._health(name, self._written.get(key))
        elif kind == CHECKS:
            value = checks_value(self._in_bucket(int(name)), self._clock.now_ms())
        elif kind == RESOURCES:
            value = self._resources(name)
        elif kind == LEARNED:
            namespace, _, entry = name.partition("/")
            learned = self._learned.get(namespace)
            value = learned.export(entry) if learned is not None else None
        if value is None:
            return (0, None) if key in self._written else None
        return (digest, value) if value else None

    def _health(self, id_: str, known: int | None) -> tuple[int, bytes | None]:
        record = self._registry.get(id_)
        if record is None:
            return 0, None
        return endpoint_value(record.message, self._clock.now_ms(), known) or (0, None)

    def _in_bucket(self, bucket: int) -> Iterator[Endpoint]:
        for id_ in self._buckets[bucket]:
            record = self._registry.get(id_)
            if record is not None:
                yield record.message

    def _resources(self, agent_id: str) -> bytes | None:
        record = self._registry.resources.get(agent_id)
        if record is None:
            self._hosts.pop(agent_id, None)
            return None
        now_ms = self._clock.now_ms()
        before = self._hosts.get(agent_id)
        if (
            before is not None
            and now_ms - before[1] < _REFRESH_MS
            and not is_news(before[0].report, record.report)
        ):
            return b""
        self._hosts[agent_id] = (record, now_ms)
        return host_value(record, now_ms)

"""The dashboards' updates, encoded once for all of them.

    events, reports, ──► Followers ──► an update, ≤ 4 per second ──► bounded log
    checks, presence                                                     ▲
                                                     a Follower per dashboard

A dashboard is a follower of the log and has no queue: however many there are and however
slow, an update is encoded and stored once. A dashboard that falls behind the log gets the
whole state again. While no dashboard is open, nothing is encoded.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import orjson
from google.protobuf.descriptor import EnumDescriptor

from hub.base.clock import Clock
from hub.base.timestamps import to_ms
from hub.contract.dialect.encode import Json, to_json, to_json_bytes
from hub.contract.dialect.names import enum_word
from hub.registry.following import EndpointEvent, EndpointRecord
from hub.registry.history.latest_log import Latest
from hub.registry.history.ring import NOTHING_READ, Follower, Ring
from hub.registry.host_report import ResourcesRecord
from hub.registry.state import Registry
from hub.service.presence import Presence
from hub.transports.http.dashboard.transitions import Transition, TransitionHistory
from llmhub.v1.endpoint_pb2 import AdminState, Status

_PERIOD_S: Final = 0.25
# Changes come in bursts: those within this time share an update.
_GATHER_S: Final = 0.02
# The times and latencies of checks change with every probe; they can wait.
_CHECKS_PERIOD_S: Final = 5.0
# Bounds the time that one update takes on the loop; the rest waits for the next one.
_MAX_EVENTS: Final = 512
_HISTORY_MS: Final = 3_600_000
# Four minutes of updates, if they are small.
_LOG_UPDATES: Final = 1024
_LOG_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Update:
    """One update as a server-sent event; the log counts its own `revision`s from 1."""

    revision: int
    block: bytes


class LiveUpdates:
    """The source of all dashboards' updates; runs in the event loop from `start` to `stop`."""

    def __init__(self, registry: Registry, presence: Presence, clock: Clock) -> None:
        self._registry = registry
        self._presence = presence
        self._clock = clock
        self._history = TransitionHistory()
        self._last = 0
        self._log: Ring[Update] = Ring(_LOG_UPDATES, self._last, max_bytes=_LOG_BYTES)
        self._news = asyncio.Event()
        self._followers = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._flushed_at = 0.0
        self._checks_at = 0.0
        self._events = Follower(registry.ring, registry.revision)
        self._reports = Follower(registry.resources, registry.revision)
        self._checks = Follower(registry.checks, registry.revision)
        self._seen = registry.revision
        self._agents: set[str] = set()
        self._state: tuple[int, bytes] | None = None
        self.stopped = False

    @property
    def followers(self) -> int:
        """How many dashboards are open."""
        return self._followers

    def start(self) -> None:
        """Starts to follow the registry."""
        now_ms = self._clock.now_ms()
        for record in self._registry.endpoints():
            self._history.begin(record.message, now_ms)
        self._registry.on_change(self._changed)
        self._presence.on_change(self._agent_changed)

    def stop(self) -> None:
        """Ends every current and future `wait`."""
        self.stopped = True
        if self._timer is not None:
            self._timer.cancel()
        self.wake()

    def wake(self) -> None:
        """Ends every current `wait`, whether or not there is an update."""
        self._news.set()
        self._news = asyncio.Event()

    @contextmanager
    def following(self) -> Iterator[None]:
        """Updates are encoded while a dashboard is inside this block."""
        if not self._followers:
            self._skip()
        self._followers += 1
        try:
            yield
        finally:
            self._followers -= 1

    def follower(self, event_id: str = "") -> Follower[Update]:
        """A dashboard's follower, which continues after the event with that id.

        Without an id, or with one from another process, it starts with the whole state.
        """
        epoch, _, number = event_id.partition(".")
        is_own = epoch == str(self._registry.first_revision) and number.isdecimal()
        wanted = int(number) if is_own and len(number) < 18 else 0
        return Follower(self._log, wanted if 0 < wanted <= self._last else NOTHING_READ)

    def take(self, follower: Follower[Update]) -> bytes:
        """The next updates, as events, or the whole state if the log lacks some of them."""
        updates = follower.take()
        if updates is not None:
            return b"".join(update.block for update in updates)
        follower.go_to(self._last)
        if self._state is None or self._state[0] != self._last:
            self._state = self._last, self._encode_state()
        return self._state[1]

    async def wait(self, follower: Follower[Update], timeout_s: float) -> None:
        """Returns when there is an update to take, after a `wake`, or after the timeout."""
        if self._last == follower.revision and not self.stopped:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._news.wait()
            except TimeoutError:
                pass

    # Gathering.

    def _changed(self) -> None:
        # Called for every report of every sidecar, so it must be cheap.
        if self._timer is None or self._timer_at - self._flushed_at > _PERIOD_S:
            self._schedule(_PERIOD_S)

    def _agent_changed(self, agent_id: str) -> None:
        if self._followers:
            self._agents.add(agent_id)
            self._changed()

    def _schedule(self, period_s: float) -> None:
        if self.stopped:
            return
        loop = asyncio.get_running_loop()
        at = max(self._flushed_at + period_s, loop.time() + _GATHER_S)
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = loop.call_at(at, self._flush)

    def _flush(self) -> None:
        self._timer = None
        self._flushed_at = asyncio.get_running_loop().time()
        now_ms = self._clock.now_ms()
        events = self._events.take(_MAX_EVENTS if self._followers else len(self._registry.ring))
        reports = self._reports.take(_MAX_EVENTS) if self._followers else ()
        if events is None or reports is None:
            self._events.go_to(self._registry.revision)
            self._skip()
            return
        transitions = [
            transition
            for event in events
            if (transition := self._history.take(event, now_ms)) is not None
        ]
        if not self._followers:
            self._skip()
            return
        parts = [
            *_encode_events(events),
            *_encode_reports(reports),
            *self._encode_agents(),
            *_encode_transitions(transitions),
            *self._encode_checks(),
        ]
        if parts:
            self._append(b",".join([b'"now":%d' % now_ms, *parts]))
        if _MAX_EVENTS in (len(events), len(reports)):
            self._schedule(_PERIOD_S)
            return
        self._seen = self._registry.revision
        if self._checks.revision < self._seen:
            self._schedule(_CHECKS_PERIOD_S)

    def _append(self, members: bytes) -> None:
        self._last += 1
        block = self._event(b"update", self._last, members)
        self._log.append(self._last, Update(self._last, block), len(block))
        self.wake()

    def _skip(self) -> None:
        """Skips to the current revision; all dashboards must take the whole state again."""
        revision = self._registry.revision
        if self._seen != revision or self._agents:
            self._last += 1
            self._log.clear(self._last)
            self._state = None
            self._agents.clear()
            self._seen = revision
            self._reports.go_to(revision)
            self._checks.go_to(revision)
            self.wake()

    # Encoding. An event is "id", "event" and one line of "data"
    # (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    def _event(self, kind: bytes, number: int, members: bytes) -> bytes:
        epoch = self._registry.first_revision
        return b"id: %d.%d\nevent: %b\ndata: {%b}\n\n" % (epoch, number, kind, members)

    def _encode_state(self) -> bytes:
        registry = self._registry
        now_ms = self._clock.now_ms()
        resources = (
            orjson.dumps(agent_id) + b":" + record.encoded(to_json_bytes)
            for agent_id, record in registry.resources.items()
        )
        agents = {each.agent_id: each.connected_at_ms for each in self._presence.sidecars()}
        members = (
            b'"now":%d' % now_ms,
            b'"endpoints":'
            + _list(record.encoded(to_json_bytes) for record in registry.endpoints()),
            b'"resources":{' + b",".join(resources) + b"}",
            b'"sidecars":' + orjson.dumps(agents),
            b'"since":' + orjson.dumps(self._history.since()),
            b'"history":' + _transitions(self._history.window(now_ms - _HISTORY_MS)),
        )
        return self._event(b"state", self._last, b",".join(members))

    def _encode_agents(self) -> list[bytes]:
        """When each changed agent connected; null for one that disconnected."""
        agents, self._agents = self._agents, set()
        if not agents:
            return []
        connected: dict[str, int | None] = {}
        for agent_id in agents:
            sidecar = self._presence.get(agent_id)
            connected[agent_id] = sidecar.connected_at_ms if sidecar is not None else None
        return [b'"sidecars":' + orjson.dumps(connected)]

    def _encode_checks(self) -> list[bytes]:
        """Id, time, failures in a row, latency, load and outcomes of each checked endpoint."""
        now = self._flushed_at
        if now - self._checks_at < _CHECKS_PERIOD_S:
            return []
        self._checks_at = now
        checks = [
            _check(each.value) for each in self._checks.take() or () if each.value is not None
        ]
        self._checks.go_to(self._registry.revision)
        return [b'"checks":' + orjson.dumps(checks)] if checks else []


def _encode_events(events: Sequence[EndpointEvent]) -> list[bytes]:
    newest = {event.id: event.after for event in events}
    puts = [record.encoded(to_json_bytes) for record in newest.values() if record is not None]
    gone = [id_ for id_, record in newest.items() if record is None]
    parts = []
    if puts:
        parts.append(b'"put":' + _list(puts))
    if gone:
        parts.append(b'"deleted":' + orjson.dumps(gone))
    return parts


def _encode_reports(reports: Sequence[Latest[ResourcesRecord]]) -> list[bytes]:
    if not reports:
        return []
    members = (
        orjson.dumps(each.key)
        + b":"
        + (each.value.encoded(to_json_bytes) if each.value is not None else b"null")
        for each in reports
    )
    return [b'"resources":{' + b",".join(members) + b"}"]


def _encode_transitions(transitions: Sequence[Transition]) -> list[bytes]:
    return [b'"history":' + _transitions(transitions)] if transitions else []


def _transitions(transitions: Iterable[Transition]) -> bytes:
    """Time, id, status, admin_state and reason of each."""
    return orjson.dumps(
        [
            (
                each.at_ms,
                each.id,
                _word(Status.DESCRIPTOR, each.status),
                _word(AdminState.DESCRIPTOR, each.admin_state),
                each.reason,
            )
            for each in transitions
        ]
    )


def _check(record: EndpointRecord) -> tuple[Json, ...]:
    endpoint = record.message
    return (
        endpoint.id,
        to_ms(endpoint.last_checked_at) if endpoint.HasField("last_checked_at") else None,
        endpoint.consecutive_failures,
        endpoint.latency.ToMicroseconds() / 1000 if endpoint.HasField("latency") else None,
        to_json(endpoint.load) if endpoint.HasField("load") else None,
        # The figures of requests are published like those of checks.
        [to_json(each) for each in endpoint.outcomes],
    )


def _list(items: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


def _word(enum: EnumDescriptor, number: int) -> str | None:
    """An enum's word as in the JSON dialect, where the zero value is null."""
    return enum_word(enum, number) if number else None

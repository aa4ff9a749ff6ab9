"""What dashboards are told, encoded once for all of them.

    Registry.ring ─┐
    resources ─────┼─ cursors ─► an update, ≤ 4 a second ─► bounded log ◄─ one number a dashboard
    Presence ──────┘

A dashboard is a sequence number in the log and has no queue: however many there
are, and however slow, an update is made once and kept once. One that falls out of
the log is sent the whole state again. While nobody looks, nothing is encoded.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import orjson

from hub.base.clock import Clock
from hub.base.timestamps import to_ms
from hub.contract.dialect.encode import Json, to_json, to_json_bytes
from hub.contract.dialect.names import enum_words
from hub.registry.history.latest_log import Latest
from hub.registry.history.ring import Compacted, Ring
from hub.registry.host_report import ResourcesRecord
from hub.registry.state import EndpointEvent, EndpointRecord, Registry
from hub.service.presence import Presence
from hub.transports.http.dashboard.transitions import History, Transition
from llmhub.v1.endpoint_pb2 import AdminState, Status

_PERIOD_S: Final = 0.25
# Changes seldom come alone: what follows within this time shares the update.
_GATHER_S: Final = 0.02
# The times and latencies of checks change with every probe and are news to nobody.
_CHECKS_PERIOD_S: Final = 5.0
# Bounds what one update may cost the loop; the rest waits for the next.
_MAX_EVENTS: Final = 512
_HISTORY_MS: Final = 3_600_000
# Four minutes of updates, if they are small.
_LOG_UPDATES: Final = 1024
_LOG_BYTES: Final = 4 * 1024 * 1024


class LiveUpdates:
    """The dashboards' one source; runs in the event loop from `start` to `stop`."""

    def __init__(self, registry: Registry, presence: Presence, clock: Clock) -> None:
        self._registry = registry
        self._presence = presence
        self._clock = clock
        self._history = History()
        self._last = 0
        self._log = self._new_log()
        self._news = asyncio.Event()
        self._followers = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._flushed_at = 0.0
        self._checks_at = 0.0
        self._ring_cursor = registry.revision
        self._resources_cursor = registry.revision
        self._checks_cursor = registry.revision
        self._agents: set[str] = set()
        self._state: tuple[int, bytes] | None = None
        self.stopped = False

    @property
    def followers(self) -> int:
        """How many dashboards are open."""
        return self._followers

    def start(self) -> None:
        """Begins to follow the registry."""
        now_ms = self._clock.now_ms()
        for record in self._registry.endpoints():
            self._history.begin(record.message, now_ms)
        self._registry.on_change(self._changed)
        self._presence.on_change(self._agent_changed)

    def stop(self) -> None:
        """Ends every `wait`, now and from now on."""
        self.stopped = True
        if self._timer is not None:
            self._timer.cancel()
        self.wake()

    def wake(self) -> None:
        """Makes every follower look up, whether or not there is something new."""
        self._news.set()
        self._news = asyncio.Event()

    @contextmanager
    def following(self) -> Iterator[None]:
        """Updates are made while somebody is within."""
        if not self._followers:
            self._skip()
        self._followers += 1
        try:
            yield
        finally:
            self._followers -= 1

    def state(self) -> tuple[int, bytes]:
        """The whole state as an event, and the number to go on from."""
        if self._state is None or self._state[0] != self._last:
            self._state = self._last, self._encode_state()
        return self._state

    def resume(self, event_id: str) -> int | None:
        """The number that an event's id stands for; None where another hub gave it out."""
        epoch, _, number = event_id.partition(".")
        if epoch != str(self._registry.first_revision) or not number.isdecimal():
            return None
        wanted = int(number) if len(number) < 18 else 0
        return wanted if 0 < wanted <= self._last else None

    def after(self, number: int) -> tuple[int, bytes]:
        """What happened after that number, as events; the state where it is not known."""
        try:
            return self._last, b"".join(self._log.after(number, _LOG_UPDATES))
        except Compacted:
            return self.state()

    async def wait(self, number: int, timeout_s: float) -> None:
        """Returns once there is something after `number`, after a `wake` or a timeout."""
        if self._last == number and not self.stopped:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._news.wait()
            except TimeoutError:
                pass

    # Gathering.

    def _changed(self) -> None:
        # Called for every report of every sidecar: it must cost next to nothing.
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
        limit = _MAX_EVENTS if self._followers else len(self._registry.ring)
        try:
            events = self._registry.ring.after(self._ring_cursor, limit)
            reports = self._registry.resources.after(self._resources_cursor)
        except Compacted:
            self._ring_cursor = self._registry.revision
            self._skip()
            return
        if events:
            self._ring_cursor = events[-1].revision
        transitions = [
            transition
            for event in events
            if (transition := self._history.take(event, now_ms)) is not None
        ]
        if not self._followers:
            self._skip()
            return
        told = reports[:_MAX_EVENTS]
        is_behind = len(told) < len(reports)
        self._resources_cursor = told[-1].revision if is_behind else self._registry.revision
        parts = [
            *_encode_events(events),
            *_encode_reports(told),
            *self._encode_agents(),
            *_encode_transitions(transitions),
            *self._encode_checks(),
        ]
        if parts:
            self._tell(b"update", b",".join([b'"now":%d' % now_ms, *parts]))
        if is_behind or len(events) == _MAX_EVENTS:
            self._schedule(_PERIOD_S)
        elif self._checks_cursor < self._registry.revision:
            self._schedule(_CHECKS_PERIOD_S)

    def _tell(self, kind: bytes, members: bytes) -> None:
        self._last += 1
        update = self._event(kind, self._last, members)
        self._log.append(self._last, update, len(update))
        self.wake()

    def _new_log(self) -> Ring[bytes]:
        return Ring(_LOG_UPDATES, self._last, max_bytes=_LOG_BYTES)

    def _skip(self) -> None:
        """Goes to the present without telling what happened; followers start anew."""
        revision = self._registry.revision
        if self._resources_cursor != revision or self._agents:
            self._last += 1
            self._log = self._new_log()
            self._state = None
            self._agents.clear()
            self._resources_cursor = self._checks_cursor = revision
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
        """When each agent that came or went has connected; null for one that is gone."""
        agents, self._agents = self._agents, set()
        if not agents:
            return []
        connected: dict[str, int | None] = {}
        for agent_id in agents:
            sidecar = self._presence.get(agent_id)
            connected[agent_id] = sidecar.connected_at_ms if sidecar is not None else None
        return [b'"sidecars":' + orjson.dumps(connected)]

    def _encode_checks(self) -> list[bytes]:
        """Of each endpoint that was checked: id, when, failures in a row, latency, load."""
        now = self._flushed_at
        if now - self._checks_at < _CHECKS_PERIOD_S:
            return []
        self._checks_at = now
        checks = [_check(each) for each in self._registry.checked_after(self._checks_cursor)]
        self._checks_cursor = self._registry.revision
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
    """Of each: when, id, status, admin_state, reason."""
    return orjson.dumps(
        [
            (
                each.at_ms,
                each.id,
                _STATUS.get(each.status),
                _ADMIN_STATE.get(each.admin_state),
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
    )


def _list(items: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


_STATUS: Final = {number: word for word, number in enum_words(Status.DESCRIPTOR).items()}
_ADMIN_STATE: Final = {number: word for word, number in enum_words(AdminState.DESCRIPTOR).items()}

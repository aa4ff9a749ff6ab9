"""The fleet in memory: registry, probes, sidecars, the feed of changes.

Also drops what has expired at its deadline, and shows and logs self-preservation.
"""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Final

import structlog

from hub.base.clock import Clock
from hub.base.settings import Settings
from hub.base.tasks import log_unexpected_end
from hub.base.timestamps import to_timestamp
from hub.probes.engine import ProbeEngine
from hub.registry.health.judgement import FleetHealth
from hub.registry.health.preservation import PreservationReport, State
from hub.registry.observation import Observation
from hub.registry.state import Registry
from hub.server.gateways import Gateways
from hub.server.warm_restart import WarmRestart
from hub.service.change_feed import ChangeFeed
from hub.service.metrics.selection_counts import LearnedSelections
from hub.service.overload.pressure import Level
from hub.service.presence import Presence
from llmhub.v1.admin_service_pb2 import (
    PRESERVATION_STATE_CONFIRMED,
    PRESERVATION_STATE_FROZEN,
    PRESERVATION_STATE_TRUSTING,
    PreservationState,
    SelfPreservation,
)

# How much longer changes are collected for watches: 100 ms instead of 10, 2 s for reports.
_OVERLOADED_WATCHES: Final = 10.0


class Expiry:
    """Sleeps until the registry's next deadline, and wakes if an earlier one appears.

    It sleeps at most as long as a report is valid. So a report never brings the deadline
    forward, and only events are compared with it.
    """

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._asleep_until_ms = 0
        self._event_revision = registry.event_revision
        self._earlier = asyncio.Event()
        registry.on_change(self._changed)

    async def run(self) -> None:
        """Runs until it is cancelled."""
        while True:
            self._earlier.clear()
            now_ms = self._clock.now_ms()
            self._registry.expire(now_ms)
            until_ms = now_ms + self._registry.reports_ttl_ms
            deadline_ms = self._registry.next_deadline_ms()
            if deadline_ms is not None and deadline_ms < until_ms:
                until_ms = deadline_ms
            self._asleep_until_ms = until_ms
            try:
                async with asyncio.timeout(max(0, until_ms - now_ms) / 1000):
                    await self._earlier.wait()
            except TimeoutError:
                continue

    def _changed(self) -> None:
        # Called for every report of every sidecar, so it must be cheap.
        event_revision = self._registry.event_revision
        if event_revision != self._event_revision:
            self._event_revision = event_revision
            deadline_ms = self._registry.next_deadline_ms()
            if deadline_ms is not None and deadline_ms < self._asleep_until_ms:
                self._earlier.set()


log = structlog.get_logger()

_STATES: Final[dict[State, PreservationState]] = {
    State.TRUSTING: PRESERVATION_STATE_TRUSTING,
    State.FROZEN: PRESERVATION_STATE_FROZEN,
    State.CONFIRMED: PRESERVATION_STATE_CONFIRMED,
}


def self_preservation(registry: Registry, now_ms: int) -> SelfPreservation:
    """The state that GetServerInfo returns."""
    report = registry.health.preservation(registry.healthy_count, now_ms)
    shown = SelfPreservation(
        state=_STATES[report.state],
        failing_count=report.failing,
        base_count=report.base,
        freeze_count=report.freezes,
    )
    if report.since_ms is not None:
        shown.since.CopyFrom(to_timestamp(report.since_ms))
    if report.confirmed_at_ms is not None:
        shown.confirmed_at.CopyFrom(to_timestamp(report.confirmed_at_ms))
    return shown


def mistrust(registry: Registry, now_ms: int) -> str | None:
    """Why the hub doubts its probes' results, as a sentence; None if it trusts them."""
    report = registry.health.preservation(registry.healthy_count, now_ms)
    return _sentence(report) if report.state is State.FROZEN else None


def log_preservation(registry: Registry, now_ms: int) -> None:
    """Logs that self-preservation has changed its state."""
    report = registry.health.preservation(registry.healthy_count, now_ms)
    figures = {"failing": report.failing, "of": report.base}
    match registry.health.preservation_state:
        case State.FROZEN:
            log.warning("self_preservation_frozen", why=_sentence(report), **figures)
        case State.CONFIRMED:
            log.warning("self_preservation_confirmed", **figures)
        case State.TRUSTING:
            log.info("self_preservation_over", **figures)


def _sentence(report: PreservationReport) -> str:
    return (
        f"{report.failing} of {report.base} healthy endpoints fail at once, which is more likely "
        "the hub's fault than theirs: none becomes unhealthy until probes succeed again or "
        "the failures persist"
    )


class Fleet:
    """What the hub knows about its fleet and learns from probes."""

    def __init__(self, settings: Settings, clock: Clock, first_revision: int) -> None:
        self._clock = clock
        self.registry = Registry(
            ring_capacity=settings.limits.ring_events,
            ring_bytes=settings.limits.ring_bytes,
            first_revision=first_revision,
            resources_ttl_ms=round(settings.resources_ttl_s * 1000),
            health=FleetHealth(settings.probes, settings.flapping, settings.preservation),
        )
        self.selections = LearnedSelections(self.registry)
        self.presence = Presence()
        self.changes = ChangeFeed(self.registry)
        self.probes = ProbeEngine(
            settings.probes,
            self.observe,
            clock,
            Random(),  # noqa: S311
        )
        self.gateways = Gateways(settings.gateway, self.registry, self.changes, self.probes)
        self._warm_restart = WarmRestart(settings, clock, self.registry, self.probes.facts)
        self._expiry: asyncio.Task[None] | None = None

    async def restore(self) -> None:
        """Restores to the registry what was known about its endpoints before the start."""
        await self._warm_restart.restore()

    async def start(self, on_failure: Callable[[], None]) -> None:
        """Begins to probe, to save observations, and to drop what has expired."""
        self._warm_restart.start()
        await self.probes.start()
        self.gateways.start(on_failure)
        self._expiry = asyncio.create_task(Expiry(self.registry, self._clock).run(), name="expiry")
        log_unexpected_end(self._expiry, on_failure)

    async def stop(self) -> None:
        """Stops probing, and saves the last observations. Idempotent."""
        if self._expiry is not None:
            self._expiry.cancel()
            await asyncio.wait([self._expiry])
            self._expiry = None
        await self.gateways.stop()
        await self.probes.stop()
        await self._warm_restart.stop()

    def follow_overload(self, level: Level) -> None:
        """Sends watches fewer and larger responses while the hub is that overloaded."""
        self.changes.slow_down(_OVERLOADED_WATCHES if level >= Level.WATCHES else 1.0)

    def why_mistrusted(self) -> str | None:
        """Why the hub doubts its probes' results, as a sentence; None if it trusts them."""
        return mistrust(self.registry, self._clock.now_ms())

    def observe(self, endpoint_id: str, seen: Observation) -> None:
        """Applies a probe's observation of an endpoint."""
        registry = self.registry
        before = registry.health.preservation_state
        registry.observe(endpoint_id, seen)
        if registry.health.preservation_state is not before:
            log_preservation(registry, seen.checked_at_ms)

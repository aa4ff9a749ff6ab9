"""The fleet in memory: registry, probes, connected sidecars, and the feed of changes."""

import asyncio
from collections.abc import Callable
from random import Random

from hub.base.clock import Clock
from hub.base.settings import Settings
from hub.base.tasks import tell_of_end
from hub.probes.engine import ProbeEngine
from hub.registry.health.judgement import FleetHealth
from hub.registry.observation import Observation
from hub.registry.state import Registry
from hub.server import self_preservation
from hub.server.expiry import Expiry
from hub.server.warm_restart import WarmRestart
from hub.service.change_feed import ChangeFeed
from hub.service.presence import Presence


class Fleet:
    """What the hub knows of its fleet, and what it learns from probes."""

    def __init__(self, settings: Settings, clock: Clock, first_revision: int) -> None:
        self._clock = clock
        self.registry = Registry(
            first_revision=first_revision,
            resources_ttl_ms=round(settings.resources_ttl_s * 1000),
            health=FleetHealth(settings.probes, settings.flapping, settings.preservation),
        )
        self.presence = Presence()
        self.changes = ChangeFeed(self.registry)
        self.probes = ProbeEngine(
            settings.probes,
            self.observe,
            clock,
            Random(),  # noqa: S311
        )
        self._warm_restart = WarmRestart(settings, clock, self.registry, self.probes.facts)
        self._expiry: asyncio.Task[None] | None = None

    async def restore(self) -> None:
        """Puts into the registry what was known of its endpoints before the start."""
        await self._warm_restart.restore()

    async def start(self, on_failure: Callable[[], None]) -> None:
        """Begins to probe, to keep what is observed, and to drop what has expired."""
        self._warm_restart.start()
        await self.probes.start()
        self._expiry = asyncio.create_task(Expiry(self.registry, self._clock).run(), name="expiry")
        tell_of_end(self._expiry, on_failure)

    async def stop(self) -> None:
        """Stops probing, and keeps what was observed last. Idempotent."""
        if self._expiry is not None:
            self._expiry.cancel()
            await asyncio.wait([self._expiry])
            self._expiry = None
        await self.probes.stop()
        await self._warm_restart.stop()

    def why_mistrusted(self) -> str | None:
        """Why the hub doubts what its probes see, for people; None if it does not."""
        return self_preservation.mistrust(self.registry, self._clock.now_ms())

    def observe(self, endpoint_id: str, seen: Observation) -> None:
        """Takes what a probe saw of an endpoint."""
        registry = self.registry
        before = registry.health.preservation_state
        registry.observe(endpoint_id, seen)
        if registry.health.preservation_state is not before:
            self_preservation.log_preservation(registry, seen.checked_at_ms)

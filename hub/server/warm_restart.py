"""Warm restarts: the hub starts with what it knew before, and saves what it observes."""

import structlog

from hub.base.clock import Clock
from hub.base.data_dir import FACTS_FILE
from hub.base.moment import SystemTime
from hub.base.settings import Settings
from hub.base.tasks import log_unexpected_end
from hub.cluster.learned import LearnedFacts, LearnedLoadTimes, LearnedModelFacts
from hub.cluster.publisher import FactPublisher
from hub.cluster.warm_start import Restored, WarmStart
from hub.probes.model_facts import ModelFactsCache
from hub.registry.state import Registry
from hub.stores.local_facts import LocalFacts

log = structlog.get_logger(__name__)


class WarmRestart:
    """Restores the facts at a start, then publishes them until `stop`."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        registry: Registry,
        model_facts: ModelFactsCache,
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._facts = LocalFacts(settings.data_dir / FACTS_FILE, SystemTime())
        self._learned: dict[str, LearnedFacts] = {
            "load_times": LearnedLoadTimes(registry.health.load_times),
            "model_facts": LearnedModelFacts(model_facts),
        }
        self._publisher = FactPublisher(
            registry,
            self._facts,
            clock,
            self._learned,
            interval_ms=round(settings.probes.interval_s * 1000),
        )
        self._restored = Restored()

    async def restore(self) -> None:
        """Restores the facts to the registry, which must already have its endpoints."""
        facts = await self._facts.open()
        warm_start = WarmStart(self._registry, self._learned)
        try:
            restored = self._restored = warm_start.restore(facts, self._clock.now_ms())
        except Exception:
            # Any error: probes find these facts again, so they must not prevent a start.
            log.exception("facts_not_restored")
            self._restored = Restored(outdated=[fact.key for fact in facts])
            return
        if facts:
            log.info(
                "facts_restored",
                endpoints=restored.endpoints,
                hosts=restored.hosts,
                oldest_s=restored.oldest_ms // 1000,
                damaged=restored.damaged,
            )

    def start(self) -> None:
        """Publishes changes from now on. If publishing fails, the hub goes on without it."""
        log_unexpected_end(self._publisher.start(self._restored), lambda: None)
        self._restored = Restored()

    async def stop(self) -> None:
        """Publishes what is left and closes the file. Idempotent."""
        await self._publisher.stop()
        await self._facts.close()

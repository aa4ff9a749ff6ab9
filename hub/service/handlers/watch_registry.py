"""RegistryService.WatchRegistry: state, changes, marks of progress."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from hub.base.clock import Clock
from hub.contract.errors import RevisionCompacted
from hub.registry import segments
from hub.registry.filters import EndpointFilter
from hub.registry.history.ring import Compacted
from hub.registry.segments import Interest, Segment
from hub.registry.state import Registry
from hub.service.access.caller import Caller
from hub.service.change_feed import ChangeFeed
from llmhub.v1.registry_service_pb2 import WatchRegistryRequest

DEFAULT_PROGRESS_MS: Final = 5_000


class WatchHandlers:
    """Sends each watcher what it has not seen yet.

    Nothing is queued: a stream that does not take its next response waits in its
    own `yield`, and reads on from its own cursor when it comes back.
    """

    def __init__(self, registry: Registry, changes: ChangeFeed, clock: Clock) -> None:
        self._registry = registry
        self._changes = changes
        self._clock = clock

    async def watch_registry(
        self, request: WatchRegistryRequest, _caller: Caller, now_ms: int
    ) -> AsyncIterator[bytes]:
        """Raises RevisionCompacted, ShuttingDown. That the token ends is the door's to see."""
        interest = _interest(request)
        progress_ms = DEFAULT_PROGRESS_MS
        if request.HasField("progress_interval"):
            progress_ms = request.progress_interval.ToMilliseconds()
        with self._changes.cursor(request.after_revision or self._registry.revision) as cursor:
            if request.after_revision:
                segment = self._read(interest, cursor.revision)
                if not segment.responses:
                    yield segments.progress(segment.revision)
            else:
                cursor.revision, responses = segments.state(self._registry, interest, now_ms)
                for response in responses:
                    yield response
            said_ms = self._clock.now_ms()
            while True:
                segment = self._read(interest, cursor.revision)
                for response in segment.responses:
                    yield response
                cursor.revision = segment.revision
                now_ms = self._clock.now_ms()
                if segment.responses:
                    said_ms = now_ms
                elif now_ms - said_ms >= progress_ms:
                    yield segments.progress(cursor.revision)
                    said_ms = now_ms
                if segment.more:
                    await asyncio.sleep(0)
                    continue
                quiet_ms = said_ms + progress_ms - now_ms
                await self._changes.next(interest, cursor, quiet_ms / 1000)

    def _read(self, interest: Interest, after: int) -> Segment:
        try:
            return self._changes.read(interest, after)
        except Compacted as error:
            registry = self._registry
            raise RevisionCompacted(
                f"{error}; list again",
                metadata={
                    "after_revision": str(after),
                    "first_revision": str(registry.first_revision),
                    "floor": str(registry.ring.floor),
                    "revision": str(registry.revision),
                },
            ) from error


def _interest(request: WatchRegistryRequest) -> Interest:
    return Interest(
        endpoints=EndpointFilter.of(request.model, request.backend, request.status, request.labels),
        resources=request.include_resources,
        checks=request.include_checks,
        aliases=request.include_aliases,
    )

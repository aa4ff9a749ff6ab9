"""RegistryService.WatchRegistry: the state, then changes and progress marks."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from hub.base.clock import Clock
from hub.registry import segments
from hub.registry.filters import EndpointFilter
from hub.registry.segments import Interest
from hub.registry.state import Registry
from hub.registry.views import View
from hub.service.access.caller import Caller
from hub.service.change_feed import ChangeFeed
from llmhub.v1.registry_service_pb2 import WatchRegistryRequest

DEFAULT_PROGRESS_MS: Final = 5_000


class WatchHandlers:
    """Sends each watcher what it has not received yet.

    Nothing is queued: a stream whose client does not read waits in its own `yield`, and
    then continues from its own revision.
    """

    def __init__(self, registry: Registry, changes: ChangeFeed, clock: Clock) -> None:
        self._registry = registry
        self._changes = changes
        self._clock = clock

    def watch_registry(
        self, request: WatchRegistryRequest, _caller: Caller, now_ms: int
    ) -> AsyncIterator[bytes]:
        """Raises RevisionCompacted, ShuttingDown. The transport ends it when the token ends."""
        return self._watch(request, View(), now_ms)

    def watch_registry_in_view(
        self, request: WatchRegistryRequest, caller: Caller, now_ms: int
    ) -> AsyncIterator[bytes]:
        """The same of the part of the fleet that the caller may see."""
        return self._watch(request, caller.view, now_ms)

    async def _watch(
        self, request: WatchRegistryRequest, view: View, now_ms: int
    ) -> AsyncIterator[bytes]:
        interest = _interest(request, view)
        progress_ms = DEFAULT_PROGRESS_MS
        if request.HasField("progress_interval"):
            progress_ms = request.progress_interval.ToMilliseconds()
        start = request.after_revision or self._registry.revision
        with self._changes.watching(interest, start) as watcher:
            # A stream may last for days, so its frame keeps only what it still needs.
            interest = watcher.interest
            if request.after_revision:
                segment = watcher.read()
                if not segment.responses:
                    yield segments.progress(segment.revision)
            else:
                watcher.revision, responses = segments.state(self._registry, interest, now_ms)
                for response in responses:
                    yield response
                del responses
            del request, view, interest
            sent_ms = self._clock.now_ms()
            while True:
                segment = watcher.read()
                for response in segment.responses:
                    yield response
                watcher.revision = segment.revision
                now_ms = self._clock.now_ms()
                if segment.responses:
                    sent_ms = now_ms
                elif now_ms - sent_ms >= progress_ms:
                    yield segments.progress(watcher.revision)
                    sent_ms = now_ms
                if segment.more:
                    await asyncio.sleep(0)
                    continue
                await watcher.wait((sent_ms + progress_ms - now_ms) / 1000)


def _interest(request: WatchRegistryRequest, view: View) -> Interest:
    return Interest(
        endpoints=EndpointFilter.of(request.model, request.backend, request.status, request.labels),
        resources=request.include_resources,
        checks=request.include_checks,
        aliases=request.include_aliases,
        view=view,
    )

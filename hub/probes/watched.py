"""One endpoint that is probed: how it is asked, and what is known of it between probes."""

import asyncio
from dataclasses import dataclass, field

from hub.probes.backends.prober import Prober, Sighting
from hub.probes.detect import PROBERS, detect
from hub.probes.faults import WrongKind
from hub.probes.probe_client import Asker
from hub.probes.target import Target
from hub.registry.observation import Observation
from llmhub.v1.endpoint_pb2 import BACKEND_UNSPECIFIED

# A server that loads a model is looked at again after a quarter of the time that it
# has been loading, so that the hub knows to a quarter how long loading takes.
_SOONEST_AGAIN_MS = 1000
_AGAIN_AFTER_SHARE = 4


@dataclass(slots=True, eq=False)
class Watched:
    """An endpoint, its prober once that is known, its probe in flight and who waits for it.

    `counted_ms` is when its last regular probe started, `loading_since_ms` when it
    was first found loading. `latency_ms` is how long its first answer took in the last
    probe that succeeded, None before that. `is_doubted`: the last probe failed, or a
    sidecar reports that the server is down.
    """

    target: Target
    prober: Prober | None = None
    task: asyncio.Task[None] | None = None
    has_crashed: bool = False
    counted_ms: int | None = None
    loading_since_ms: int | None = None
    latency_ms: float | None = None
    is_doubted: bool = False
    keeps_connection: bool = False
    waiters: list[asyncio.Future[Observation]] = field(default_factory=list)

    async def sight(self, ask: Asker) -> Sighting:
        """Probes by the kind that is pinned, remembered or detected, in this order.

        Raises ProbeError, OwnFault.
        """
        known = self.prober
        sighting = await self._sight(ask)
        if known is not None and self.keeps_connection and ask.connections:
            # The server has closed the connection that it kept from probe to probe, as
            # one does that was restarted. Its version or backend may be another.
            self.prober = None
            sighting = await self._sight(ask)
        self.keeps_connection = not ask.connections
        return sighting

    async def _sight(self, ask: Asker) -> Sighting:
        pinned = self.target.backend
        prober = self.prober
        if prober is None:
            prober = PROBERS[pinned]() if pinned != BACKEND_UNSPECIFIED else await detect(ask)
            self.prober = prober
        try:
            return await prober.probe(ask)
        except WrongKind as error:
            # The port has changed hands, or the admin is mistaken: say who is there.
            self.prober = None
            found = await _detect_or_raise(ask, error)
            if pinned != BACKEND_UNSPECIFIED:
                if found.kind == pinned:
                    raise
                raise WrongKind(
                    f"is {found.title}, not {PROBERS[pinned].title} as registered"
                ) from error
            if found.kind == prober.kind:
                raise
            self.prober = found
            return await found.probe(ask)

    def again_ms(self, now_ms: int) -> int:
        """When a server that was found loading now is looked at again."""
        if self.loading_since_ms is None:
            self.loading_since_ms = now_ms
        loading_ms = now_ms - self.loading_since_ms
        return now_ms + max(_SOONEST_AGAIN_MS, loading_ms // _AGAIN_AFTER_SHARE)

    def cancel(self) -> None:
        """Cancels the probe in flight."""
        if self.task is not None:
            self.task.cancel()

    def tell(self, seen: Observation) -> None:
        """Gives those who wait what the probe saw."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(seen)
        self.waiters.clear()

    def refuse(self, error: Exception) -> None:
        """Gives those who wait an error."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(error)
        self.waiters.clear()


async def _detect_or_raise(ask: Asker, error: WrongKind) -> Prober:
    try:
        return await detect(ask)
    except WrongKind:
        raise error from None

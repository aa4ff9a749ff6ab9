"""One probed endpoint: its target, its prober, and what the hub remembers between probes."""

import asyncio
from dataclasses import dataclass, field

import structlog

from hub.base.bounds import MODEL_BYTES_PER_ENDPOINT
from hub.probes.asker import Asker, ProbeTarget
from hub.probes.backends.kinds import PROBERS
from hub.probes.backends.prober import Prober, Sighting
from hub.probes.detect import detect
from hub.probes.faults import WrongKind
from hub.registry.observation import Observation
from llmhub.v1.endpoint_pb2 import BACKEND_UNSPECIFIED

_log = structlog.get_logger(__name__)

# A server that is loading a model is probed again after a quarter of the time that it has
# been loading, so that the hub knows the load time to within a quarter.
_SOONEST_AGAIN_MS = 1000
_AGAIN_AFTER_SHARE = 4

# An endpoint that answered before but is in doubt now gets less than the whole timeout:
# a multiple of its usual latency.
CONFIRM_TIMEOUT_S = 1.25
_PATIENCE_FACTOR = 4


@dataclass(slots=True, eq=False)
class Watched:
    """An endpoint, its prober if known, its probe in flight, and the waiting callers.

    `counted_ms` is when its last regular probe started, `loading_since_ms` when it
    was first found loading. `omitted` is how many models the last probe left out.
    `latency_ms` is the time of the first answer in the last successful probe, None if
    there was none. `is_doubted`: the last probe failed, or a sidecar reported that the
    server is down.
    """

    target: ProbeTarget
    prober: Prober | None = None
    task: asyncio.Task[None] | None = None
    has_crashed: bool = False
    counted_ms: int | None = None
    loading_since_ms: int | None = None
    latency_ms: float | None = None
    is_doubted: bool = False
    omitted: int = 0
    waiters: list[asyncio.Future[Observation]] = field(default_factory=list)

    async def probe(self, ask: Asker) -> Sighting:
        """Probes with the registered kind, the remembered one or a detected one.

        Raises ProbeError, OwnFault.
        """
        pinned = self.target.backend
        prober = self.prober
        if prober is None:
            prober = PROBERS[pinned]() if pinned != BACKEND_UNSPECIFIED else await detect(ask)
            self.prober = prober
        try:
            return await prober.probe(ask)
        except WrongKind as error:
            # Another server has taken over the port, or the admin is mistaken: detect it.
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

    def patience_s(self, total_timeout_s: float) -> float:
        """The seconds to wait for the first answer of an endpoint that is in doubt."""
        if self.latency_ms is None:
            return total_timeout_s
        usual_s = self.latency_ms / 1000 * _PATIENCE_FACTOR
        return min(max(CONFIRM_TIMEOUT_S, usual_s), total_timeout_s)

    def settle(self, first_answer_ms: float | None, *, has_failed: bool) -> None:
        """Records the result of a probe."""
        if not has_failed and not self.is_doubted:
            # After a doubt, the time includes how long the server was hanging.
            self.latency_ms = first_answer_ms
        self.is_doubted = has_failed

    def again_ms(self, now_ms: int) -> int:
        """When to probe a server again that was found loading now."""
        if self.loading_since_ms is None:
            self.loading_since_ms = now_ms
        loading_ms = now_ms - self.loading_since_ms
        return now_ms + max(_SOONEST_AGAIN_MS, loading_ms // _AGAIN_AFTER_SHARE)

    def note_omitted(self, count: int) -> None:
        """Logs when the probes begin to omit models, and when they no longer do."""
        if bool(count) != bool(self.omitted):
            _log.warning(
                "models_omitted",
                endpoint=self.target.id,
                omitted=count,
                max_bytes=MODEL_BYTES_PER_ENDPOINT,
            )
        self.omitted = count

    def cancel(self) -> None:
        """Cancels the probe in flight."""
        if self.task is not None:
            self.task.cancel()

    def deliver(self, seen: Observation) -> None:
        """Gives the observation to the waiting callers."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(seen)
        self.waiters.clear()

    def refuse(self, error: Exception) -> None:
        """Gives an error to the waiting callers."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(error)
        self.waiters.clear()


async def _detect_or_raise(ask: Asker, error: WrongKind) -> Prober:
    try:
        return await detect(ask)
    except WrongKind:
        raise error from None

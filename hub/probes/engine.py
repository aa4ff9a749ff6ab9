"""The health engine: probes every endpoint at its time and reports the observations.

One task follows the schedule. Each probe in flight is a task of its own; the lanes of
`hub.probes.schedule` bound their number. The engine owns all of these tasks. It does
not judge: it reports every observation, and the registry counts failures.
"""

import asyncio
from collections.abc import Callable, Iterable
from random import Random

import structlog

from hub.base.clock import Clock
from hub.base.settings import Network, ProbeSettings
from hub.contract.errors import EndpointNotFound, LimitReached, ShuttingDown
from hub.probes.address_policy import AddressPolicy
from hub.probes.asker import ProbeTarget
from hub.probes.backends.prober import Sighting
from hub.probes.faults import BadAnswer, Busy, NotReady, OwnFault, ProbeError, Unreachable
from hub.probes.lanes import Lane, Run
from hub.probes.model_facts import ModelFactsCache
from hub.probes.probe_client import ProbeClient, SharedAsker
from hub.probes.schedule import Schedule
from hub.probes.stats import EngineStats, WorstOf
from hub.probes.watched import Watched
from hub.registry.observation import Observation
from llmhub.v1.endpoint_pb2 import BACKEND_UNSPECIFIED, MODEL_STATE_LOADING, Model

Report = Callable[[str, Observation], None]

# The scheduler wakes at most once per tick and starts at most this many probes each
# time: 1,600 per second. A probe takes most of a millisecond of the event loop, so a
# caller of the hub waits for a few milliseconds at most.
_TICK_S = 0.005
_STARTS_PER_TICK = 8
# The pace of endpoints that were never probed: a thousand within 3 s of a start, and fewer
# of those registered later, because the registrations need the loop as well. Faster if the
# fleet is so large that this would take longer than an interval.
_START_PER_S = 500
_FRESH_PER_S = 200
_STOP_S = 2.0
# The wait before a server with more facts to report is probed again.
_SOON_MS = 2000
# After this time in flight, a probe of an endpoint that answered the last time moves to the
# doubtful lane, so that a hanging endpoint does not block those that answer.
_DEMOTE_AFTER_MS = 500
# The longest pause that a busy server may ask for.
_MAX_RETRY_AFTER_S = 900.0
_MAX_ERROR = 2000

_log = structlog.get_logger(__name__)


class ProbeEngine:
    """Probes the endpoints that it watches."""

    def __init__(
        self, settings: ProbeSettings, report: Report, clock: Clock, random: Random
    ) -> None:
        """`report` is called in the event loop with the endpoint's id and the observation.

        Exceptions that it raises are logged.
        """
        self._settings = settings
        self._interval_ms = round(settings.interval_s * 1000)
        self._jitter = settings.jitter
        self._report = report
        self._clock = clock
        self._client = ProbeClient(settings)
        self._schedule = Schedule(
            interval_ms=self._interval_ms,
            jitter=settings.jitter,
            limits={
                Lane.ASKED: settings.asked_concurrency,
                Lane.CONFIRM: settings.concurrency,
                Lane.LIVE: settings.concurrency,
                Lane.DOUBTFUL: settings.doubtful_concurrency,
            },
            per_host=settings.per_host,
            demote_after_ms=_DEMOTE_AFTER_MS,
            random=random,
            fresh_per_s=_FRESH_PER_S,
            start_per_s=_START_PER_S,
            unhealthy_after=settings.unhealthy_after,
        )
        self._watched: dict[str, Watched] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduler: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._probes = 0
        self._failures = 0
        self._own_faults = 0
        self._fault_logged_ms: int | None = None
        self._lateness = WorstOf(self._interval_ms)

    @property
    def stats(self) -> EngineStats:
        """The current figures."""
        return EngineStats(
            watched=len(self._watched),
            active={lane.value: self._schedule.running(lane) for lane in Lane},
            queued={lane.value: self._schedule.queued(lane) for lane in Lane},
            probes=self._probes,
            failures=self._failures,
            own_faults=self._own_faults,
            worst_lateness_ms=self._lateness.worst(self._clock.now_ms()),
        )

    @property
    def active(self) -> int:
        """The number of probes in flight."""
        return sum(self._schedule.running(lane) for lane in Lane)

    @property
    def facts(self) -> ModelFactsCache:
        """The reported facts of models, to be kept across a restart."""
        return self._client.facts

    @property
    def policy(self) -> AddressPolicy:
        """The addresses that may be probed at present."""
        return self._client.policy

    async def set_policy(self, allow: Iterable[Network], deny: Iterable[Network]) -> None:
        """Replaces the CIDR blocks, from the next probe on."""
        await self._client.set_policy(allow, deny)

    async def start(self) -> None:
        """Opens the connections and starts probing the watched endpoints."""
        await self._client.open()
        self._scheduler = asyncio.create_task(self._run(), name="probe-scheduler")

    async def stop(self) -> None:
        """Cancels all probes and closes all connections, within a few seconds. Idempotent.

        Pending calls of `check` raise ShuttingDown.
        """
        scheduler, self._scheduler = self._scheduler, None
        tasks = [*self._tasks, scheduler] if scheduler is not None else [*self._tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_S)
        for watched in self._watched.values():
            watched.refuse(ShuttingDown("the hub is stopping"))
        await self._client.close()

    def watch(self, target: ProbeTarget, *, spread: bool = False) -> None:
        """Adds an endpoint, or replaces its target.

        An endpoint that is new, or whose target has changed, is probed at once, or at a
        steady pace if there are many. With `spread`, its second probe comes at a random
        time within the interval, which suits a whole fleet at the hub's start. If the
        target is unchanged, nothing happens.
        """
        old = self._watched.get(target.id)
        if old is not None and old.target == target:
            return
        watched = Watched(target)
        if old is not None:
            watched.waiters, old.waiters = old.waiters, []
            old.cancel()
        self._watched[target.id] = watched
        self._schedule.add(target.id, target.host.lower(), self._clock.now_ms(), spread=spread)
        self._wake.set()

    def unwatch(self, id_: str) -> None:
        """Forgets an endpoint; its probe in flight is cancelled and not reported."""
        watched = self._watched.pop(id_, None)
        if watched is None:
            return
        self._schedule.remove(id_)
        self._client.facts.forget(id_)
        watched.cancel()
        watched.refuse(EndpointNotFound(f"endpoint {id_} was removed"))

    def hasten(self, id_: str, *, is_doubted: bool) -> None:
        """Schedules a probe as soon as the lane allows, and returns at once.

        The endpoint's sidecar has reported a change; `is_doubted`: it reported that the
        server is down. Does nothing if the endpoint is not watched.
        """
        watched = self._watched.get(id_)
        if watched is not None:
            watched.is_doubted = watched.is_doubted or is_doubted
            self._schedule.hasten(id_, self._clock.now_ms())
            self._wake.set()

    async def check(self, id_: str, timeout_s: float) -> Observation:
        """Probes an endpoint now, or joins its probe in flight, and returns the observation.

        The observation is also reported. The probe continues if the caller is
        cancelled. Raises EndpointNotFound (also if the endpoint is removed meanwhile),
        ShuttingDown, or TimeoutError after `timeout_s`.
        """
        watched = self._watched.get(id_)
        if watched is None:
            raise EndpointNotFound(f"endpoint {id_} is not probed", metadata={"id": id_})
        if self._scheduler is None:
            raise ShuttingDown("the probes are not running")
        waiter: asyncio.Future[Observation] = asyncio.get_running_loop().create_future()
        # Only the first caller moves the probe forward; the others join it.
        if not watched.waiters:
            self._schedule.ask(id_, self._clock.now_ms())
            self._wake.set()
        watched.waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter
        finally:
            current = self._watched.get(id_)
            if current is not None and waiter in current.waiters:
                current.waiters.remove(waiter)

    async def _run(self) -> None:
        while True:
            try:
                self._start_due()
            except Exception:
                _log.exception("probe_scheduler_failed")
                await asyncio.sleep(1.0)
            await asyncio.sleep(_TICK_S)
            await self._until_due()

    def _start_due(self) -> None:
        self._wake.clear()
        now_ms = self._clock.now_ms()
        runs = self._schedule.start(now_ms, _STARTS_PER_TICK)
        for run in runs:
            watched = self._watched[run.id]
            if run.lane is Lane.LIVE:
                self._lateness.add(now_ms, run.lateness_ms)
            task = asyncio.create_task(self._probe(run, watched), name=f"probe {run.id}")
            watched.task = task
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if len(runs) == _STARTS_PER_TICK:
            self._wake.set()

    async def _until_due(self) -> None:
        now_ms = self._clock.now_ms()
        wake_ms = self._schedule.next_wake_ms(now_ms)
        if wake_ms is not None and wake_ms <= now_ms:
            return
        loop = asyncio.get_running_loop()
        timer = None
        if wake_ms is not None:
            timer = loop.call_later((wake_ms - now_ms) / 1000, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _probe(self, run: Run, watched: Watched) -> None:
        lane = run.lane
        finished = False
        try:
            # A caller that waits, or a sidecar that reports a change, needs all facts.
            is_asked = lane in (Lane.ASKED, Lane.CONFIRM)
            ask = self._client.to(watched.target, proven=lane is Lane.LIVE, is_asked=is_asked)
            is_brief = lane is Lane.CONFIRM and watched.is_doubted
            timeout_s = self._settings.total_timeout_s
            patience_s = watched.patience_s(timeout_s) if is_brief else timeout_s
            sighting, error = await self._look(ask, watched, patience_s)
            finished = True
        except OwnFault as fault:
            self._could_not_ask(run, watched, fault)
            finished = True
            return
        finally:
            # A cancelled probe must release its slot, too.
            if not finished:
                self._schedule.finish(run, self._clock.now_ms(), ok=None)
                self._wake.set()
        now_ms = self._clock.now_ms()
        is_loading = _is_loading(sighting, error)
        due_ms = self._schedule.finish(
            run,
            now_ms,
            ok=error is None,
            # These explain the failure; another probe would not add anything.
            repeat=not is_loading and not isinstance(error, Busy),
            not_before_ms=now_ms + self._pause_ms(error),
            not_after_ms=_again_ms(watched, sighting, now_ms, is_loading=is_loading),
        )
        self._wake.set()
        self._probes += 1
        self._failures += error is not None
        if due_ms is None or self._watched.get(run.id) is not watched:
            return
        watched.task = None
        watched.settle(ask.first_answer_ms, has_failed=error is not None)
        if not is_loading:
            watched.loading_since_ms = None
        kind = watched.prober.kind if watched.prober is not None else BACKEND_UNSPECIFIED
        if sighting is not None:
            watched.note_omitted(sighting.omitted)
        observation = Observation(
            checked_at_ms=now_ms,
            next_check_at_ms=due_ms,
            error="" if error is None else str(error)[:_MAX_ERROR],
            latency_ms=ask.first_answer_ms if sighting is not None else None,
            backend=kind,
            version=sighting.version if sighting is not None else "",
            models=sighting.models if sighting is not None else _listed_while_loading(error),
            load=sighting.load if sighting is not None else None,
            answered=error is None or error.answered,
            is_loading=is_loading,
            is_extra=self._is_extra(run, watched, lane),
            address=ask.address if sighting is not None else "",
        )
        if isinstance(error, Unreachable | BadAnswer):
            # The next server at this address may be a different one.
            watched.prober = None
        try:
            self._report(run.id, observation)
        except Exception:
            _log.exception("probe_report_failed", endpoint=run.id)
        watched.deliver(observation)

    def _could_not_ask(self, run: Run, watched: Watched, fault: OwnFault) -> None:
        """Leaves the endpoint as it is; the next probe comes at the usual time."""
        now_ms = self._clock.now_ms()
        self._schedule.finish(run, now_ms, ok=None)
        self._wake.set()
        self._own_faults += 1
        watched.task = None
        # Every probe hits such a limit, so the log gets one line per interval.
        if self._fault_logged_ms is None or now_ms >= self._fault_logged_ms + self._interval_ms:
            self._fault_logged_ms = now_ms
            _log.error("probes_impossible", why=str(fault), probes_lost=self._own_faults)
        watched.refuse(LimitReached(f"the hub cannot probe: {fault}"))

    def _is_extra(self, run: Run, watched: Watched, lane: Lane) -> bool:
        """Whether the probe came before its time, to follow the loading of a model."""
        if (
            lane is not Lane.CONFIRM
            and watched.loading_since_ms is not None
            and watched.counted_ms is not None
            and run.started_ms < watched.counted_ms + self._interval_ms * (1 - self._jitter)
        ):
            return True
        watched.counted_ms = run.started_ms
        return False

    async def _look(
        self, ask: SharedAsker, watched: Watched, patience_s: float
    ) -> tuple[Sighting | None, ProbeError | None]:
        """Probes; the first answer must come within `patience_s`."""
        timeout_s = self._settings.total_timeout_s
        ends_s = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout(patience_s) as deadline:
                ask.on_first_answer = lambda: deadline.reschedule(ends_s)
                return await watched.probe(ask), None
        except ProbeError as error:
            return None, error
        except OwnFault:
            raise
        except TimeoutError:
            if ask.first_answer_ms is None:
                return None, Unreachable(f"no answer to {ask.asking} within {patience_s:g} s")
            return None, Unreachable(f"too slow: {ask.asking} not complete within {timeout_s:g} s")
        except Exception as error:
            # Logged once per endpoint, because the hub's own fault recurs with every probe.
            if not watched.has_crashed:
                watched.has_crashed = True
                _log.exception("probe_failed_unexpectedly", endpoint=watched.target.id)
            return None, BadAnswer(f"the hub could not probe it ({type(error).__name__}, see log)")

    def _pause_ms(self, error: ProbeError | None) -> int:
        if not isinstance(error, Busy) or error.retry_after_s is None:
            return 0
        return round(1000 * min(error.retry_after_s, _MAX_RETRY_AFTER_S))


def _again_ms(
    watched: Watched, sighting: Sighting | None, now_ms: int, *, is_loading: bool
) -> int | None:
    """The latest time of the next probe; None for the usual time."""
    if is_loading:
        return watched.again_ms(now_ms)
    has_more = sighting is not None and sighting.has_more
    return now_ms + _SOON_MS if has_more else None


def _listed_while_loading(error: ProbeError | None) -> tuple[Model, ...] | None:
    return error.models if isinstance(error, NotReady) else None


def _is_loading(sighting: Sighting | None, error: ProbeError | None) -> bool:
    if error is not None:
        return isinstance(error, NotReady) and error.is_loading
    return sighting is not None and any(
        model.state == MODEL_STATE_LOADING for model in sighting.models
    )

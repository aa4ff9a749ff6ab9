"""Selections that wait until an endpoint has room.

A lease that ends, or any change of the registry, makes the hub try again: once per turn of
the event loop and group of equal needs, in the order of the line, until a group finds no
endpoint. A selection is served by taking its leases at once, so nothing can take the
place before the caller's task runs.
"""

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from hub.base.clock import Clock
from hub.contract.errors import HubError, LimitReached
from hub.registry.selection.leases import Lease, Leases
from hub.registry.selection.waiting_line import LineFull, Place, WaitingLine
from hub.service.access.caller import Caller
from hub.service.metrics.selection_counts import SelectionCounts
from llmhub.v1.registry_service_pb2 import SelectEndpointRequest

ATTEMPTS_AT_ONCE: Final = 64
"""How many selections are tried in one turn of the event loop."""

_LEAST_RETRY_MS: Final = 100
_MOST_RETRY_MS: Final = 60_000
_RETRY_MS: Final = 1_000
# The weight of the last interval between two places that became free.
_SHARE: Final = 0.2

# These fields say how to wait or which of several suitable endpoints to take.
_INDIFFERENT: Final = (
    *("wait", "priority", "explain", "count", "affinity_key", "lease_ttl"),
    *("strategy", "weights"),
)


@dataclass(slots=True, eq=False)
class Answer:
    """An encoded response, and the leases that it names."""

    encoded: bytes
    leases: Sequence[Lease] = ()


class Chooser(Protocol):
    """Makes selections and takes them back."""

    def try_now(
        self, request: SelectEndpointRequest, caller: Caller, now_ms: int, began_ms: int
    ) -> Answer | None:
        """Selects for a request that has waited since `began_ms`; None if no endpoint fits.

        Raises HubError if waiting cannot help.
        """
        ...

    def why_none(self, request: SelectEndpointRequest, caller: Caller, now_ms: int) -> HubError:
        """Why no endpoint fits."""
        ...

    def give_back(self, leases: Sequence[Lease], now_ms: int) -> None:
        """Ends leases whose selection did not reach its caller."""
        ...


@dataclass(slots=True, eq=False)
class _Waiting:
    request: SelectEndpointRequest
    caller: Caller
    began_ms: int
    answer: asyncio.Future[Answer]


class WaitingSelections:
    """The selections that wait, and the attempts to serve them.

    `is_stale` is True if one of them may find an endpoint now: call `serve` before anything
    else takes the place.
    """

    def __init__(
        self,
        clock: Clock,
        chooser: Chooser,
        leases: Leases,
        counts: SelectionCounts,
        line: WaitingLine[_Waiting] | None = None,
    ) -> None:
        self._clock = clock
        self._chooser = chooser
        self._leases = leases
        self._counts = counts
        self._line: WaitingLine[_Waiting] = line if line is not None else WaitingLine()
        self.is_stale = False
        # The groups for which no endpoint was found since the last change.
        self._blocked: set[Hashable] = set()
        self._changed_again = False
        self._is_serving = False
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._interval_ms: float | None = None
        self._served_ms: int | None = None

    def __len__(self) -> int:
        return len(self._line)

    async def wait(self, request: SelectEndpointRequest, caller: Caller) -> bytes:
        """Waits for the response to a request, for which no endpoint was found.

        Raises LimitReached if too many wait, and at the request's deadline the reason why no
        endpoint fits, with the time after which to try again.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(request, caller, self._clock.now_ms(), loop.create_future())
        place = Place(caller.principal.token_id, request.priority, _group(request), waiting)
        try:
            self._line.join(place)
        except LineFull as full:
            self._counts.waits["full"] += 1
            raise LimitReached(str(full), retry_after_ms=self._retry_ms()) from None
        self._counts.waiting = len(self._line)
        # Something may have changed since the attempt of the caller.
        self.changed()
        end = "cancelled"
        try:
            async with asyncio.timeout(request.wait.ToMilliseconds() / 1000):
                answer = await waiting.answer
            end = "place"
        except TimeoutError:
            # Its turn may be now, or have been in this turn of the event loop.
            if not waiting.answer.done() or waiting.answer.cancelled():
                end = "deadline"
                raise self._refusal(waiting) from None
            answer = waiting.answer.result()
            end = "place"
        except HubError:
            end = "refused"
            raise
        finally:
            self._line.leave(place)
            self._counts.waiting = len(self._line)
            self._counts.waits[end] += 1
            if end == "cancelled":
                self._undo(waiting)
            if not self._line:
                self._rest()
        return answer.encoded

    def changed(self) -> None:
        """Something has changed that may let a waiting selection find an endpoint."""
        if not self._line.count or self._is_serving:
            return
        if self.is_stale:
            self._changed_again = True
            return
        self.is_stale = True
        self._serve_soon()

    def serve(self, now_ms: int) -> None:
        """Serves the selections that find an endpoint now, in the order of the line."""
        if self._is_serving:
            return
        self._is_serving = True
        try:
            is_done = self._serve_some(now_ms)
        finally:
            self._is_serving = False
            self._counts.waiting = len(self._line)
        if not is_done:
            self._serve_soon()
            return
        self._blocked.clear()
        self.is_stale = self._changed_again and len(self._line) > 0
        self._changed_again = False
        if self.is_stale:
            self._serve_soon()
        self._watch_deadlines(now_ms)

    def _serve_some(self, now_ms: int) -> bool:
        for _ in range(ATTEMPTS_AT_ONCE):
            place = self._line.next_in_turn(self._blocked)
            if place is None:
                return True
            waiting = place.item
            if waiting.answer.done():
                # Its caller has left, and its task has yet to run.
                self._line.leave(place)
                continue
            try:
                found = self._chooser.try_now(
                    waiting.request, waiting.caller, now_ms, waiting.began_ms
                )
            except HubError as error:
                self._line.leave(place)
                waiting.answer.set_exception(error)
                continue
            if found is None:
                self._blocked.add(place.group)
                continue
            self._line.serve(place)
            self._note_interval(now_ms)
            waiting.answer.set_result(found)
        return False

    def _serve_soon(self) -> None:
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._serve_now)

    def _serve_now(self) -> None:
        self._soon = None
        if self.is_stale:
            self.serve(self._clock.now_ms())

    def _watch_deadlines(self, now_ms: int) -> None:
        """Wakes when the next lease may expire."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline_ms = self._leases.next_deadline_ms()
        if deadline_ms is not None and self._line:
            delay_s = max(deadline_ms - now_ms, 1) / 1000
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now_ms = self._clock.now_ms()
        self._leases.expire(now_ms)
        if not self.is_stale:
            self._watch_deadlines(now_ms)

    def _rest(self) -> None:
        """Nothing waits, so nothing needs to be tried."""
        self.is_stale = self._changed_again = False
        self._blocked.clear()
        for handle in (self._soon, self._timer):
            if handle is not None:
                handle.cancel()
        self._soon = self._timer = None

    def _undo(self, waiting: _Waiting) -> None:
        """Frees what was taken for a caller that has left."""
        answer = waiting.answer
        if answer.done() and not answer.cancelled() and answer.exception() is None:
            self._chooser.give_back(answer.result().leases, self._clock.now_ms())

    def _refusal(self, waiting: _Waiting) -> HubError:
        """Why no endpoint fits at the deadline of a selection."""
        now_ms = self._clock.now_ms()
        error = self._chooser.why_none(waiting.request, waiting.caller, now_ms)
        waited_s = (now_ms - waiting.began_ms) / 1000
        error.message = f"{error.message}, after waiting for {waited_s:.1f} s"
        if error.retry_after_ms is None:
            error.retry_after_ms = self._retry_ms()
        return error

    def _note_interval(self, now_ms: int) -> None:
        if self._served_ms is not None:
            took_ms = max(now_ms - self._served_ms, 0)
            before_ms = self._interval_ms if self._interval_ms is not None else took_ms
            self._interval_ms = before_ms + _SHARE * (took_ms - before_ms)
        self._served_ms = now_ms

    def _retry_ms(self) -> int:
        """When all that wait now may have been served, at the rate of the last ones."""
        if self._interval_ms is None:
            return _RETRY_MS
        expected_ms = round(self._interval_ms * (len(self._line) + 1))
        return min(max(expected_ms, _LEAST_RETRY_MS), _MOST_RETRY_MS)


def _group(request: SelectEndpointRequest) -> Hashable:
    """What decides whether any endpoint fits; a trial of a circuit breaker needs a lease."""
    needs = SelectEndpointRequest()
    needs.CopyFrom(request)
    for name in _INDIFFERENT:
        needs.ClearField(name)
    return needs.SerializeToString(deterministic=True), request.HasField("lease_ttl")

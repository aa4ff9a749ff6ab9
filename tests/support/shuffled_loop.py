"""An event loop that runs ready callbacks in a random order and in virtual time.

asyncio runs callbacks in the order in which they become ready, so a test sees one order
of many. This loop draws the next one by a seed: the same seed gives the same order.
Time stands still while anything is ready and then jumps to the next timer, so that a wait
of ten minutes costs nothing. It has no sockets, threads or subprocesses.
"""

import asyncio
import contextlib
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from random import Random
from typing import Any, TypeVar

MAX_STEPS = 20_000
"""Far more than a program of a few users needs."""

T = TypeVar("T")


class Stuck(AssertionError):
    """Nothing can run any more, or the program does not come to rest."""


class ShuffledLoop(asyncio.AbstractEventLoop):
    """Runs one coroutine to its end. What a callback raises ends the run.

    `check` is called after each callback; what it raises ends the run too. Callbacks that
    another thread would post keep their order, because a thread's calls have one.
    """

    def __init__(self, seed: int, check: Callable[[], None] = lambda: None) -> None:
        self.check = check
        self.steps = 0
        self._most = MAX_STEPS
        self._random = Random(seed)
        self._now_s = 0.0
        self._ready: list[asyncio.Handle] = []
        self._posted: deque[asyncio.Handle] = deque()
        # The number keeps timers of the same time comparable and their order repeatable.
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timer_count = 0
        self._failures: list[BaseException] = []
        self._running = False

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Runs the coroutine; cancels what it leaves behind. Raises what it raises, and Stuck."""
        events._set_running_loop(self)
        self._running = True
        try:
            task = self.create_task(main)
            try:
                self._run_until(task)
            except BaseException:
                # What broke is known; the rest only has to let go of what it holds.
                self.check = lambda: None
                with contextlib.suppress(Stuck):
                    self._cancel_the_rest()
                raise
            self._cancel_the_rest()
            return task.result()
        finally:
            self._running = False
            events._set_running_loop(None)

    def _run_until(self, task: "asyncio.Future[Any]") -> None:
        while not task.done():
            self._step()
            if self._failures:
                raise self._failures[0]

    def _cancel_the_rest(self) -> None:
        rest = asyncio.all_tasks(self)
        for task in rest:
            task.cancel()
        self._most = self.steps + MAX_STEPS
        while not all(task.done() for task in rest):
            self._step()
        for task in rest:
            # Looked at, so that asyncio does not report it.
            if not task.cancelled():
                task.exception()

    def _step(self) -> None:
        self.steps += 1
        if self.steps > self._most:
            raise Stuck(f"not at rest after {MAX_STEPS} callbacks")
        if not self._ready and not self._posted:
            self._advance()
        while self._timers and self._timers[0][0] <= self._now_s:
            self._ready.append(heapq.heappop(self._timers)[2])
        drawn = self._random.randrange(len(self._ready) + bool(self._posted))
        if drawn == len(self._ready):
            handle = self._posted.popleft()
        else:
            self._ready[drawn], self._ready[-1] = self._ready[-1], self._ready[drawn]
            handle = self._ready.pop()
        if not handle.cancelled():
            handle._run()
            self.check()

    def _advance(self) -> None:
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        if not self._timers:
            raise Stuck("every task waits, and nothing will wake one")
        self._now_s = max(self._now_s, self._timers[0][0])

    # What asyncio asks of a loop.

    def time(self) -> float:
        return self._now_s

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._posted.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """asyncio reports cancelled timers; `_advance` skips them."""

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **options: Any) -> "asyncio.Task[Any]":
        return asyncio.Task(coro, loop=self, **options)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._failures.append(context.get("exception") or AssertionError(context["message"]))

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return False

"""What `AsyncHub` needs from asyncio; `_sync_runtime` has the same names for threads."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Protocol
from weakref import WeakSet

import grpc

from hub.client.hub_address import Target


class Cancellable(Protocol):
    """A stream, or a `Stop`."""

    def cancel(self) -> object:
        """Ends it early."""


class Flag:
    """An event that happens once; tasks can wait for it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._event.is_set()

    def set(self) -> None:
        """Wakes all waiting tasks."""
        self._event.set()

    async def wait(self, timeout_s: float) -> bool:
        """Waits at most `timeout_s` seconds. Returns whether it has happened."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        return True


class Stop(Flag):
    """A request to stop, passed on to the streams and stops that were added."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: WeakSet[Cancellable] = WeakSet()

    def add(self, part: Cancellable) -> None:
        """Cancels `part` when this is cancelled, or now if it already is."""
        self._parts.add(part)
        if self.is_set():
            part.cancel()

    def cancel(self) -> None:
        """Requests the stop. Idempotent."""
        self.set()
        for part in list(self._parts):
            part.cancel()


class Worker:
    """A task that works in the background."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._task = asyncio.create_task(work(), name=name)

    async def join(self) -> None:
        """Waits until the task ends."""
        await asyncio.wait([self._task])


def open_channel(target: Target) -> grpc.aio.Channel:
    """A channel to the hub, which connects with the first call."""
    if target.tls is None:
        return grpc.aio.insecure_channel(target.address, target.options)
    return grpc.aio.secure_channel(target.address, target.tls.credentials(), target.options)


async def responses_of(start: Callable[[], Any], stop: Stop) -> AsyncGenerator[Any, None]:
    """The responses of the stream that `start` opens, until the stream ends or `stop` is set.

    Raises grpc.RpcError if the stream fails.
    """
    stream = start()
    stop.add(stream)
    try:
        async for response in stream:
            yield response
    except asyncio.CancelledError:
        # A cancelled stream raises this, too; then the task itself is not cancelled.
        if not stop.is_set() or _is_cancelled():
            raise
    finally:
        stream.cancel()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

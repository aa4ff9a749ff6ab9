"""What `Hub` needs from threads; `_async_runtime` has the same names for asyncio."""

import threading
from collections.abc import Callable, Generator
from typing import Any, Protocol
from weakref import WeakSet

import grpc

from hub.client.hub_address import Target

Flag = threading.Event
"""An event that happens once; threads can wait for it."""


class Cancellable(Protocol):
    """A stream, or a `Stop`."""

    def cancel(self) -> object:
        """Ends it early."""


class Stop(threading.Event):
    """A request to stop, passed on to the streams and stops that were added.

    Any thread may request it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._parts: WeakSet[Cancellable] = WeakSet()

    def add(self, part: Cancellable) -> None:
        """Cancels `part` when this is cancelled, or now if it already is."""
        with self._lock:
            self._parts.add(part)
        if self.is_set():
            part.cancel()

    def cancel(self) -> None:
        """Requests the stop. Idempotent."""
        self.set()
        with self._lock:
            parts = list(self._parts)
        for part in parts:
            part.cancel()


class Worker:
    """A thread that works in the background."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._thread = threading.Thread(target=work, name=name, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Waits until the thread ends."""
        self._thread.join()


def open_channel(target: Target) -> grpc.Channel:
    """A channel to the hub, which connects with the first call."""
    if target.tls is None:
        return grpc.insecure_channel(target.address, target.options)
    return grpc.secure_channel(target.address, target.tls.credentials(), target.options)


def responses_of(start: Callable[[], Any], stop: Stop) -> Generator[Any, None, None]:
    """The responses of the stream that `start` opens, until the stream ends or `stop` is set.

    Raises grpc.RpcError if the stream fails.
    """
    try:
        stream = start()
    except ValueError:
        # Another thread has just closed the channel.
        if stop.is_set():
            return
        raise
    stop.add(stream)
    try:
        yield from stream
    except grpc.RpcError:
        if not stop.is_set():
            raise
    finally:
        stream.cancel()

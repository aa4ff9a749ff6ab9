"""DNS lookups for probes, in threads of their own.

The system's resolver blocks for as long as a dead name server makes it wait, and cannot
be cancelled. In the loop's shared thread pool a few dead names would stop every lookup,
and at exit the interpreter would wait for them. So lookups run in daemon threads, and
names that failed the last time have a queue of their own.
"""

import asyncio
import queue
import socket
import threading
from collections.abc import Callable
from typing import Final

CACHED_S: Final = 60.0
"""How long an answer is cached."""

_MAX_NAMES = 16_384
_MAX_ADDRESSES = 16

ResolvedAddress = tuple[socket.AddressFamily, str]
"""A family and a numeric address of that family."""


class _Pool:
    """Daemon threads for blocking lookups, started as needed."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = 0

    def submit(self, job: Callable[[], None]) -> None:
        if self._threads < self._size:
            self._threads += 1
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        self._jobs.put(job)

    def close(self) -> None:
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = 0

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class ProbeResolver:
    """Resolves host names, and caches each answer for `CACHED_S` seconds.

    Lookups of the same name are joined, so that no name has more than one in flight and
    nothing accumulates.
    """

    def __init__(self, threads: int = 16, threads_for_failed: int = 8) -> None:
        self._sound = _Pool(threads, "probe-dns")
        self._failed = _Pool(threads_for_failed, "probe-dns-failed")
        self._failed_names: dict[str, None] = {}
        self._answers: dict[str, tuple[float, list[ResolvedAddress]]] = {}
        self._pending: dict[str, asyncio.Future[list[ResolvedAddress]]] = {}

    async def resolve(self, host: str) -> list[ResolvedAddress]:
        """Returns the addresses of a name, at least one. Raises OSError (socket.gaierror).

        A numeric address is returned unchanged.
        """
        if (literal := _literal(host)) is not None:
            return [literal]
        loop = asyncio.get_running_loop()
        answer = self._answers.get(host)
        if answer is not None and loop.time() < answer[0]:
            return answer[1]
        pending = self._pending.get(host)
        if pending is None:
            pending = self._pending[host] = self._look_up(host, loop)
            pending.add_done_callback(lambda done: self._settled(host, done))
        # A caller that gives up must not cancel the lookup for the others.
        return await asyncio.shield(pending)

    async def close(self) -> None:
        """Ends the threads; one that is stuck in a lookup ends with the process."""
        self._sound.close()
        self._failed.close()

    def _look_up(
        self, host: str, loop: asyncio.AbstractEventLoop
    ) -> asyncio.Future[list[ResolvedAddress]]:
        done: asyncio.Future[list[ResolvedAddress]] = loop.create_future()

        def settle(found: list[ResolvedAddress], error: OSError | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(found)
            else:
                done.set_exception(error)

        def work() -> None:
            found: list[ResolvedAddress] = []
            error: OSError | None = None
            try:
                found = _look_up(host)
            except OSError as caught:
                error = caught
            except UnicodeError:
                error = socket.gaierror(socket.EAI_NONAME, "not a host name")
            # The loop may be closed by the time that the lookup gives up.
            if not loop.is_closed():
                try:
                    loop.call_soon_threadsafe(settle, found, error)
                except RuntimeError:
                    return

        (self._failed if host in self._failed_names else self._sound).submit(work)
        # A name counts as failed until it resolves, because a hanging lookup never returns.
        self._failed_names[host] = None
        if len(self._failed_names) > _MAX_NAMES:
            del self._failed_names[next(iter(self._failed_names))]
        return done

    def _settled(self, host: str, done: asyncio.Future[list[ResolvedAddress]]) -> None:
        self._pending.pop(host, None)
        # Reading the exception here keeps asyncio from logging that it was never retrieved.
        if done.cancelled() or done.exception() is not None:
            return
        self._failed_names.pop(host, None)
        self._answers.pop(host, None)
        self._answers[host] = (done.get_loop().time() + CACHED_S, done.result())
        if len(self._answers) > _MAX_NAMES:
            del self._answers[next(iter(self._answers))]


def _literal(host: str) -> ResolvedAddress | None:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, UnicodeError, ValueError):
            continue
        return family, host
    return None


def _look_up(host: str) -> list[ResolvedAddress]:
    found: dict[str, ResolvedAddress] = {}
    for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG):
        numeric, _ = socket.getnameinfo(info[4], socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        found[numeric] = (info[0], numeric)
    return list(found.values())[:_MAX_ADDRESSES]

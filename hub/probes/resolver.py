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

from aiohttp.abc import AbstractResolver, ResolveResult

_MAX_FAILED_NAMES = 16_384
_MAX_ADDRESSES = 16


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


class ProbeResolver(AbstractResolver):
    """Resolves names for aiohttp.

    aiohttp's own cache sits in front of it and joins lookups of the same name and
    port, so that no name has more than one in flight and nothing accumulates.
    """

    def __init__(self, threads: int = 16, threads_for_failed: int = 8) -> None:
        self._sound = _Pool(threads, "probe-dns")
        self._failed = _Pool(threads_for_failed, "probe-dns-failed")
        self._failed_names: dict[str, None] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Returns the addresses of a name. Raises OSError (socket.gaierror)."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[ResolveResult]] = loop.create_future()

        def settle(found: list[ResolveResult], error: OSError | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(found)
            else:
                done.set_exception(error)

        def look_up() -> None:
            found: list[ResolveResult] = []
            error: OSError | None = None
            try:
                found = _look_up(host, port, family)
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

        (self._failed if host in self._failed_names else self._sound).submit(look_up)
        # A name counts as failed until it resolves, because a hanging lookup never returns.
        self._failed_names[host] = None
        if len(self._failed_names) > _MAX_FAILED_NAMES:
            del self._failed_names[next(iter(self._failed_names))]
        addresses = await done
        self._failed_names.pop(host, None)
        return addresses

    async def close(self) -> None:
        """Ends the threads; one that is stuck in a lookup ends with the process."""
        self._sound.close()
        self._failed.close()


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    found: dict[str, ResolveResult] = {}
    for info in socket.getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    ):
        numeric, _ = socket.getnameinfo(info[4], socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        found[numeric] = ResolveResult(
            hostname=host,
            host=numeric,
            port=port,
            family=info[0],
            proto=info[2],
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
    return list(found.values())[:_MAX_ADDRESSES]

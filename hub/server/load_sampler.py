"""Reads what the hub takes of its machine, four times per second, and reports it to `Overload`."""

import asyncio
import contextlib
import ctypes
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from hub.base.clock import Clock
from hub.base.settings import OverloadSettings
from hub.base.tasks import log_unexpected_end
from hub.service.overload.pressure import Load
from hub.service.overload.shedding import Overload
from hub.stores.store import Store

_PERIOD_S: Final = 0.25
_RELEASE_EVERY_S: Final = 5.0
# What the stores accept at most (`max_waiting`).
_STORE_QUEUE: Final = 10_000
_MEMORY_SHARE: Final = 0.75
_CGROUPS: Final = Path("/sys/fs/cgroup")
_OWN_GROUPS: Final = Path("/proc/self/cgroup")
_STATM: Final = Path("/proc/self/statm")


def resident_bytes() -> int:
    """The resident memory of this process; 0 where the system does not tell."""
    try:
        return int(_STATM.read_bytes().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


def open_descriptors() -> int:
    """About how many descriptors are open: the lowest free one; exact when few are left."""
    try:
        lowest = os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.close(lowest)
    return lowest


def release_free_memory() -> None:
    """Gives memory that the process has freed back to the system, where the C library can.

    It keeps most of what large responses took; then resident memory would not fall, and the
    hub would stay overloaded after the load is gone.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def memory_of_machine() -> int:
    """The memory that this process may use: the machine's, or less in a control group."""
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for file in _limit_files():
        try:
            # "max" stands for no limit.
            available = min(available, int(file.read_text()))
        except (OSError, ValueError):
            continue
    return available


def _limit_files() -> Iterator[Path]:
    """The files with the limits of this process's control group and of those above it.

    See cgroups(7): a line of version 2 is "0::/path", one of version 1 "5:memory:/path".
    """
    try:
        lines = _OWN_GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, name = _CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = _CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = root / path.lstrip("/")
        for each in (group, *group.parents):
            yield each / name
            if each == root:
                break


def budgets(settings: OverloadSettings) -> Load:
    """What the hub may take of each resource."""
    return Load(
        loop_lag=settings.loop_lag_s,
        memory=settings.memory_bytes or memory_of_machine() * _MEMORY_SHARE,
        descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        store_queue=_STORE_QUEUE,
    )


class LoadSampler:
    """Samples from `start` to `stop`."""

    def __init__(self, overload: Overload, store: Store, clock: Clock) -> None:
        self._overload = overload
        self._store = store
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self, on_failure: Callable[[], None]) -> None:
        """Begins to sample; calls `on_failure` if that ends by itself."""
        self._task = asyncio.create_task(self._run(), name="load sampler")
        log_unexpected_end(self._task, on_failure)

    async def stop(self) -> None:
        """Ends the sampling. Idempotent."""
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        released_at = -_RELEASE_EVERY_S
        while True:
            due = loop.time() + _PERIOD_S
            await asyncio.sleep(_PERIOD_S)
            load = Load(
                loop_lag=loop.time() - due,
                memory=resident_bytes(),
                descriptors=open_descriptors(),
                store_queue=self._store.waiting,
            )
            self._overload.update(load, self._clock.now_ms())
            is_short = self._overload.level and self._overload.pressure.cause == "memory"
            if is_short and loop.time() - released_at >= _RELEASE_EVERY_S:
                released_at = loop.time()
                await asyncio.to_thread(release_free_memory)

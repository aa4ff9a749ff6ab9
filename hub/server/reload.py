"""Reads the settings again while the hub runs: on SIGHUP, or when the file has changed.

The hub applies what can change without closing a listener or a connection, and logs
which other changes need a restart. It applies nothing if the settings have an error.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from hub.base.load_settings import ConfigError, StartError, setting_paths
from hub.base.settings import Settings

log = structlog.get_logger()

RELOADABLE = ("endpoints", "rate_limits", "probes.allow", "probes.deny", "log")
"""The settings and sections that take effect without a restart."""

# A poll costs one stat. It also works where notifications do not, such as for a mounted
# Kubernetes ConfigMap, whose file is a link that is swapped.
POLL_S = 2.0

Load = Callable[[], Settings]
Apply = Callable[[Settings], Awaitable[None]]


class Reloader:
    """Applies new settings; the owner of the hub runs `run` as a task.

    `load` reads all sources again and may raise ConfigError. `apply` applies what is
    RELOADABLE; it may raise ConfigError or StartError before it has changed anything.
    """

    def __init__(self, settings: Settings, load: Load, apply: Apply, file: Path | None) -> None:
        self._started_with = settings
        self._current = settings
        self._load = load
        self._apply = apply
        self._file = file
        self._seen = _fingerprint(file)
        self._requested = asyncio.Event()

    def request(self) -> None:
        """Requests a reload soon; safe in a signal handler of the loop."""
        self._requested.set()

    async def run(self) -> None:
        """Reloads on request and whenever the file has changed; never returns."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._requested.wait()
            is_asked = self._requested.is_set()
            self._requested.clear()
            if is_asked or _fingerprint(self._file) != self._seen:
                await self.reload()

    async def reload(self) -> bool:
        """Reads and applies the settings; returns False if they have an error."""
        self._seen = _fingerprint(self._file)
        try:
            settings = self._load()
            await self._apply(settings)
        except (ConfigError, StartError) as error:
            # One line without a traceback: the file is at fault.
            log.error(  # noqa: TRY400
                "settings not reloaded; those from before stay", reason=str(error)
            )
            return False
        changed = changes(self._current, settings)
        fixed = [path for path in changes(self._started_with, settings) if not is_reloadable(path)]
        self._current = settings
        log.info("settings reloaded", changed=[path for path in changed if is_reloadable(path)])
        if fixed:
            log.warning("settings changed that take a restart", settings=fixed)
        return True


def is_reloadable(path: str) -> bool:
    """Whether a setting takes effect without a restart."""
    return any(path == each or path.startswith(f"{each}.") for each in RELOADABLE)


def changes(before: Settings, after: Settings) -> list[str]:
    """The paths of the settings that differ."""
    return [
        ".".join(path) for path in setting_paths() if _value(before, path) != _value(after, path)
    ]


def _value(settings: Settings, path: tuple[str, ...]) -> object:
    value: object = settings
    for name in path:
        value = getattr(value, name)
    return value


def _fingerprint(file: Path | None) -> tuple[int, int, int] | None:
    """A value that changes with the file; None if there is no file."""
    if file is None:
        return None
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns

"""`SharedFacts` of one hub: a file in its data directory, written by one thread."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import structlog

from hub.base.moment import MachineTime, Moment, age_ms
from hub.stores import facts_file
from hub.stores.facts_file import DEFAULT_MAX_BYTES, FactsFile, FactsFileError, StoredFact
from hub.stores.shared_facts import Fact, FactsUnavailable

log = structlog.get_logger(__name__)

_T = TypeVar("_T")


class LocalFacts:
    """Keeps the facts of one hub for its next start.

    The thread runs one call at a time; the event loop never waits for the disk. All
    methods must be called in the same event loop.
    """

    def __init__(
        self, path: Path, machine: MachineTime, *, max_bytes: int = DEFAULT_MAX_BYTES
    ) -> None:
        self._path = path
        self._machine = machine
        self._max_bytes = max_bytes
        self._file: FactsFile | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="hub-facts")
        self._is_full = False

    async def open(self) -> Sequence[Fact]:
        """See `SharedFacts`."""
        return await self._call(self._open)

    async def publish(self, values: Mapping[str, bytes | None]) -> None:
        """See `SharedFacts`."""
        file = self._file
        if file is None:
            raise FactsUnavailable(f"{self._path} is not open")
        dropped = file.dropped
        try:
            await self._call(lambda: file.write(values, self._machine.now()))
        except OSError as error:
            raise FactsUnavailable(f"{self._path}: {error.strerror or error}") from error
        if file.dropped > dropped and not self._is_full:
            self._is_full = True
            log.warning("facts_file_full", path=str(self._path), max_bytes=self._max_bytes)

    async def close(self) -> None:
        """See `SharedFacts`."""
        file, self._file = self._file, None
        if file is not None:
            await self._call(file.close)
        self._executor.shutdown(wait=False)

    async def _call(self, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)

    # Methods that run in the thread.

    def _open(self) -> list[Fact]:
        now = self._machine.now()
        stored: dict[str, StoredFact] = {}
        lost = ""
        try:
            if facts_file.is_in_use(self._path):
                log.warning("facts_not_kept", path=str(self._path), why="another hub uses it")
                return []
            stored = facts_file.read(self._path, self._max_bytes)
        except (OSError, FactsFileError) as error:
            lost = _explain(error)
        facts: list[Fact] = []
        kept: list[tuple[str, StoredFact]] = []
        for key, fact in stored.items():
            age = age_ms(fact.written, now)
            if age is None:
                continue
            # The new file uses times of this boot.
            written = Moment(now.boot_id, now.boot_ms - age, now.wall_ms - age)
            kept.append((key, StoredFact(fact.value, written)))
            facts.append(Fact(key, fact.value, age))
        try:
            self._file = FactsFile(self._path, kept, boot_id=now.boot_id, max_bytes=self._max_bytes)
        except OSError as error:
            log.warning("facts_not_kept", path=str(self._path), why=lost or _explain(error))
        else:
            if lost:
                log.warning("facts_lost", path=str(self._path), why=lost, start="cold")
        return facts


def _explain(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)

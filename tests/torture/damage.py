"""Damaged files of each kind: a hub must start with everything, or say what is wrong and stop."""

import shutil
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

from hub.base.data_dir import ADMIN_TOKEN_FILE, FACTS_FILE, STORE_FILE
from hub.stores.sqlite_file import MARK_SUFFIX, SqliteFile
from hub.stores.store import Entry, StoreError
from tests.support.hub import HubClient, HubProcess, hub_process
from tests.torture.outcome import Row, Scale, settings_file
from tests.torture.writers import Writer, writers

_SECTOR = 512
_WRITES = 15

Look = Callable[[Path], Awaitable[str]]
Damage = Callable[[bytes, Random], bytes]


def torn(data: bytes, random: Random) -> bytes:
    """The end is missing."""
    return data[: random.randrange(len(data))]


def garbage(data: bytes, random: Random) -> bytes:
    """Some neighbouring sectors have other contents."""
    sectors = max(len(data) // _SECTOR, 1)
    start = random.randrange(sectors) * _SECTOR
    length = min(random.randrange(1, 8) * _SECTOR, len(data) - start)
    return data[:start] + random.randbytes(length) + data[start + length :]


def zeros(data: bytes, random: Random) -> bytes:
    """Some neighbouring sectors were never written."""
    sectors = max(len(data) // _SECTOR, 1)
    start = random.randrange(sectors) * _SECTOR
    length = min(random.randrange(1, 8) * _SECTOR, len(data) - start)
    return data[:start] + bytes(length) + data[start + length :]


DAMAGES: tuple[Damage, ...] = (torn, garbage, zeros)
EVERYTHING, LESS = "starts with everything", "starts with other records"
SAID = "starts with fewer records and says how many changes are missing"


async def run(scale: Scale, directory: Path) -> list[Row]:
    """Damages one file at a time in a copy of a data directory, and opens it."""
    random = Random(11)
    working = writers(1)
    config = settings_file(directory)
    stopped, killed = directory / "stopped", directory / "killed"
    async with hub_process(killed, "--config", config) as process:
        await _fill(process, working, stopped)

    async def start(copy: Path) -> str:
        return await _start(copy, config, working)

    def reading(whole: Path) -> Look:
        shutil.copytree(whole, directory / "read")
        entries = _entries(directory / "read" / STORE_FILE)
        shutil.rmtree(directory / "read")

        async def read(copy: Path) -> str:
            return _read(copy / STORE_FILE, entries)

        return read

    few = max(scale.damages // 10, len(DAMAGES))
    many = scale.damages * 10
    return [
        await _row(STORE_FILE, many, stopped, reading(stopped), random),
        await _row(f"{STORE_FILE}-wal", many, killed, reading(killed), random),
        await _row(f"{STORE_FILE}{MARK_SUFFIX}", few, killed, reading(killed), random),
        await _row(FACTS_FILE, few, killed, start, random),
        await _row(ADMIN_TOKEN_FILE, few, killed, start, random),
    ]


async def _fill(process: HubProcess, working: list[Writer], stopped: Path) -> None:
    """Leaves a copy of the directory of a hub that stopped, and that of one that was killed."""
    async with process.client() as hub:
        for _ in range(_WRITES):
            for writer in working:
                await writer.write(hub)
        process.send(signal.SIGTERM)
        await process.exited()
    shutil.copytree(process.data_dir, stopped)
    await process.start()
    async with process.client() as hub:
        for writer in working:
            await writer.write(hub)
        await process.kill()


async def _row(
    file: str,
    times: int,
    whole: Path,
    look: Look,
    random: Random,
) -> Row:
    outcomes: Counter[str] = Counter()
    for number in range(times):
        copy = whole.with_name(f"{file}-{number}")
        shutil.copytree(whole, copy)
        damaged = copy / file
        damage = DAMAGES[number % len(DAMAGES)]
        damaged.write_bytes(damage(damaged.read_bytes(), random))
        damaged.chmod(0o600)
        outcomes[await look(copy)] += 1
        shutil.rmtree(copy)
    return Row(
        torture=f"damaged `{file}`",
        times=times,
        checked="all records, or an error that says what to do",
        lost=outcomes[LESS],
        seen="; ".join(f"{what}: {count}" for what, count in outcomes.most_common()),
    )


def _entries(path: Path) -> tuple[Entry, ...]:
    file = SqliteFile(path)
    try:
        return file.take_contents().entries
    finally:
        file.close()


def _read(path: Path, whole: tuple[Entry, ...]) -> str:
    try:
        file = SqliteFile(path)
        contents = file.take_contents()
        file.close()
        if contents.entries == whole:
            return EVERYTHING
        return SAID if contents.known_revision > contents.revision else LESS
    except StoreError as refused:
        return _refusal(str(refused))


def _refusal(said: str) -> str:
    is_advice = "restore a backup" in said or "move it away" in said
    assert is_advice, said
    assert "Traceback" not in said, said
    return "refused, with advice"


async def _start(copy: Path, config: str, working: list[Writer]) -> str:
    """What a hub does with the copy."""
    process = HubProcess(copy, "--config", config)
    try:
        await process.start()
        # The token of the original directory: its file may be the damaged one.
        token = (copy.parent / "killed" / ADMIN_TOKEN_FILE).read_text().strip()
        at = process.addresses
        client = HubClient(ws=at["ws"], grpc_address=at["grpc"], http=at["http"], admin_token=token)
        async with client as hub:
            missing = 0
            for writer in working:
                found = await writer.found(hub)
                wanted = writer.ledger.acknowledged.items()
                missing += sum(found.get(key) != value for key, value in wanted)
    finally:
        await process.close()
    return LESS if missing else EVERYTHING

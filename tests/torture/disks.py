"""Bad disks: full and read-only ones need root, slow and failing ones a C compiler."""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio

from tests.support.hub import HubClient, HubProcess
from tests.torture.outcome import Loss, Row, Scale, settings_file
from tests.torture.writers import Refused, Writer, settled, writers

_DISK_BYTES = 2 * 1024 * 1024
_SLOW_MS = 200
_SOURCE = Path(__file__).with_name("faulty_disk.c")

Fault = Callable[[], None]


async def run(_scale: Scale, directory: Path) -> list[Row]:
    """What a hub does on each bad disk, and what it has after a kill and a restart."""
    rows = []
    if os.geteuid() == 0 and shutil.which("mount"):
        async with _small_disk(directory / "full") as disk:
            filler = disk / "filler"
            rows.append(await _row(disk, "full disk", lambda: _fill(filler), filler.unlink))
        async with _small_disk(directory / "read-only") as disk:
            rows.append(await _read_only(disk))
    if shutil.which("cc"):
        rows += await _failing_syncs(directory)
    return rows


async def _failing_syncs(directory: Path) -> list[Row]:
    library, faults = directory / "faulty_disk.so", directory / "faults"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl"]
    await asyncio.to_thread(subprocess.run, command, check=True)
    environment = {"LD_PRELOAD": str(library), "FAULTS": str(faults)}
    failing, slow = directory / "failing", directory / "slow"
    return [
        await _row(
            failing,
            "fsync fails with EIO",
            lambda: _write(faults, "-1"),
            faults.unlink,
            environment,
        ),
        await _slow(slow, lambda: _write(faults, str(_SLOW_MS)), environment),
    ]


async def _row(
    disk: Path,
    torture: str,
    fail: Fault,
    mend: Fault,
    environment: dict[str, str] | None = None,
) -> Row:
    """Writes before, during and after the fault; kills; asks."""
    working, seen = writers(1), []
    async with _hub(disk, environment) as process:
        async with process.client() as hub:
            await _some_writes(hub, working)
            fail()
            refusals = await _refusals(hub, working)
            assert refusals, f"{torture}: nothing was refused"
            seen.append(f"writes are refused ({', '.join(sorted(refusals))})")
            await hub.snapshot()
            seen.append("reads go on")
            mend()
            await _some_writes(hub, working)
            seen.append("writes go on when it is mended")
        await process.kill()
        await process.start()
        async with process.client() as hub:
            loss = await settled(hub, working)
    return _outcome(torture, working, loss, seen)


async def _read_only(disk: Path) -> Row:
    """A hub on a read-only disk must say so; a file that is open for writing keeps it writable."""
    working = writers(1)
    async with _hub(disk) as process:
        async with process.client() as hub:
            await _some_writes(hub, working)
        await process.kill()
        _remount(disk, "ro")
        await process.launch()
        code, errors = await process.exited()
        assert code == 1, errors
        assert "Traceback" not in errors, errors
        _remount(disk, "rw")
        await process.start()
        async with process.client() as hub:
            loss = await settled(hub, working)
    said = errors.strip().splitlines()[-1].replace(str(disk), "…")
    return _outcome("start on a read-only disk", working, loss, [f"exits with 1: {said!r}"])


async def _slow(disk: Path, slow_down: Fault, environment: dict[str, str]) -> Row:
    working = writers(1)
    async with _hub(disk, environment) as process:
        async with process.client() as hub:
            await _some_writes(hub, working)
            slow_down()
            writing = asyncio.ensure_future(_some_writes(hub, working))
            slowest = 0.0
            while not writing.done():
                started = time.perf_counter()
                await hub.snapshot()
                slowest = max(slowest, time.perf_counter() - started)
            await writing
        await process.kill()
        await process.start()
        async with process.client() as hub:
            loss = await settled(hub, working)
    seen = [f"slowest read meanwhile: {slowest * 1000:.0f} ms"]
    return _outcome(f"fsync takes {_SLOW_MS} ms", working, loss, seen)


def _outcome(torture: str, working: list[Writer], loss: Loss, seen: list[str]) -> Row:
    written = sum(writer.ledger.writes for writer in working)
    return Row(
        torture=torture,
        times=1,
        checked=f"{written} acknowledged writes, after kill -9 and a restart",
        lost=loss.lost + loss.resurrected,
        seen="; ".join(seen + loss.examples[:3]),
    )


async def _some_writes(hub: HubClient, working: list[Writer]) -> None:
    async def some(writer: Writer) -> None:
        for _ in range(5):
            await writer.write(hub)

    await asyncio.gather(*map(some, working))


async def _refusals(hub: HubClient, working: list[Writer]) -> set[str]:
    """Writes until each writer is refused; how."""
    found = set()
    for writer in working:
        for _ in range(200):
            try:
                await writer.write(hub)
            except grpc.aio.AioRpcError as error:
                found.add(error.code().name)
                break
            except Refused as refused:
                found.add(str(refused))
                break
    return found


@asynccontextmanager
async def _hub(disk: Path, environment: dict[str, str] | None = None) -> AsyncIterator[HubProcess]:
    disk.mkdir(exist_ok=True)
    process = HubProcess(disk / "data", "--config", settings_file(disk), environment=environment)
    try:
        await process.start()
        yield process
    finally:
        await process.close()


@asynccontextmanager
async def _small_disk(place: Path) -> AsyncIterator[Path]:
    place.mkdir()
    await _command("mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "none", str(place))
    try:
        yield place
    finally:
        await _command("umount", "--lazy", str(place))


async def _command(*arguments: str) -> None:
    await asyncio.to_thread(subprocess.run, arguments, check=True)


def _remount(disk: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            return


def _write(path: Path, text: str) -> None:
    path.write_text(text)

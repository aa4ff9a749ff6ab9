import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hub.base.data_dir import STORE_FILE
from tests.support.hub import ROOT, HubProcess
from tests.support.waiting import wait_until

_DYING_RELOAD = """
import sys
from pathlib import Path
from hub.base.load_settings import load_settings
from hub.server.process import run

def load():
    raise RuntimeError("unforeseen")

addresses = {flag: "127.0.0.1:0" for flag in ("--ws", "--grpc", "--http")}
settings = load_settings(None, {}, {"--data-dir": sys.argv[1], **addresses})
sys.exit(run(settings, load, Path(sys.argv[1], "hub.toml")))
"""
_NOHUP = """
import signal
import sys
from hub.base.load_settings import load_settings
from hub.server.process import run

signal.signal(signal.SIGHUP, signal.SIG_IGN)
addresses = {flag: "127.0.0.1:0" for flag in ("--ws", "--grpc", "--http")}
sys.exit(run(load_settings(None, {}, {"--data-dir": sys.argv[1], **addresses})))
"""
_DEADLINE_S = 30


@asynccontextmanager
async def ready_script(script: str, data_dir: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Python that runs a hub, once it is ready; killed at the end where it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, str(data_dir)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_DEADLINE_S):
            while line := await process.stdout.readline():
                if line.startswith(b"ready "):
                    break
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_dead_reload_task_stops_the_hub_cleanly(tmp_path: Path) -> None:
    async with ready_script(_DYING_RELOAD, tmp_path) as process:
        process.send_signal(signal.SIGHUP)
        _, errors = await process.communicate()
        assert process.returncode == 1
        assert b"unforeseen" in errors
        assert b'"stopped"' in errors


async def test_a_hub_under_nohup_ignores_the_hangup(tmp_path: Path) -> None:
    async with ready_script(_NOHUP, tmp_path) as process:
        status = await asyncio.to_thread(Path(f"/proc/{process.pid}/status").read_text)
        ignored = next(line.split()[1] for line in status.splitlines() if "SigIgn" in line)
        assert int(ignored, 16) & 1 << signal.SIGHUP - 1
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        assert process.returncode == 0


async def test_a_signal_during_the_start_stops_the_hub(tmp_path: Path) -> None:
    file, data_dir = tmp_path / "hub.toml", tmp_path / "data"
    file.write_text(
        "".join(f"[[endpoints]]\nurl = '127.9.{n // 250}.{n % 250 + 1}:9'\n" for n in range(5000))
    )
    process = HubProcess(data_dir, "--config", str(file))
    try:
        await process.launch()
        # It has come as far as the store; the endpoints come after.
        await wait_until((data_dir / STORE_FILE).exists, timeout_s=_DEADLINE_S)
        process.send(signal.SIGTERM)
        stdout = process._running().stdout
        assert stdout is not None
        async with asyncio.timeout(_DEADLINE_S):
            assert await stdout.read() == b""
        code, errors = await process.exited()
        assert code == 0
        assert "Traceback" not in errors
    finally:
        await process.close()

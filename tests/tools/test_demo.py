"""Runs the demo as `make demo` does, for a few seconds."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.support.hub import ROOT, HubClient
from tests.support.waiting import wait_until


async def test_the_fleet_changes_until_an_interrupt_and_no_files_remain(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tools.demo", "--hosts", "7", "--no-browser", "--seed", "1"),
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}", "TMPDIR": str(tmp_path), "PATH": "/usr/bin"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        said = []
        async with asyncio.timeout(40):
            while not (said and "Ctrl-C" in said[-1]):
                said.append((await process.stdout.readline()).decode())
        text = "".join(said)
        # It says whether requests reach the real servers through Envoy, and goes on without.
        assert "/v1/chat/completions" in text or "no Envoy" in text or "no real llama" in text
        http = text.partition("Dashboard  http://")[2].split("/")[0]
        token = text.partition("Token      ")[2].split()[0]
        address = text.partition("LLM_HUB_ADDRESS=")[2].split()[0]
        client = HubClient(ws="", grpc_address=address, http=http, admin_token=token)
        async with client as hub:

            async def is_complete() -> bool:
                fleet = await hub.snapshot()
                return len(fleet.resources) >= 7 and len(fleet.endpoints) >= 7

            await wait_until(is_complete)
            before = {
                name: host.cpu_percent for name, host in (await hub.snapshot()).resources.items()
            }

            async def moved() -> bool:
                now = (await hub.snapshot()).resources
                return all(now[f"gpu-0{n}"].cpu_percent != before[f"gpu-0{n}"] for n in (1, 2, 3))

            await wait_until(moved)
            answer = await hub.http("GET", "/api/admin/llm-registry")
            assert len(answer.json["endpoints"]) >= 7
    finally:
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(20):
            _, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (0, "")
    assert os.listdir(tmp_path) == []

"""Measures the sidecar's memory and CPU time with a real hub (Linux only).

usage: python -m tools.measure_sidecar [seconds]
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from llmhub.v1.resources_pb2 import ROLE_SIDECAR
from tests.support.hub import hub_process
from tests.support.sidecar_process import sidecar_process
from tools.fleetsim import FakeOllama, Fleet

START_S = 5.0


def cpu_seconds(pid: int) -> float:
    """User and system time so far, in seconds, of the process and its reaped children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def peak_mib(pid: int) -> float:
    """The peak resident memory, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


async def measure(seconds: float) -> None:
    """Runs the measurement and prints the figures."""
    with tempfile.TemporaryDirectory() as directory:
        async with hub_process(Path(directory) / "data") as hub, Fleet() as fleet:
            ollama = await fleet.add(FakeOllama("llama3.1:8b"))
            async with hub.client() as client:
                token = await client.token(ROLE_SIDECAR, "node-1")
            arguments = ("--endpoint", ollama.id)
            address = hub.addresses["ws"]
            async with sidecar_process(address, "node-1", token, *arguments) as sidecar:
                await sidecar.says("identified")
                await asyncio.sleep(START_S)
                pid = sidecar.process.pid
                start = cpu_seconds(pid)
                await asyncio.sleep(seconds)
                spent = cpu_seconds(pid) - start
                print(f"start      {start:.2f} s of CPU time")
                print(f"steady     {100 * spent / seconds:.3f} % of a core over {seconds:g} s")
                print(f"peak RSS   {peak_mib(pid):.1f} MiB")


if __name__ == "__main__":
    asyncio.run(measure(float(sys.argv[1]) if len(sys.argv) > 1 else 300.0))

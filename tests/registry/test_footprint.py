"""The estimate of what the history takes, compared with the memory of a real process."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEASURE = """
import resource, sys
from hub.registry.footprint import memory_of
from hub.registry.history.versioned import Versioned
from hub.registry.segments import _put_endpoint
from hub.registry.state import EndpointEvent
from llmhub.v1.endpoint_pb2 import Endpoint, Model

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

count, rich = int(sys.argv[1]), sys.argv[2] == "rich"
made = Endpoint(id="127.0.0.1:9", host="127.0.0.1", port=9, agent_id="node-1")
for number in range(count):
    made.models.add(name=f"model-{number}")
    if rich:
        made.models[-1].MergeFrom(
            Model(digest=f"{number:064}", size_bytes=4661224676, family="llama3.1",
                  parameter_size="8B", quantization="Q4_K_M", context_length=8192,
                  capabilities=["completion", "tools"])
        )
# Enough that what the process had free before hides little of it.
copies = max(2000, 24 * 2**20 // memory_of(made))
before, kept = resident(), []
for revision in range(copies):
    copy = Endpoint()
    copy.CopyFrom(made)
    record = Versioned(copy, revision)
    record.put_event(_put_endpoint)
    record.retire()
    kept.append(EndpointEvent(revision, copy.id, None, record))
print((resident() - before) / len(kept) / memory_of(made))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["lean", "rich"])
@pytest.mark.parametrize("models", [0, 1, 5, 20, 100])
def test_the_estimate_is_near_what_the_process_takes(models: int, kind: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", MEASURE, str(models), kind],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    # An estimate that is too low breaks the bound; one that is too high only keeps less history.
    assert 0.4 < float(found.stdout) < 1.4

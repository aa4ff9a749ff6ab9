"""The client can be imported without the server's dependencies."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

_PROGRAM = """
import sys

ALLOWED = {"grpc", "google", "typing_extensions", "hub", "llmhub", "buf"}
HUB = {
    *("hub", "hub.base", "hub.base.address", "hub.base.timestamps", "hub.base.tls_files"),
    *("hub.contract", "hub.contract.dialect", "hub.contract.dialect.names"),
}

class Guard:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top.startswith("_"):
            return None
        if top not in ALLOWED:
            raise ImportError(f"the client must not need {name}")
        if top == "google" and name != "google" and not name.startswith("google.protobuf"):
            raise ImportError(f"the client must not need {name}")
        if top == "hub" and name not in HUB and not name.startswith(("hub.client", "hub.registry")):
            raise ImportError(f"the client must not need {name}")
        return None

sys.meta_path.insert(0, Guard())
import hub.client
for name in hub.client.__all__:
    getattr(hub.client, name)
print("ok")
"""


def test_the_client_needs_only_grpc_and_protobuf() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout == "ok\n", done.stderr

"""Nothing here listens: the check comes before."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub.base.load_settings import StartError
from hub.base.settings import Settings
from hub.server.exposure import require_safe
from tests.support.hub_process import hub_environment


def settings(**sections: object) -> Settings:
    return Settings.model_validate({"data_dir": "/data", **sections})


@pytest.mark.parametrize("transport", ["ws", "grpc", "http"])
@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "10.0.0.1:0", "hub.lan:0"])
def test_plain_text_for_other_machines_is_refused(transport, address):
    exposed = settings(**{transport: {"address": address}})
    with pytest.raises(StartError) as error:
        require_safe(exposed)
    first, *ways_out = str(error.value).splitlines()
    assert first == f"{transport} ({address}) would show tokens to the network in plain text:"
    assert [line.split(":")[0].strip() for line in ways_out] == [
        "make certificates",
        "or name the TLS proxy",
        "or allow plain text",
    ]


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"ws": {"address": "localhost:0"}},
        {"http": {"address": "127.1.2.3:0"}, "grpc": {"address": "[::1]:0"}},
        {"ws": {"address": "0.0.0.0:0", "trusted_proxies": ["10.0.0.1/32"]}},
        {"ws": {"address": "0.0.0.0:0"}, "tls": {"insecure": True}},
        {"ws": {"address": "0.0.0.0:0"}, "tls": {"cert_file": "a", "key_file": "b"}},
    ],
)
def test_what_no_stranger_reads_or_is_wanted_may_start(sections):
    require_safe(settings(**sections))


def test_serve_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    # An address that no machine has: nothing listens on it even if the check is broken.
    data = tmp_path / "data"
    done = subprocess.run(
        [sys.executable, "-m", "hub.cli", "serve", "--data-dir", data, "--http", "192.0.2.1:0"],
        check=False,
        env=hub_environment() | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("llm-hub: http (192.0.2.1:0) would show tokens")
    assert len(done.stderr.splitlines()) == 4
    assert not data.exists()

import socket
from pathlib import Path

import pytest

from hub.cli.calling import tls
from hub.client import Hub
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.command import llm_hub
from tests.support.hub_process import HubProcess


def test_no_hub_at_the_address() -> None:
    with socket.socket() as taken:
        # Bound but not listening: no other process gets the port, and it refuses.
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = llm_hub("--hub", address, "--token", "t", "snapshot")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(f"llm-hub: no hub answers at {address}; start one with")
    assert "no gRPC port of a hub (127.0.0.1:50051" in done.err
    assert done.err.count("\n") == 1


def test_a_url_is_not_the_address_of_a_hub() -> None:
    done = llm_hub("--hub", "http://127.0.0.1:8080", "--token", "x", "snapshot")
    assert done.code == 2
    assert done.err == (
        "llm-hub: --hub: 'http://127.0.0.1:8080' is a URL; give the gRPC port as HOST:PORT, "
        "as 127.0.0.1:50051\n"
    )


def test_a_hub_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        done = llm_hub("--hub", address, "--token", "t", "snapshot", "--timeout", "0.2")
    assert done.code == 3
    assert done.err == f"llm-hub: the hub at {address} did not answer within 0.2 s\n"


def test_a_wrong_token_and_a_role_that_may_not(hub: HubProcess, client: Hub) -> None:
    wrong = llm_hub("--hub", hub.grpc, "--token", "nope", "snapshot")
    assert wrong.code == 4
    assert wrong.err.endswith(" [INVALID_TOKEN]\n")
    reader = client.create_token(ROLE_READER).token
    refused = llm_hub("--hub", hub.grpc, "--token", reader, "remove", "a:1")
    assert refused.code == 4
    assert refused.err.endswith(" [ROLE_FORBIDDEN]\n")


def test_the_token_comes_from_flag_variable_or_file(hub: HubProcess) -> None:
    there, data_dir = {"LLM_HUB_ADDRESS": hub.grpc}, str(hub.data_dir)
    by_file = {**there, "LLM_HUB_DATA_DIR": data_dir}
    assert llm_hub("snapshot", env=by_file).code == 0
    assert llm_hub("snapshot", "--data-dir", data_dir, env=there).code == 0
    assert llm_hub("snapshot", env={**by_file, "LLM_HUB_TOKEN": "nope"}).code == 4
    both = {**by_file, "LLM_HUB_TOKEN": "nope"}
    assert llm_hub("snapshot", "--token", hub.admin_token, env=both).code == 0


def test_no_token_anywhere(tmp_path: Path) -> None:
    done = llm_hub("snapshot", "--data-dir", str(tmp_path))
    assert done.code == 4
    assert done.err.startswith("llm-hub: no token: give --token, set LLM_HUB_TOKEN")
    (tmp_path / "admin.token").write_bytes(b"\xff\x00")
    assert llm_hub("snapshot", "--data-dir", str(tmp_path)).code == 4
    secret = "sécret\n"
    shown = llm_hub("snapshot", "--token", secret)
    assert (shown.code, shown.err) == (4, "llm-hub: the token: not a token\n")


def test_an_option_after_the_command_wins(hub: HubProcess) -> None:
    done = llm_hub("--hub", "127.0.0.1:1", "--token", "x", "snapshot", "--hub", hub.grpc)
    assert done.code == 4
    bad = llm_hub("snapshot", "--hub", "nowhere", "--token", "x")
    assert bad.code == 2
    assert bad.err == "llm-hub: --hub: 'nowhere' has no port; give HOST:PORT, as 127.0.0.1:0\n"

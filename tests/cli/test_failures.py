import socket
from pathlib import Path
from threading import Event

from tests.cli.conftest import Ask
from tests.support.command import llm_hub
from tests.support.grpc_stand_in import ADMIN_TOKEN, READER_TOKEN, StandIn


def test_every_violation_is_named(ask: Ask) -> None:
    done = ask("register", "gpu-1", "--label", "bad=x")
    assert done.code == 6
    assert done.err == (
        'llm-hub: labels["bad"]: exceeds maximum length of 256; '
        "name: must have no\\ncontrol characters [VALIDATION_FAILED]\n"
    )


def test_a_rate_limit_says_when_to_come_back(ask: Ask) -> None:
    done = ask("register", "limited.lan")
    assert done.code == 1
    assert done.err.endswith("retry in 1.5 s [RATE_LIMITED]\n")


def test_no_hub_at_the_address() -> None:
    with socket.socket() as taken:
        # Bound but not listening: nobody else gets the port, and it refuses.
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = llm_hub("--hub", address, "--token", ADMIN_TOKEN, "snapshot")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(f"llm-hub: no hub answers at {address}; start one with")
    assert "no gRPC door (127.0.0.1:50051" in done.err
    assert done.err.count("\n") == 1


def test_a_url_is_not_the_address_of_a_hub() -> None:
    done = llm_hub("--hub", "http://127.0.0.1:8080", "--token", "x", "snapshot")
    assert done.code == 2
    assert done.err == (
        "llm-hub: --hub: 'http://127.0.0.1:8080' is a URL; give the gRPC door as HOST:PORT, "
        "as 127.0.0.1:50051\n"
    )


def test_a_hub_that_hangs_is_given_up(hub: StandIn, ask: Ask) -> None:
    hub.release = Event()
    done = ask("snapshot", "--timeout", "0.2")
    assert done.code == 3
    assert done.err == f"llm-hub: the hub at {hub.address} did not answer within 0.2 s\n"


def test_a_wrong_token_and_a_role_that_may_not(hub: StandIn) -> None:
    wrong = llm_hub("--hub", hub.address, "--token", "nope", "snapshot")
    assert (wrong.code, wrong.err) == (4, "llm-hub: the token is wrong [INVALID_TOKEN]\n")
    reader = llm_hub("--hub", hub.address, "--token", READER_TOKEN, "remove", "a:1")
    assert reader.code == 4
    assert "[ROLE_FORBIDDEN]" in reader.err


def test_the_token_comes_from_flag_variable_or_file(hub: StandIn, tmp_path: Path) -> None:
    (tmp_path / "admin.token").write_text(ADMIN_TOKEN + "\n")
    there = {"LLM_HUB_ADDRESS": hub.address}
    by_file = {**there, "LLM_HUB_DATA_DIR": str(tmp_path)}
    assert llm_hub("snapshot", env=by_file).code == 0
    assert llm_hub("snapshot", "--data-dir", str(tmp_path), env=there).code == 0
    assert llm_hub("snapshot", env={**by_file, "LLM_HUB_TOKEN": "nope"}).code == 4
    both = {**by_file, "LLM_HUB_TOKEN": "nope"}
    assert llm_hub("snapshot", "--token", ADMIN_TOKEN, env=both).code == 0


def test_no_token_anywhere(tmp_path: Path) -> None:
    done = llm_hub("snapshot", "--data-dir", str(tmp_path))
    assert done.code == 4
    assert done.err.startswith("llm-hub: no token: give --token, set LLM_HUB_TOKEN")
    (tmp_path / "admin.token").write_bytes(b"\xff\x00")
    assert llm_hub("snapshot", "--data-dir", str(tmp_path)).code == 4
    secret = "sécret\n"
    shown = llm_hub("snapshot", "--token", secret)
    assert (shown.code, shown.err) == (4, "llm-hub: the token: not a token\n")


def test_an_option_after_the_command_wins(hub: StandIn) -> None:
    done = llm_hub("--hub", "127.0.0.1:1", "--token", "x", "snapshot", "--hub", hub.address)
    assert done.code == 4
    bad = llm_hub("snapshot", "--hub", "nowhere", "--token", "x")
    assert bad.code == 2
    assert bad.err == "llm-hub: --hub: 'nowhere' has no port; give HOST:PORT, as 127.0.0.1:0\n"

import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.command import llm_hub
from tests.support.hub_process import hub_environment, running_hub, serve_command


@pytest.mark.parametrize(
    ("arguments", "environment", "line"),
    [
        (("--ws", "4000"), {}, "llm-hub: --ws: '4000' has no port; use HOST:PORT"),
        (("--grpc", "x:99999"), {}, "llm-hub: --grpc: port '99999' is not a number"),
        (("--config", "/none.toml"), {}, "llm-hub: /none.toml: cannot be read: No such file"),
        ((), {"LLM_HUB_CONFIG": "/none.toml"}, "llm-hub: /none.toml: cannot be read"),
        ((), {"LLM_HUB_PROBES__INTERVAL": "1"}, "llm-hub: LLM_HUB_PROBES__INTERVAL: unknown"),
    ],
)
def test_bad_settings_are_reported_in_one_line(
    arguments: tuple[str, ...], environment: dict[str, str], line: str
) -> None:
    done = llm_hub("serve", *arguments, env=environment)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(line)
    assert done.err.count("\n") == 1


def test_the_error_names_the_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text("[http]\naddress = 'localhost'\n")
    done = llm_hub("serve", "--config", str(file))
    assert done.err.startswith(f"llm-hub: {file}: http.address: 'localhost' has no port")


def start_in_vain(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=hub_environment(), capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("transport", ["--ws", "--grpc", "--http"])
def test_a_port_in_use_is_reported_in_one_line(tmp_path: Path, transport: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = start_in_vain(*serve_command(tmp_path / "data", transport, address))
    assert done.returncode != 0
    assert "ready" not in done.stdout
    assert address in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_unusable_data_dir_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = start_in_vain(*serve_command(tmp_path / "file"))
    assert done.returncode != 0
    assert done.stdout == ""
    assert str(tmp_path / "file") in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_corrupt_store_is_reported_in_one_line(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data") as hub:
        assert hub.stop() == 0
    store = tmp_path / "data" / "hub.db"
    assert store.exists()
    store.write_bytes(b"this is no database" * 1000)
    done = start_in_vain(*serve_command(tmp_path / "data"))
    assert done.returncode != 0
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert str(store) in done.stderr


def test_a_valid_file_is_reported_as_fine(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text("data_dir = '/srv/hub'\n[[endpoints]]\nurl = 'gpu-1'\n")
    done = llm_hub("config", "check", str(file))
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{file}: fine; 1 endpoints, data in /srv/hub\n"
    assert llm_hub("config", "check", env={"LLM_HUB_CONFIG": str(file)}).out == done.out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[ws]\nadress = 'x'", "ws.adress: unknown setting; did you mean ws.address?"),
        ("[[endpoints]]\nurl = 'ftp://x'", "endpoints[0].url: the scheme is 'ftp'"),
        ("[[endpoints]]\nurl = 'x'\nlabel = 1", "endpoints[0].label: unknown setting"),
        ("[[endpoints]]\nurl = '169.254.1.1'", "endpoints[0].url: host 169.254.1.1 may not be"),
        ("endpoints = 7", "endpoints: "),
    ],
)
def test_an_invalid_file_is_reported_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(text)
    for arguments in (("config", "check", str(file)), ("serve", "--config", str(file))):
        done = llm_hub(*arguments)
        assert (done.code, done.out) == (2, "")
        assert f"{file}: {said}" in done.err
        assert done.err.count("\n") == 1


def test_the_environment_is_checked_too() -> None:
    done = llm_hub("config", "check", env={"LLM_HUB_WS__ADDRESS": "x"})
    assert done.code == 2
    assert "LLM_HUB_WS__ADDRESS" in done.err

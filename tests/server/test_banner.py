import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hub.base.data_dir import ADMIN_TOKEN_FILE, default_data_dir
from hub.base.security_settings import TlsSettings
from hub.base.settings import Settings, WsSettings
from hub.server.banner import show_banner
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse

INFO = GetServerInfoResponse(
    version="1.2.3",
    ws_address="127.0.0.1:4001",
    grpc_address="127.0.0.1:5001",
    http_address="[::1]:8081",
)
STAND_IN = """#!/bin/sh
printf '%s\\n' "$LLM_HUB_TOKEN" "$@"
"""


def lines(
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    token: str | None = None,
    info: GetServerInfoResponse = INFO,
) -> list[str]:
    show_banner(info, settings, token)
    return capsys.readouterr().out.splitlines()


def next_command(shown: list[str]) -> str:
    (line,) = (line for line in shown if "add a server:" in line)
    return line.partition("add a server:  ")[2]


def stand_in(file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(STAND_IN)
    file.chmod(0o755)


def pasted(line: str) -> list[str]:
    """The token and the arguments that the command gets from a pasted line."""
    done = subprocess.run(
        ["/bin/sh", "-c", line], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on PATH with a stand-in for the command."""
    directory = tmp_path / "tools"
    stand_in(directory / "llm-hub")
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    monkeypatch.delenv("LLM_HUB_TOKEN", raising=False)
    return directory


@pytest.fixture(params=["plain", "it's a $HOME; with spaces"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    directory = tmp_path / request.param
    directory.mkdir()
    (directory / ADMIN_TOKEN_FILE).write_text("llmhub_the_token\n")
    return Settings(data_dir=directory, ws=WsSettings(path="/sidecars"))


def test_the_last_line_is_the_ready_line(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = lines(settings, capsys)
    assert shown[-1] == "ready ws=127.0.0.1:4001 grpc=127.0.0.1:5001 http=[::1]:8081"
    assert sum(line.startswith("ready ") for line in shown) == 1


def test_a_first_start_takes_three_lines_beside_the_ready_line(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    version_and_token, addresses, what_next, _ = lines(settings, capsys, "llmhub_new")
    assert "1.2.3" in version_and_token
    for address in ("http://[::1]:8081/", "gRPC 127.0.0.1:5001", "ws://127.0.0.1:4001/sidecars"):
        assert address in addresses
    assert "register" in what_next


def test_a_hub_with_endpoints_does_not_say_how_to_add_the_first(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    info = GetServerInfoResponse()
    info.CopyFrom(INFO)
    info.endpoint_count = 1
    assert len(lines(settings, capsys, info=info)) == 3


def test_a_new_token_is_not_shown_where_no_terminal_is(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "llmhub_" not in "\n".join(lines(settings, capsys, "llmhub_new"))


def test_a_new_token_is_shown_on_a_terminal_and_an_old_one_is_not(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "llmhub_new" in "\n".join(lines(settings, capsys, "llmhub_new"))
    assert "llmhub_" not in "\n".join(lines(settings, capsys))


def test_the_admin_tokens_file_can_be_pasted(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = shlex.split(lines(settings, capsys)[0].partition("admin token in ")[2])
    assert file == str(settings.data_dir / ADMIN_TOKEN_FILE)


def test_a_missing_admin_token_is_reported(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    (settings.data_dir / ADMIN_TOKEN_FILE).unlink()
    line = lines(settings, capsys)[0]
    assert f"no admin token in {shlex.quote(str(settings.data_dir / ADMIN_TOKEN_FILE))}" in line
    assert '"A lost admin token" in docs/operations.md' in line


@pytest.mark.usefixtures("tools")
def test_the_command_works_when_pasted(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pasted(next_command(lines(settings, capsys))) == [
        "llmhub_the_token",
        "--hub",
        "127.0.0.1:5001",
        "register",
        "127.0.0.1",
    ]


def test_a_command_that_is_not_on_the_path_is_shown_with_its_path(
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    tools: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tools / "llm-hub").unlink()
    stand_in(tmp_path / "my env" / "llm-hub")
    monkeypatch.setattr("sys.executable", str(tmp_path / "my env" / "python"))
    assert pasted(next_command(lines(settings, capsys)))[-2:] == ["register", "127.0.0.1"]


@pytest.mark.usefixtures("tools")
def test_a_hub_with_defaults_needs_no_options(capsys: pytest.CaptureFixture[str]) -> None:
    info = GetServerInfoResponse(grpc_address="127.0.0.1:50051")
    shown = lines(Settings(data_dir=default_data_dir()), capsys, info=info)
    assert next_command(shown) == "llm-hub register 127.0.0.1"


@pytest.mark.usefixtures("tools")
def test_with_a_certificate_all_addresses_and_the_command_use_tls(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    tls = TlsSettings(cert_file="/etc/my hub.pem", key_file="/etc/my hub.key")
    shown = lines(settings.model_copy(update={"tls": tls}), capsys)
    assert "wss://127.0.0.1:4001/sidecars" in shown[1]
    assert "https://[::1]:8081" in shown[1]
    assert pasted(next_command(shown))[3:5] == ["--tls-ca", "/etc/my hub.pem"]

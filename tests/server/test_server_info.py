import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hub.base.clock import ManualClock
from hub.base.data_dir import ADMIN_TOKEN_FILE
from hub.base.security_settings import TlsSettings
from hub.base.settings import Settings, WsSettings
from hub.base.version import hub_version
from hub.server.fleet import Fleet
from hub.server.server_info import ServerInfo, show_banner
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse
from tests.support.hub import settings_for


async def test_addresses_appear_once_the_hub_listens(tmp_path: Path) -> None:
    clock = ManualClock()
    fleet = Fleet(settings_for(tmp_path), clock, first_revision=1_000)
    info = ServerInfo(fleet, clock, "sqlite", 5_000)
    before = info.get()
    assert (before.version, before.store, before.revision) == (hub_version(), "sqlite", 1_000)
    assert (before.started_at.ToMilliseconds(), before.ws_address) == (5_000, "")
    info.addresses = {"ws": "127.0.0.1:1", "grpc": "127.0.0.1:2", "http": "127.0.0.1:3"}
    after = info.get()
    assert [after.ws_address, after.grpc_address, after.http_address] == list(
        info.addresses.values()
    )
    await fleet.stop()


INFO = GetServerInfoResponse(
    version="1.2.3",
    ws_address="127.0.0.1:4001",
    grpc_address="127.0.0.1:5001",
    http_address="[::1]:8081",
)
STAND_IN = """#!/bin/sh
printf '%s\\n' "$LLM_HUB_TOKEN" "$@"
"""


def lines(settings: Settings, capsys: pytest.CaptureFixture[str], token: str | None) -> list[str]:
    show_banner(INFO, settings, token)
    return capsys.readouterr().out.splitlines()


def stand_in(file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(STAND_IN)
    file.chmod(0o755)


def pasted(line: str) -> list[str]:
    """The token and the arguments that a command gets from a pasted line."""
    done = subprocess.run(
        ["/bin/sh", "-c", line], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on PATH with stand-ins for the commands."""
    directory = tmp_path / "tools"
    for name in ("grpcurl", "llm-hub"):
        stand_in(directory / name)
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
    shown = lines(settings, capsys, None)
    assert shown[-1] == "ready ws=127.0.0.1:4001 grpc=127.0.0.1:5001 http=[::1]:8081"
    assert sum(line.startswith("ready ") for line in shown) == 1


def test_the_banner_shows_all_addresses(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = "\n".join(lines(settings, capsys, None))
    assert "ws://127.0.0.1:4001/sidecars" in shown
    assert "127.0.0.1:5001" in shown
    assert "http://[::1]:8081" in shown
    assert "1.2.3" in shown


def test_a_new_token_is_named_and_not_shown_where_no_terminal_is(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = lines(settings, capsys, "llmhub_new")
    assert not any("llmhub_" in line for line in shown)
    assert any(line.startswith("  admin token: ") for line in shown)


def test_a_new_token_is_shown_on_a_terminal_and_an_old_one_is_not(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert any("llmhub_new" in line for line in lines(settings, capsys, "llmhub_new"))
    assert not any("llmhub_" in line for line in lines(settings, capsys, None))


@pytest.mark.parametrize("token", ["llmhub_new", None])
def test_the_admin_tokens_file_is_always_shown(
    settings: Settings, capsys: pytest.CaptureFixture[str], token: str | None
) -> None:
    (line,) = (each for each in lines(settings, capsys, token) if "admin token: kept in" in each)
    (file,) = shlex.split(line.partition("kept in ")[2])
    assert file == str(settings.data_dir / ADMIN_TOKEN_FILE)


def test_a_missing_admin_token_is_reported(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    (settings.data_dir / ADMIN_TOKEN_FILE).unlink()
    (line,) = (each for each in lines(settings, capsys, None) if "admin token:" in each)
    assert "kept in" not in line
    assert shlex.quote(str(settings.data_dir / ADMIN_TOKEN_FILE)) in line
    assert '"A lost admin token" in docs/operations.md' in line


@pytest.mark.usefixtures("tools")
def test_the_grpcurl_line_works_when_pasted(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = (line for line in lines(settings, capsys, None) if "grpcurl -" in line)
    _, *arguments = pasted(line)
    assert arguments[:3] == ["-plaintext", "-H", "authorization: Bearer llmhub_the_token"]
    assert json.loads(arguments[arguments.index("-d") + 1]) == {"host": "127.0.0.1"}
    assert arguments[-2:] == ["127.0.0.1:5001", "llmhub.v1.AdminService/RegisterEndpoint"]


def commands(settings: Settings, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    shown = [
        line
        for line in lines(settings, capsys, None)
        if "LLM_HUB_TOKEN=" in line and "sidecar --hub" not in line
    ]
    received = []
    for line in shown:
        token, *arguments = pasted(line)
        assert token == "llmhub_the_token"
        assert arguments[:2] == ["--hub", "127.0.0.1:5001"]
        received.append(arguments[2:])
    return received


COMMANDS = [["snapshot"], ["token", "create", "--role", "sidecar", "--agent", "node-1"]]


@pytest.mark.usefixtures("tools")
def test_the_llm_hub_lines_work_when_pasted(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands(settings, capsys) == COMMANDS


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
    assert commands(settings, capsys) == COMMANDS


@pytest.mark.usefixtures("tools")
def test_with_a_certificate_all_addresses_and_commands_use_tls(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    tls = TlsSettings(cert_file="/etc/my hub.pem", key_file="/etc/my hub.key")
    shown = lines(settings.model_copy(update={"tls": tls}), capsys, None)
    assert shown[-1] == "ready ws=127.0.0.1:4001 grpc=127.0.0.1:5001 http=[::1]:8081"
    banner = "\n".join(shown)
    assert "wss://127.0.0.1:4001/sidecars" in banner
    assert "https://[::1]:8081" in banner
    (line,) = (line for line in shown if "grpcurl -" in line)
    assert pasted(line)[1:3] == ["-cacert", "/etc/my hub.pem"]
    (line,) = (line for line in shown if line.endswith("snapshot"))
    assert pasted(line)[3:] == ["--tls-ca", "/etc/my hub.pem", "snapshot"]

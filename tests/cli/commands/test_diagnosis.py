import os
import socket
import sqlite3
from email.utils import formatdate
from pathlib import Path

import pytest

from hub.cli.commands import diagnosis
from hub.cli.commands.diagnosis import Level
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse
from llmhub.v1.endpoint_pb2 import ADMIN_STATE_DISABLED, STATUS_HEALTHY, STATUS_UNHEALTHY, Endpoint
from llmhub.v1.resources_pb2 import SidecarInfo, TokenInfo
from tests.support.ports import lasting_port

NOW_S = 1_800_000_000.0


@pytest.mark.parametrize(
    ("told_s", "level", "said"),
    [
        (NOW_S, Level.OK, "agree"),
        (NOW_S - 1, Level.OK, "agree"),
        (NOW_S + 4, Level.OK, "agree"),
        (NOW_S + 65, Level.WARNING, "the hub is 1 min ahead of this machine"),
        (NOW_S - 7201, Level.WARNING, "the hub is 2 h behind this machine"),
    ],
)
def test_clocks(told_s: float, level: Level, said: str) -> None:
    finding = diagnosis.clock(formatdate(told_s, usegmt=True), NOW_S, NOW_S + 0.01)
    assert finding.level is level
    assert said in finding.found


def test_a_date_that_is_none() -> None:
    assert diagnosis.clock("soon", NOW_S, NOW_S).level is Level.WARNING
    assert diagnosis.clock("", NOW_S, NOW_S).level is Level.WARNING


def test_tokens_that_expire_soon_are_named() -> None:
    lasting, ending = TokenInfo(id="t1"), TokenInfo(id="t2", agent_id="gpu-1")
    ending.expires_at.FromSeconds(int(NOW_S) + 3 * 86_400)
    finding = diagnosis.tokens([lasting, ending], NOW_S)
    assert finding.level is Level.WARNING
    assert "gpu-1 in 3 d" in finding.found
    assert diagnosis.tokens([lasting], NOW_S).level is Level.OK


def test_a_sidecar_whose_token_has_expired_is_named_unless_it_has_another() -> None:
    gone = TokenInfo(id="t1", agent_id="gpu-1", expired=True)
    gone.expires_at.FromSeconds(int(NOW_S) - 2 * 86_400)
    reader = TokenInfo(id="t2", expired=True)
    reader.expires_at.FromSeconds(int(NOW_S) - 60)
    finding = diagnosis.tokens([gone, reader, TokenInfo(id="t3")], NOW_S)
    assert finding.level is Level.WARNING
    assert finding.found.endswith("gpu-1 2 d ago")
    finding = diagnosis.tokens([gone, reader, TokenInfo(id="t3", agent_id="gpu-1")], NOW_S)
    assert (finding.level, finding.found) == (Level.OK, "1 valid, none expires within a week")


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("connection refused", "start the server"),
        ("needs an API key (401 to /v1/models)", "--api-key-file"),
        ("address 10.0.0.1 may not be probed: it is in probes.deny", "probes.deny"),
        ("did not answer within 5 s", "curl -m 5"),
        ("answered HTML, not JSON, to /api/tags", "another program"),
        ("is not ready (503 to /health): Loading model", "wait"),
        ("something new", "log"),
    ],
)
def test_each_error_of_a_probe_has_its_advice(error: str, advice: str) -> None:
    endpoint = Endpoint(id="h:1", host="h", scheme="http", last_error=error)
    endpoint.status = STATUS_UNHEALTHY
    finding = diagnosis.endpoint(endpoint)
    assert finding is not None
    assert finding.level is Level.FAILED
    assert advice in finding.advice


def test_endpoints_that_are_well_or_out_of_service() -> None:
    finding = diagnosis.endpoint(Endpoint(id="h:1", status=STATUS_HEALTHY))
    assert finding is not None
    assert finding.level is Level.OK
    assert diagnosis.endpoint(Endpoint(id="h:1", admin_state=ADMIN_STATE_DISABLED)) is None


def test_sidecars_that_endpoints_name() -> None:
    endpoints = [Endpoint(id="h:1", agent_id="a"), Endpoint(id="h:2", agent_id="b")]
    missing = diagnosis.sidecar_hosts(endpoints, [SidecarInfo(agent_id="a")])
    assert missing is not None
    assert missing.found == "not connected: b"
    assert diagnosis.sidecar_hosts([Endpoint(id="h:1")], []) is None


def test_a_door_that_listens_everywhere_is_reached_at_the_hubs_host() -> None:
    assert diagnosis.reachable("0.0.0.0:1", "hub.lan") == ("hub.lan", 1)
    assert diagnosis.reachable("10.0.0.1:1", "hub.lan") == ("10.0.0.1", 1)


def nobody(*_place: object) -> bool:
    return False


def test_a_port_that_is_taken_and_one_that_is_free() -> None:
    port = lasting_port()
    address = f"127.0.0.1:{port}"
    with socket.create_server(("127.0.0.1", port)):
        assert diagnosis.own_port("ws", address, nobody).level is Level.FAILED
        asked: list[tuple[str, str, int]] = []
        found = diagnosis.own_port("ws", address, lambda *place: asked.append(place) or True)
        assert (found.level, asked) == (Level.OK, [("ws", "127.0.0.1", port)])
        assert diagnosis.grpc_server(address).level is Level.OK
    assert diagnosis.own_port("ws", address, nobody).found == f"{address}: free"
    assert diagnosis.grpc_server(address).level is Level.FAILED


def test_permissions(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    directory, _disk = diagnosis.data_directory(tmp_path)
    assert (directory.level, directory.advice) == (Level.WARNING, f"chmod 700 {tmp_path}")
    tmp_path.chmod(0o700)
    assert next(diagnosis.data_directory(tmp_path)).level is Level.OK
    [none] = diagnosis.data_directory(tmp_path / "none")
    assert none.level is Level.WARNING
    token = tmp_path / "admin.token"
    assert diagnosis.token_file(token).level is Level.WARNING
    token.touch(0o600)
    assert diagnosis.token_file(token).level is Level.OK
    token.chmod(0o644)
    assert diagnosis.token_file(token).level is Level.FAILED


def test_a_store_that_is_whole_in_use_or_broken(tmp_path: Path) -> None:
    file = tmp_path / "hub.db"
    assert diagnosis.store_file(file) is None
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    finding = diagnosis.store_file(file)
    assert finding is not None
    assert finding.level is Level.OK
    os.truncate(file, 100)
    broken = diagnosis.store_file(file)
    assert broken is not None
    assert broken.level is Level.FAILED


def test_a_command_of_another_version_is_told() -> None:
    findings = list(diagnosis.server(GetServerInfoResponse(version="2.0"), "1.0"))
    assert [each.level for each in findings] == [Level.OK, Level.WARNING]

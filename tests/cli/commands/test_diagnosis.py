import asyncio
import socket
import threading
from email.utils import formatdate
from pathlib import Path

import pytest
from websockets.sync.server import ServerConnection, serve

from hub.base.address import parse_listen_address
from hub.base.tls_files import TlsFiles
from hub.cli.calling.connection import find_tls
from hub.cli.commands import diagnosis
from hub.cli.commands.diagnosis import Level, is_a_hub
from hub.server.hub_server import HubServer
from llmhub.v1.admin_service_pb2 import OVERLOAD_LEVEL_SNAPSHOTS, GetServerInfoResponse
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    BREAKER_STATE_OPEN,
    FAULT_DEAD,
    FAULT_NO_ANSWER,
    FAULT_NOT_SERVING,
    FAULT_REQUESTS_FAIL,
    FAULT_UNREACHABLE,
    FAULT_UNSPECIFIED,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    Endpoint,
    Fault,
)
from llmhub.v1.resources_pb2 import SidecarInfo, TokenInfo
from tests.support.hub import running_hub as hub_in_this_process
from tests.support.hub_process import HubProcess
from tests.support.mutual_tls import mutual_tls_hub
from tests.support.ports import lasting_port

NOW_S = 1_800_000_000.0


@pytest.mark.parametrize(
    ("server_s", "level", "said"),
    [
        (NOW_S, Level.OK, "agree"),
        (NOW_S - 1, Level.OK, "agree"),
        (NOW_S + 4, Level.OK, "agree"),
        (NOW_S + 65, Level.WARNING, "the hub is 1 min ahead of this machine"),
        (NOW_S - 7201, Level.WARNING, "the hub is 2 h behind this machine"),
    ],
)
def test_a_large_clock_skew_is_a_warning(server_s: float, level: Level, said: str) -> None:
    finding = diagnosis.clock(formatdate(server_s, usegmt=True), NOW_S, NOW_S + 0.01)
    assert finding.level is level
    assert said in finding.found


def test_an_unreadable_date_is_a_warning() -> None:
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


@pytest.mark.parametrize("fault", Fault.values())
def test_each_fault_has_its_advice(fault: Fault) -> None:
    endpoint = Endpoint(
        id="h:1", host="h", scheme="http", base_path="/v", status=STATUS_UNHEALTHY, fault=fault
    )
    finding = diagnosis.endpoint(endpoint)
    assert finding is not None
    assert (finding.level, finding.found) == (Level.FAILED, "not probed yet")
    wanted = {
        FAULT_UNSPECIFIED: "wait for the first probe",
        FAULT_NO_ANSWER: "curl -m 5 http://h:1/v/",
        FAULT_DEAD: "start the server on h:",
        FAULT_UNREACHABLE: "the server runs",
        FAULT_NOT_SERVING: "llm-hub register http://h:1/v --api-key-file FILE",
        FAULT_REQUESTS_FAIL: "llm-hub select MODEL --explain",
    }
    assert wanted[fault] in finding.advice


def test_a_healthy_endpoint_whose_requests_fail_is_a_warning() -> None:
    endpoint = Endpoint(id="h:1", status=STATUS_HEALTHY, fault=FAULT_REQUESTS_FAIL)
    endpoint.outcomes.add(model="m", breaker=BREAKER_STATE_OPEN, reason="5 requests failed")
    finding = diagnosis.endpoint(endpoint)
    assert finding is not None
    assert (finding.level, finding.found) == (
        *(Level.WARNING, "healthy, but requests fail for m: 5 requests failed"),
    )


def test_a_servers_error_text_is_shown_unchanged() -> None:
    said = "connection refused: {url} needs an API key"
    endpoint = Endpoint(id="h:1", last_error=said, fault=FAULT_DEAD, host="h")
    finding = diagnosis.endpoint(endpoint)
    assert finding is not None
    assert finding.found == said
    assert finding.advice == "start the server on h: the sidecar on its host gets no answer either"


def test_healthy_endpoints_are_ok_and_disabled_ones_are_skipped() -> None:
    finding = diagnosis.endpoint(Endpoint(id="h:1", status=STATUS_HEALTHY))
    assert finding is not None
    assert finding.level is Level.OK
    assert diagnosis.endpoint(Endpoint(id="h:1", admin_state=ADMIN_STATE_DISABLED)) is None


def test_sidecars_that_endpoints_name_must_be_connected() -> None:
    endpoints = [Endpoint(id="h:1", agent_id="a"), Endpoint(id="h:2", agent_id="b")]
    missing = diagnosis.sidecar_hosts(endpoints, [SidecarInfo(agent_id="a")])
    assert missing is not None
    assert missing.found == "not connected: b"
    assert diagnosis.sidecar_hosts([Endpoint(id="h:1")], []) is None


def test_a_server_that_listens_everywhere_is_reached_at_the_hubs_host() -> None:
    assert diagnosis.reachable("0.0.0.0:1", "hub.lan") == ("hub.lan", 1)
    assert diagnosis.reachable("10.0.0.1:1", "hub.lan") == ("10.0.0.1", 1)


def test_an_open_port_is_ok_and_a_closed_one_fails() -> None:
    port = lasting_port()
    address = f"127.0.0.1:{port}"
    with socket.create_server(("127.0.0.1", port)):
        assert diagnosis.grpc_server(address).level is Level.OK
    assert diagnosis.grpc_server(address).level is Level.FAILED


def test_an_overloaded_hub_is_a_warning() -> None:
    info = GetServerInfoResponse(version="1.0")
    assert len(list(diagnosis.server(info, "1.0"))) == 1
    info.overload.level = OVERLOAD_LEVEL_SNAPSHOTS
    info.overload.cause = "memory"
    info.overload.pressure["memory"] = 0.87
    _, finding = diagnosis.server(info, "1.0")
    assert (finding.level, finding.what) == (Level.WARNING, "overload")
    assert "memory is at 87% of its budget" in finding.found


def test_another_version_of_the_command_is_a_warning() -> None:
    findings = list(diagnosis.server(GetServerInfoResponse(version="2.0"), "1.0"))
    assert [each.level for each in findings] == [Level.OK, Level.WARNING]


@pytest.mark.parametrize("asked", ["ws", "grpc", "http"])
def test_each_server_is_recognised_only_by_its_own_transport(hub: HubProcess, asked: str) -> None:
    addresses = {"ws": hub.ws, "grpc": hub.grpc, "http": hub.http}
    known = {
        transport
        for transport, at in addresses.items()
        if is_a_hub(asked, *parse_listen_address(at))
    }
    assert known == {asked}


@pytest.mark.parametrize("asked", ["ws", "grpc", "http"])
def test_a_silent_program_is_not_a_hub(asked: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert not is_a_hub(asked, *other.getsockname())


async def test_a_hub_that_is_not_ready_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HubServer, "_why_not_ready", lambda _hub: "the store does not answer")
    async with hub_in_this_process(tmp_path) as hub:
        assert await asyncio.to_thread(is_a_hub, "grpc", *parse_listen_address(hub.grpc_address))


def test_tls_servers_are_recognised_with_the_certificate(tmp_path: Path) -> None:
    with mutual_tls_hub(tmp_path) as mutual:
        files = TlsFiles(*map(str, (mutual.own.cert, mutual.client.cert, mutual.client.key)))
        tls = find_tls(files, tls=True)
        addresses = {"ws": mutual.hub.ws, "grpc": mutual.hub.grpc, "http": mutual.hub.http}
        for transport, address in addresses.items():
            place = parse_listen_address(address)
            assert is_a_hub(transport, *place, context=files.context(), tls=tls)
            assert not is_a_hub(transport, *place)


def test_another_programs_websocket_server_is_not_a_hub() -> None:
    def echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with serve(echo, "127.0.0.1", 0) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        assert not is_a_hub("ws", *server.socket.getsockname())
        server.shutdown()
        serving.join()


def test_another_address_of_a_server_is_named() -> None:
    found = diagnosis.endpoint(
        Endpoint(id="localhost:1", status=STATUS_HEALTHY, same_server_as="127.0.0.1:1")
    )
    assert found is not None
    assert found.level is Level.WARNING
    assert "the same server as 127.0.0.1:1" in found.found
    assert "llm-hub remove localhost:1" in found.advice

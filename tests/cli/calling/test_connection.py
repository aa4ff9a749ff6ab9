import json
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from hub.cli.calling import connection
from hub.cli.calling.connection import command_failed
from hub.cli.failures import CommandFailed, ExitCode
from hub.client import CallFailed, Hub, Violation
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.certificates import Certificate
from tests.support.command import Outcome, llm_hub
from tests.support.hub_process import HubProcess, running_hub
from tests.support.mutual_tls import MutualTls, mutual_tls_hub


def test_an_address_without_a_hub_is_unreachable() -> None:
    with socket.socket() as taken:
        # Bound but not listening: no other process gets the port, and it refuses.
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = llm_hub("--hub", address, "--token", "t", "snapshot")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(f"llm-hub: no hub answers at {address}; start one with")
    assert "not a hub's gRPC port (127.0.0.1:50051" in done.err
    assert done.err.count("\n") == 1


def test_a_url_is_refused_as_the_hubs_address() -> None:
    done = llm_hub("--hub", "http://127.0.0.1:8080", "--token", "x", "snapshot")
    assert done.code == 2
    assert done.err == (
        "llm-hub: --hub: 'http://127.0.0.1:8080' is a URL; give the gRPC port as HOST:PORT, "
        "such as 127.0.0.1:50051\n"
    )


def test_a_call_to_a_hanging_hub_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_HANDSHAKE_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        done = llm_hub("--hub", address, "--token", "t", "snapshot", "--timeout", "0.2")
    assert done.code == 3
    assert done.err == f"llm-hub: the hub at {address} did not answer within 0.2 s\n"


def test_a_wrong_token_or_role_is_not_authorised(hub: HubProcess, client: Hub) -> None:
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


def test_a_missing_token_is_reported(tmp_path: Path) -> None:
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
    assert (
        bad.err == "llm-hub: --hub: 'nowhere' has no port; use HOST:PORT, such as 127.0.0.1:50051\n"
    )


def failed(code: grpc.StatusCode, message: str = "no", **details: object) -> CommandFailed:
    return command_failed(CallFailed(code, message, **details), "hub:1", 5.0)


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, ExitCode.NOT_AUTHORISED),
        (grpc.StatusCode.PERMISSION_DENIED, ExitCode.NOT_AUTHORISED),
        (grpc.StatusCode.NOT_FOUND, ExitCode.NOT_FOUND),
        (grpc.StatusCode.INVALID_ARGUMENT, ExitCode.INVALID),
        (grpc.StatusCode.UNAVAILABLE, ExitCode.FAILED),
        (grpc.StatusCode.ABORTED, ExitCode.FAILED),
    ],
)
def test_a_refusal_shows_the_hubs_reason(code: grpc.StatusCode, exit_code: ExitCode) -> None:
    failure = failed(code, reason="SOME_REASON")
    assert (failure.code, failure.message) == (exit_code, "no [SOME_REASON]")


def test_every_violation_is_named() -> None:
    failure = failed(
        grpc.StatusCode.INVALID_ARGUMENT,
        reason="VALIDATION_FAILED",
        violations=[
            Violation('labels["bad"]', "exceeds maximum length of 256", "TOO_LONG"),
            Violation("name", "must have no\ncontrol characters", "INVALID"),
        ],
    )
    assert failure.message == (
        'labels["bad"]: exceeds maximum length of 256; '
        "name: must have no\\ncontrol characters [VALIDATION_FAILED]"
    )


def test_a_rate_limit_says_when_to_retry() -> None:
    failure = failed(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="RATE_LIMITED", retry_after_s=1.5)
    assert failure.message == "no; retry in 1.5 s [RATE_LIMITED]"
    assert (failure.found, failure.advice) == ("no [RATE_LIMITED]", "retry in 1.5 s")


def test_an_unreachable_hub_is_reported() -> None:
    gone = failed(grpc.StatusCode.UNAVAILABLE)
    assert (gone.code, gone.found) == (ExitCode.UNREACHABLE, "no hub answers at hub:1")
    late = failed(grpc.StatusCode.DEADLINE_EXCEEDED)
    assert late.message == "the hub at hub:1 did not answer within 5 s"
    other = failed(grpc.StatusCode.UNKNOWN, "")
    assert other.message == "the hub gave no reason [UNKNOWN]"


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MutualTls]:
    with mutual_tls_hub(tmp_path_factory.mktemp("tls")) as running:
        yield running


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handshake on a busy machine takes longer than a person would wait."""
    monkeypatch.setattr(connection, "_HANDSHAKE_TIMEOUT_S", 60.0)


def ask(mutual: MutualTls, *arguments: str, **environment: object) -> Outcome:
    known = {"LLM_HUB_ADDRESS": mutual.hub.grpc, "LLM_HUB_TOKEN": mutual.hub.admin_token}
    return llm_hub(*arguments, env=known | {name: str(to) for name, to in environment.items()})


def shown(certificate: Certificate) -> tuple[str, ...]:
    return ("--tls-cert", str(certificate.cert), "--tls-key", str(certificate.key))


def test_certificate_options_work_before_and_after_the_command(mutual: MutualTls) -> None:
    ca = ("--tls-ca", str(mutual.own.cert))
    for arguments in (
        ("snapshot", *ca, *shown(mutual.client)),
        (*ca, *shown(mutual.client), "snapshot"),
    ):
        done = ask(mutual, *arguments, "-o", "json")
        assert (done.code, done.err) == (0, "")
        assert json.loads(done.out)["endpoints"] == []


def test_certificates_come_from_environment_variables(mutual: MutualTls) -> None:
    done = ask(
        mutual,
        "info",
        LLM_HUB_TLS_CA=mutual.own.cert,
        LLM_HUB_TLS_CERT=mutual.client.cert,
        LLM_HUB_TLS_KEY=mutual.client.key,
    )
    assert (done.code, done.err) == (0, "")


def test_one_file_may_hold_certificate_and_key(mutual: MutualTls, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_text(mutual.client.key.read_text() + mutual.client.cert.read_text())
    ca = ("--tls-ca", str(mutual.own.cert))
    assert ask(mutual, "info", *ca, "--tls-cert", str(both)).code == 0


def test_the_doctor_reaches_all_servers(mutual: MutualTls) -> None:
    done = ask(
        mutual, "doctor", "-o", "json", "--tls-ca", str(mutual.own.cert), *shown(mutual.client)
    )
    levels = {each["what"]: each["level"] for each in json.loads(done.out)["findings"]}
    for what in ("gRPC server", "WebSocket server", "HTTP server", "clock"):
        assert levels[what] == "ok"


@pytest.mark.parametrize("command", ["snapshot", "watch"])
def test_a_failed_handshake_is_explained(mutual: MutualTls, command: str) -> None:
    ca, address = ("--tls-ca", str(mutual.own.cert)), mutual.hub.grpc
    for arguments, why in (
        (
            ca,
            f"the hub at {address} requires a certificate; give --tls-cert FILE and --tls-key FILE",
        ),
        (
            (*ca, *shown(mutual.stranger)),
            f"the hub at {address} does not accept the certificate in {mutual.stranger.cert}",
        ),
        (
            shown(mutual.client),
            f"the certificate of the hub at {address} is not trusted: self-signed certificate; "
            "name its certificate authority with --tls-ca FILE",
        ),
        ((), f"the hub at {address} speaks TLS; give --tls or --tls-ca FILE"),
    ):
        done = ask(mutual, command, *arguments)
        assert (done.code, done.out, done.err) == (3, "", f"llm-hub: {why}\n")


def test_a_hub_without_tls_is_reported(mutual: MutualTls, tmp_path: Path) -> None:
    with running_hub(tmp_path / "data") as plain:
        done = ask(mutual, "snapshot", "--hub", plain.grpc, "--tls-ca", str(mutual.own.cert))
        assert done.code == 3
        assert f"the server at {plain.grpc} does not speak TLS" in done.err


def test_unusable_certificate_files_are_named(mutual: MutualTls, tmp_path: Path) -> None:
    client, missing, garbage = mutual.client, tmp_path / "missing.pem", tmp_path / "garbage.pem"
    garbage.write_text("nothing")
    for cert, key, why in (
        (missing, client.key, f"--tls-cert: {missing}: No such file or directory"),
        (garbage, client.key, f"--tls-cert: {garbage}: contains no PEM certificate"),
        (client.cert, missing, f"--tls-key: {missing}: No such file or directory"),
        (client.cert, garbage, f"--tls-key: {garbage}: contains no PEM key"),
        (
            client.cert,
            mutual.stranger.key,
            f"--tls-key: {mutual.stranger.key} is not the key of {client.cert}",
        ),
    ):
        done = ask(mutual, "snapshot", "--tls-cert", str(cert), "--tls-key", str(key))
        assert (done.code, done.err) == (2, f"llm-hub: {why}\n")
    done = ask(mutual, "snapshot", "--tls-key", str(client.key))
    assert "a key requires a certificate" in done.err
    done = ask(mutual, "snapshot", "--tls-cert", str(client.cert))
    assert f"--tls-cert: {client.cert}: contains no PEM key" in done.err

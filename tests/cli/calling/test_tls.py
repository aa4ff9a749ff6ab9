"""The command and TLS, against real hubs: with certificates, and the messages without."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.cli.calling import tls
from tests.support.certificates import Certificate
from tests.support.command import Outcome, llm_hub
from tests.support.hub_process import running_hub
from tests.support.mutual_tls import MutualTls, mutual_tls_hub


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MutualTls]:
    with mutual_tls_hub(tmp_path_factory.mktemp("tls")) as running:
        yield running


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handshake on a busy machine takes longer than a person would wait."""
    monkeypatch.setattr(tls, "_TIMEOUT_S", 60.0)


def ask(mutual: MutualTls, *arguments: str, **environment: object) -> Outcome:
    known = {"LLM_HUB_ADDRESS": mutual.hub.grpc, "LLM_HUB_TOKEN": mutual.hub.admin_token}
    return llm_hub(*arguments, env=known | {name: str(to) for name, to in environment.items()})


def shown(certificate: Certificate) -> tuple[str, ...]:
    return ("--tls-cert", str(certificate.cert), "--tls-key", str(certificate.key))


def test_a_certificate_is_shown_by_options_before_and_after_the_name(mutual: MutualTls) -> None:
    ca = ("--tls-ca", str(mutual.own.cert))
    for arguments in (
        ("snapshot", *ca, *shown(mutual.client)),
        (*ca, *shown(mutual.client), "snapshot"),
    ):
        done = ask(mutual, *arguments, "-o", "json")
        assert (done.code, done.err) == (0, "")
        assert json.loads(done.out)["endpoints"] == []


def test_a_certificate_is_shown_by_variables(mutual: MutualTls) -> None:
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
def test_why_there_is_no_handshake(mutual: MutualTls, command: str) -> None:
    ca, address = ("--tls-ca", str(mutual.own.cert)), mutual.hub.grpc
    for arguments, why in (
        (
            ca,
            f"the hub at {address} demands a certificate; give --tls-cert FILE and --tls-key FILE",
        ),
        (
            (*ca, *shown(mutual.stranger)),
            f"the hub at {address} does not accept the certificate in {mutual.stranger.cert}",
        ),
        (
            shown(mutual.client),
            f"the certificate of the hub at {address} is not trusted: self-signed certificate; "
            "give its authority with --tls-ca FILE",
        ),
        ((), f"the hub at {address} speaks TLS; give --tls or --tls-ca FILE"),
    ):
        done = ask(mutual, command, *arguments)
        assert (done.code, done.out, done.err) == (3, "", f"llm-hub: {why}\n")


def test_a_hub_without_tls_is_named(mutual: MutualTls, tmp_path: Path) -> None:
    with running_hub(tmp_path / "data") as plain:
        done = ask(mutual, "snapshot", "--hub", plain.grpc, "--tls-ca", str(mutual.own.cert))
        assert done.code == 3
        assert f"what answers at {plain.grpc} speaks no TLS" in done.err


def test_unusable_files_are_named(mutual: MutualTls, tmp_path: Path) -> None:
    client, missing, garbage = mutual.client, tmp_path / "missing.pem", tmp_path / "garbage.pem"
    garbage.write_text("nothing")
    for cert, key, why in (
        (missing, client.key, f"--tls-cert: {missing}: No such file or directory"),
        (garbage, client.key, f"--tls-cert: {garbage}: no certificate in PEM"),
        (client.cert, missing, f"--tls-key: {missing}: No such file or directory"),
        (client.cert, garbage, f"--tls-key: {garbage}: no key in PEM"),
        (
            client.cert,
            mutual.stranger.key,
            f"--tls-key: {mutual.stranger.key} is not the key of {client.cert}",
        ),
    ):
        done = ask(mutual, "snapshot", "--tls-cert", str(cert), "--tls-key", str(key))
        assert (done.code, done.err) == (2, f"llm-hub: {why}\n")
    done = ask(mutual, "snapshot", "--tls-key", str(client.key))
    assert "without a certificate it is of no use" in done.err
    done = ask(mutual, "snapshot", "--tls-cert", str(client.cert))
    assert f"--tls-cert: {client.cert}: no key in PEM" in done.err

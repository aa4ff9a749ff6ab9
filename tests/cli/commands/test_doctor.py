import json
import socket
from pathlib import Path

from tests.support.command import Outcome, llm_hub
from tests.support.hub_process import HubProcess, running_hub
from tests.support.mutual_tls import mutual_tls_hub


def doctor(hub: HubProcess, *arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    done: Outcome = llm_hub("doctor", "-o", "json", *arguments, env=hub.environment)
    assert done.err == ""
    return done.code, {each["what"]: each for each in json.loads(done.out)["findings"]}


def test_problems_become_findings_with_advice(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data") as hub:
        code, findings = doctor(hub)
        assert code == 0
        wrong = {what for what, each in findings.items() if each["level"] != "ok"}
        assert wrong == {"endpoints"}
        assert {"data directory", "token file", "store", "clock", "hub"} <= set(findings)
        assert {"gRPC server", "WebSocket server", "HTTP server", "tokens"} <= set(findings)
        token = hub.data_dir / "admin.token"
        token.chmod(0o644)
        registered = llm_hub("register", "127.0.0.1:1", "--agent", "gpu-1", env=hub.environment)
        assert registered.code == 0
        code, findings = doctor(hub)
        assert code == 8
        assert findings["token file"]["level"] == "failed"
        assert "chmod 600" in findings["token file"]["advice"]
        assert findings["endpoint 127.0.0.1:1"]["found"] == "connection refused"
        assert "start the server" in findings["endpoint 127.0.0.1:1"]["advice"]
        assert findings["sidecars"]["found"] == "not connected: gpu-1"


def test_without_a_hub_the_ports_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(
        "".join(f"[{transport}]\naddress = '127.0.0.1:0'\n" for transport in ("ws", "grpc"))
    )
    done = llm_hub(
        "doctor",
        "--config",
        str(file),
        "--hub",
        "127.0.0.1:1",
        "--data-dir",
        str(tmp_path / "none"),
    )
    assert done.code == 8
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert rows[0] == ["LEVEL", "WHAT", "FOUND", "ADVICE"]
    by_what = {row[1]: row for row in rows[1:]}
    assert by_what["gRPC server"][0] == "failed"
    assert "llm-hub serve" in by_what["gRPC server"][3]
    assert "port http" in by_what
    assert "port ws" not in by_what


def settings_of(hub: HubProcess, file: Path, **addresses: str) -> Path:
    """The file that a hub would run with that has these ports."""
    addresses = {"ws": hub.ws, "grpc": hub.grpc, "http": hub.http} | addresses
    file.write_text(
        f"data_dir = '{hub.data_dir}'\n"
        + "".join(
            f"[{transport}]\naddress = '{address}'\n" for transport, address in addresses.items()
        )
    )
    return file


def test_the_hub_of_the_settings_is_found(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data") as hub:
        file = settings_of(hub, tmp_path / "hub.toml")
        done = llm_hub("doctor", "--config", str(file), "-o", "json")
        findings = {each["what"]: each for each in json.loads(done.out)["findings"]}
        assert (done.code, done.err) == (0, "")
        assert findings["gRPC server"]["found"] == f"{hub.grpc}: open"
        assert findings["HTTP server"]["level"] == "ok"


def test_a_port_in_use_fails_unless_a_hub_uses_it(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data") as hub, socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        file = settings_of(hub, tmp_path / "hub.toml")
        arguments = ("doctor", "--hub", "127.0.0.1:1", "-o", "json", "--config", str(file))
        done = llm_hub(*arguments)
        findings = {each["what"]: each for each in json.loads(done.out)["findings"]}
        for transport, address in (("ws", hub.ws), ("grpc", hub.grpc), ("http", hub.http)):
            assert findings[f"port {transport}"]["level"] == "ok"
            assert findings[f"port {transport}"]["found"] == f"{address}: in use by a running hub"
        assert findings["port grpc"]["advice"] == f"to look at that hub: --hub {hub.grpc}"
        failed = {what for what, each in findings.items() if each["level"] == "failed"}
        assert failed == {"gRPC server"}, "the one that was named"
        settings_of(hub, file, http=taken, ws=hub.http)
        findings = {each["what"]: each for each in json.loads(llm_hub(*arguments).out)["findings"]}
        assert findings["port grpc"]["level"] == "ok"
        for transport in ("ws", "http"):
            assert findings[f"port {transport}"]["level"] == "failed"
            assert "another program uses it" in findings[f"port {transport}"]["advice"]


def test_the_owner_of_a_tls_port_is_unknown_without_certificates(tmp_path: Path) -> None:
    with mutual_tls_hub(tmp_path) as mutual:
        file = settings_of(mutual.hub, tmp_path / "settings.toml")
        with file.open("a") as more:
            more.write(
                f"[tls]\ncert_file = '{mutual.own.cert}'\nkey_file = '{mutual.own.key}'\n"
                f"client_ca_file = '{mutual.client.cert}'\n"
            )
        ca = ("--tls-ca", str(mutual.own.cert))
        shown = ("--tls-cert", str(mutual.client.cert), "--tls-key", str(mutual.client.key))
        for arguments, level in (((), "warning"), (ca, "warning"), ((*ca, *shown), "ok")):
            done = llm_hub(
                *("doctor", "--hub", "127.0.0.1:1", "-o", "json", "--config", str(file)), *arguments
            )
            findings = {each["what"]: each for each in json.loads(done.out)["findings"]}
            for transport in ("ws", "grpc", "http"):
                assert findings[f"port {transport}"]["level"] == level
                assert (
                    "cannot tell whether by a hub" in findings[f"port {transport}"]["found"]
                ) == (level != "ok")


def test_invalid_settings_are_a_finding(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text("[ws\n")
    done = llm_hub("doctor", "--config", str(file), "--hub", "127.0.0.1:1")
    assert done.code == 8
    assert "not TOML" in done.out


def test_a_wrong_token_is_a_finding(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data") as hub:
        code, findings = doctor(hub, "--token", "llmhub_no_such")
        assert code == 8
        assert findings["hub"]["level"] == "failed"
        assert findings["hub"]["found"].endswith(" [INVALID_TOKEN]")
        assert findings["hub"]["advice"] is None

import subprocess

import pytest
import yaml

from hub.cli.output.envoy_bootstrap import Bootstrap
from tests.scenarios.test_tools import tool
from tests.support.authority import Authority


def parsed(**fields: object) -> dict:
    return yaml.safe_load(Bootstrap(hub="127.0.0.1:50051", token="llmhub_x", **fields).text())


def cluster(config: dict, name: str) -> dict:
    return next(each for each in config["static_resources"]["clusters"] if each["name"] == name)


def test_the_token_is_in_both_places_whatever_it_contains():
    text = Bootstrap(hub="127.0.0.1:1", token='a"b\\c{d}: #').text()
    config = yaml.safe_load(text)
    (ads,) = config["dynamic_resources"]["ads_config"]["grpc_services"]
    assert ads["initial_metadata"] == [{"key": "authorization", "value": 'Bearer a"b\\c{d}: #'}]
    assert str(config).count("Bearer a") == 2


def test_the_admin_interface_is_off_unless_asked_for():
    assert "admin" not in parsed()
    address = parsed(admin="127.0.0.1:9901")["admin"]["address"]["socket_address"]
    assert address == {"address": "127.0.0.1", "port_value": 9901}


@pytest.mark.parametrize(
    ("hub", "kind", "host"),
    [
        ("127.0.0.1:1", "STATIC", "127.0.0.1"),
        ("[::1]:1", "STATIC", "::1"),
        ("hub.lan:1", "STRICT_DNS", "hub.lan"),
    ],
)
def test_names_are_resolved_and_numbers_are_not(hub, kind, host):
    found = cluster(yaml.safe_load(Bootstrap(hub=hub, token="x").text()), "hub")
    assert found["type"] == kind
    assert f"'address': '{host}'" in str(found)


@pytest.mark.parametrize("with_tls", [False, True])
def test_envoy_accepts_it(tmp_path, with_tls):
    fields = {"admin": "127.0.0.1:0", "retries": 3, "idle_s": 30}
    if with_tls:
        authority = Authority(tmp_path)
        tls = authority.settings()
        fields |= {
            "hub_ca": str(tls["client_ca_file"]),
            "hub_cert": str(tls["cert_file"]),
            "hub_key": str(tls["key_file"]),
            "cert": str(tls["cert_file"]),
            "key": str(tls["key_file"]),
        }
    config = tmp_path / "envoy.yaml"
    config.write_text(Bootstrap(hub="127.0.0.1:50051", token="x", **fields).text())
    done = subprocess.run(
        [tool("envoy"), "--mode", "validate", "--use-dynamic-base-id", "-c", str(config)],
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()

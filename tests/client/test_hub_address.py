import pytest

from hub.client.hub_address import DEFAULT_ADDRESS, METHODS, OPTIONS, Target, Tls
from hub.contract.rpcs import RPCS
from llmhub.v1.resources_pb2 import ROLE_SIDECAR


def test_missing_options_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLM_HUB_ADDRESS", raising=False)
    monkeypatch.delenv("LLM_HUB_TOKEN", raising=False)
    assert Target.of(None, None, None) == Target(DEFAULT_ADDRESS, "")
    assert Target.of(None, None, None).metadata == ()
    monkeypatch.setenv("LLM_HUB_ADDRESS", "hub:1")
    monkeypatch.setenv("LLM_HUB_TOKEN", "secret")
    found = Target.of(None, None, None)
    assert found == Target("hub:1", "secret")
    assert found.metadata == (("authorization", "Bearer secret"),)
    assert Target.of("other:2", "", None) == Target("other:2", "")


def test_secrets_are_not_shown() -> None:
    shown = repr(Target("hub:1", "secret", Tls(private_key=b"key")))
    assert "secret" not in shown
    assert "key" not in shown.replace("private_key", "")


def test_the_server_name_is_a_channel_option() -> None:
    assert Target("h:1", "").options == OPTIONS
    assert Target("h:1", "", Tls()).options == OPTIONS
    own = Target("h:1", "", channel_options=[("grpc.keepalive_time_ms", 1)]).options
    assert dict(own) == dict(OPTIONS) | {"grpc.keepalive_time_ms": 1}
    named = Target("h:1", "", Tls(server_name="hub.example"))
    assert ("grpc.ssl_target_name_override", "hub.example") in named.options


def test_every_rpc_for_readers_and_admins_can_be_called() -> None:
    wanted = {rpc.name: rpc for rpc in RPCS if rpc.role != ROLE_SIDECAR}
    assert {name: method.path for name, method in METHODS.items()} == {
        name: rpc.path for name, rpc in wanted.items()
    }

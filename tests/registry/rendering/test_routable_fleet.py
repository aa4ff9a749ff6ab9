import pytest

from hub.registry.rendering.routable_fleet import UnusableKey, api_keys, routable_fleet
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    ADMIN_STATE_DRAINING,
    FAULT_DEAD,
    STATUS_UNHEALTHY,
    STATUS_UNKNOWN,
    Endpoint,
)
from llmhub.v1.model_alias_pb2 import AliasTarget, ModelAlias
from tests.support.routable import KEYS, LLAMA, QWEN, endpoint, fleet_of, mixed_fleet, model


def changed(**fields: object) -> Endpoint:
    made = endpoint("127.0.0.1:9", model(LLAMA))
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    "fields",
    [
        {"status": STATUS_UNHEALTHY},
        {"status": STATUS_UNKNOWN},
        {"fault": FAULT_DEAD},
        {"admin_state": ADMIN_STATE_DRAINING},
        {"admin_state": ADMIN_STATE_DISABLED},
        {"same_server_as": "127.0.0.1:8"},
    ],
)
def test_what_must_not_get_requests_is_not_routable(fields: dict[str, object]) -> None:
    assert len(fleet_of(changed()).servers) == 1
    fleet = fleet_of(changed(**fields))
    assert (fleet.servers, fleet.models) == ((), {})


def test_the_order_does_not_depend_on_the_order_of_the_endpoints() -> None:
    endpoints = [endpoint(f"127.0.0.{n}:1", model("b"), model("a")) for n in (3, 1, 2)]
    assert routable_fleet(endpoints) == routable_fleet(endpoints[::-1])
    fleet = routable_fleet(endpoints)
    assert [server.id for server in fleet.servers] == ["127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1"]
    assert list(fleet.models) == ["a", "b"]


def test_an_alias_is_where_a_model_is_that_it_means() -> None:
    fleet = mixed_fleet()
    found = {(each.server.id, each.model.name) for each in fleet.aliases["big"]}
    assert found == {
        ("127.0.0.1:8001", LLAMA),
        ("127.0.0.1:8002", QWEN),
        ("[::1]:8003", QWEN),
        ("localhost:8004", QWEN),
    }


def test_an_alias_hides_the_model_of_its_name_and_needs_a_server() -> None:
    aliases = [
        ModelAlias(name=LLAMA, targets=[AliasTarget(model=QWEN)]),
        ModelAlias(name="none", targets=[AliasTarget(model="absent")]),
    ]
    fleet = fleet_of(endpoint("127.0.0.1:1", model(LLAMA), model(QWEN)), aliases=aliases)
    assert list(fleet.models) == [QWEN]
    assert [each.model.name for each in fleet.aliases[LLAMA]] == [QWEN]
    assert list(fleet.aliases) == [LLAMA]


def test_urls_have_brackets_and_the_base_path() -> None:
    urls = {server.id: (server.origin, server.url) for server in mixed_fleet().servers}
    assert urls["[::1]:8003"] == ("http://[::1]:8003", "http://[::1]:8003")
    assert urls["127.0.0.1:8002"] == ("http://127.0.0.1:8002", "http://127.0.0.1:8002/gpu")


def test_a_key_is_a_variable_unless_its_value_is_asked_for() -> None:
    keyed = endpoint("127.0.0.1:1", labels={"api-key-env": "VLLM_KEY"})
    (referred,) = api_keys([keyed]).values()
    assert (referred.variable, referred.value) == ("VLLM_KEY", None)
    (given,) = api_keys([keyed], KEYS).values()
    assert given.value == KEYS["VLLM_KEY"]
    assert given.value not in repr(given)


@pytest.mark.parametrize(
    ("variable", "environment", "wrong"),
    [
        ("a b", None, "'a b' is not the name of a variable"),
        ("1A", None, "'1A' is not the name of a variable"),
        ("A", {}, "the variable A is not set"),
        ("A", {"A": "key\nevil"}, "the variable A has no bearer token"),
        ("A", {"A": 'key"'}, "the variable A has no bearer token"),
        ("A", {"A": "$HOME"}, "the variable A has no bearer token"),
    ],
)
def test_an_unusable_key_is_refused_by_its_endpoint(
    variable: str, environment: dict[str, str] | None, wrong: str
) -> None:
    keyed = endpoint("127.0.0.1:1", labels={"api-key-env": variable})
    with pytest.raises(UnusableKey) as refused:
        api_keys([keyed], environment)
    assert str(refused.value).startswith("127.0.0.1:1: ")
    assert wrong in str(refused.value)
    assert "evil" not in str(refused.value)

from hub.registry.rendering.haproxy_config import haproxy_config
from tests.support.routable import (
    HOSTILE,
    KEYS,
    LLAMA,
    QWEN,
    endpoint,
    fleet_of,
    mixed_fleet,
    model,
)

LISTEN = "127.0.0.1:8090"


def test_a_backend_is_chosen_by_path_and_by_body() -> None:
    text = haproxy_config(fleet_of(endpoint("127.0.0.1:8000", model(LLAMA))), LISTEN)
    assert f'if {{ path_beg "/models/{LLAMA}/" }}\n' in text
    assert f'if {{ var(txn.model) -m str "{LLAMA}" }}\n' in text
    assert "    server 127_0_0_1_8000 127.0.0.1:8000 check" in text
    assert f"    bind {LISTEN}\n" in text


def test_servers_of_tls_are_verified_by_their_name() -> None:
    secure = endpoint("gpu.test:443", model(QWEN), scheme="https", base_path="/llm")
    text = haproxy_config(fleet_of(secure), LISTEN)
    assert "ssl verify required ca-file @system-ca sni str(gpu.test)\n" in text
    assert 'http-request set-path "/llm%[path]"\n' in text


def test_a_key_is_a_variable_unless_it_is_given() -> None:
    keyed = endpoint("127.0.0.1:1", model("m"), labels={"api-key-env": "VLLM_KEY"})
    assert '"Bearer ${VLLM_KEY}"' in haproxy_config(fleet_of(keyed), LISTEN)
    given = haproxy_config(fleet_of(keyed, environment=KEYS), LISTEN)
    assert f'"Bearer {KEYS["VLLM_KEY"]}"' in given


def test_a_hostile_name_is_only_in_a_comment() -> None:
    text = haproxy_config(mixed_fleet(), LISTEN)
    assert [line for line in text.splitlines() if "reboot" in line] == [
        f"# Left out: {HOSTILE!a}, not a name for a path"
    ]

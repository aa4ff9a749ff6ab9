from hub.registry.rendering.nginx_config import nginx_config
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


def test_a_location_leads_to_the_models_group() -> None:
    endpoints = [endpoint(f"127.0.0.{n}:8000", model(LLAMA)) for n in (1, 2)]
    text = nginx_config(fleet_of(*endpoints), LISTEN)
    assert "    server 127.0.0.1:8000 max_fails=2 fail_timeout=5s;\n" in text
    assert "    server 127.0.0.2:8000 max_fails=2 fail_timeout=5s;\n" in text
    assert f'    location ^~ "/models/{LLAMA}/" {{\n' in text
    assert f"    listen {LISTEN};\n" in text


def test_servers_of_tls_are_verified_by_their_name() -> None:
    secure = endpoint("gpu.test:443", model(QWEN), scheme="https", base_path="/llm")
    text = nginx_config(fleet_of(secure), LISTEN)
    for line in (
        "proxy_ssl_verify on;",
        "proxy_ssl_server_name on;",
        "proxy_ssl_name gpu.test;",
        "proxy_set_header Host gpu.test;",
    ):
        assert f"        {line}\n" in text
    assert "/llm/;\n" in text


def test_a_key_is_written_only_if_it_is_asked_for() -> None:
    assert f'"Bearer {KEYS["VLLM_KEY"]}"' in nginx_config(mixed_fleet(KEYS), LISTEN)
    without = nginx_config(mixed_fleet(), LISTEN)
    assert "Authorization" not in without
    assert "# Needs the API key in VLLM_KEY" in without


def test_a_hostile_name_is_only_in_a_comment() -> None:
    text = nginx_config(mixed_fleet(), LISTEN)
    assert [line for line in text.splitlines() if "reboot" in line] == [
        f"# Left out: {HOSTILE!a}, not a name for a path"
    ]

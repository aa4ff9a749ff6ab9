import yaml

from hub.registry.rendering.olla_config import olla_config
from tests.support.routable import KEYS, LLAMA, QWEN, fleet_of, mixed_fleet

# The fields of `discovery.static.endpoints` in Olla's configuration reference, and the types of
# its profiles.
FIELDS = {"url", "name", "type", "priority", "preserve_path", "auth"}
TYPES = {"ollama", "lm-studio", "llamacpp", "vllm", "sglang", "lemonade", "litellm"} | {
    "openai-compatible",
    "docker-model-runner",
    "lmdeploy",
}


def test_each_server_is_a_static_endpoint() -> None:
    config = yaml.safe_load(olla_config(mixed_fleet()))
    assert config["discovery"]["type"] == "static"
    endpoints = {each["name"]: each for each in config["discovery"]["static"]["endpoints"]}
    assert set(endpoints) == {"127.0.0.1:8001", "127.0.0.1:8002", "[::1]:8003", "localhost:8004"}
    for each in endpoints.values():
        assert set(each) <= FIELDS
        assert each["type"] in TYPES
    assert endpoints["127.0.0.1:8001"] == {
        "url": "http://127.0.0.1:8001",
        "name": "127.0.0.1:8001",
        "type": "ollama",
        "priority": 100,
    }
    assert endpoints["127.0.0.1:8002"]["preserve_path"] is True
    assert endpoints["127.0.0.1:8002"]["auth"] == {"type": "bearer", "token": "${VLLM_KEY}"}
    assert config["model_aliases"] == {"big": [QWEN, LLAMA]}


def test_a_key_that_is_asked_for_is_written() -> None:
    assert "${VLLM_KEY}" not in olla_config(mixed_fleet(KEYS))
    assert KEYS["VLLM_KEY"] in olla_config(mixed_fleet(KEYS))


def test_an_empty_fleet_has_no_endpoints() -> None:
    assert yaml.safe_load(olla_config(fleet_of())) == {
        "discovery": {"type": "static", "static": {"endpoints": []}}
    }

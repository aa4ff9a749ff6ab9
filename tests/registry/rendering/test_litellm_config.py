from typing import Any

import yaml

from hub.registry.rendering.litellm_config import litellm_config
from tests.support.routable import HOSTILE, KEYS, LLAMA, NOMIC, QWEN, fleet_of, mixed_fleet


def entries(text: str) -> dict[str, dict[str, Any]]:
    """The entries by their id."""
    return {each["model_info"]["id"]: each for each in yaml.safe_load(text)["model_list"]}


def test_each_model_on_each_server_is_a_deployment() -> None:
    found = entries(litellm_config(mixed_fleet()))
    assert {id_ for id_, each in found.items() if each["model_name"] == QWEN} == {
        f"127.0.0.1:8002/{QWEN}",
        f"[::1]:8003/{QWEN}",
        f"localhost:8004/{QWEN}",
    }
    assert found[f"127.0.0.1:8001/{LLAMA}"] == {
        "model_name": LLAMA,
        "litellm_params": {
            "model": f"ollama_chat/{LLAMA}",
            "api_base": "http://127.0.0.1:8001",
        },
        "model_info": {"id": f"127.0.0.1:8001/{LLAMA}", "max_input_tokens": 8192},
    }
    assert found[f"[::1]:8003/{QWEN}"]["litellm_params"] == {
        "model": f"openai/{QWEN}",
        "api_base": "http://[::1]:8003/v1",
        "api_key": "none",
    }


def test_an_embedding_model_has_that_mode() -> None:
    found = entries(litellm_config(mixed_fleet()))[f"127.0.0.1:8001/{NOMIC}"]
    assert found["litellm_params"]["model"] == f"ollama/{NOMIC}"
    assert found["model_info"]["mode"] == "embedding"


def test_an_alias_is_a_name_for_each_servers_own_model() -> None:
    found = entries(litellm_config(mixed_fleet()))
    own = {id_: each["litellm_params"]["model"] for id_, each in found.items() if "/big" in id_}
    assert own["127.0.0.1:8001/big"] == f"ollama_chat/{LLAMA}"
    assert own["127.0.0.1:8002/big"] == f"hosted_vllm/{QWEN}"


def test_a_key_is_read_from_the_environment_unless_it_is_given() -> None:
    id_ = f"127.0.0.1:8002/{QWEN}"
    referring, given = (entries(litellm_config(mixed_fleet(env)))[id_] for env in (None, KEYS))
    assert referring["litellm_params"]["api_key"] == "os.environ/VLLM_KEY"
    assert given["litellm_params"]["api_key"] == KEYS["VLLM_KEY"]
    assert referring["litellm_params"]["api_base"] == "http://127.0.0.1:8002/gpu/v1"


def test_a_hostile_name_stays_a_name() -> None:
    assert entries(litellm_config(mixed_fleet()))[f"127.0.0.1:8002/{HOSTILE}"]


def test_an_empty_fleet_is_an_empty_list() -> None:
    assert yaml.safe_load(litellm_config(fleet_of())) == {"model_list": []}

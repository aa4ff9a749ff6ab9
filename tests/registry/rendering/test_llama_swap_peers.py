import jsonschema
import yaml

from hub.registry.rendering.llama_swap_peers import llama_swap_config
from tests.support.routable import KEYS, QWEN, endpoint, fleet_of, mixed_fleet, model

# What config-schema.json of llama-swap says about `peers`.
SCHEMA = {
    "type": "object",
    "required": ["models"],
    "additionalProperties": False,
    "properties": {
        "models": {"type": "object"},
        "peers": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["proxy", "models"],
                "additionalProperties": False,
                "properties": {
                    "proxy": {"type": "string", "format": "uri"},
                    "apiKey": {"type": "string"},
                    "models": {"type": "array", "items": {"type": "string", "minLength": 1}},
                },
            },
        },
    },
}


def where(text: str) -> dict[str, str]:
    """The peer of each model."""
    peers = yaml.safe_load(text)["peers"]
    return {name: id_ for id_, peer in peers.items() for name in peer["models"]}


def test_it_meets_the_programs_schema() -> None:
    for environment in (None, KEYS):
        config = yaml.safe_load(llama_swap_config(mixed_fleet(environment)))
        jsonschema.validate(config, SCHEMA)
    jsonschema.validate(yaml.safe_load(llama_swap_config(fleet_of())), SCHEMA)


def test_each_model_has_one_peer() -> None:
    fleet = mixed_fleet()
    listed = [
        name
        for peer in yaml.safe_load(llama_swap_config(fleet))["peers"].values()
        for name in peer["models"]
    ]
    assert sorted(listed) == sorted(fleet.models)


def test_a_key_is_a_variable_unless_it_is_given() -> None:
    keyed = endpoint("127.0.0.1:1", model("m"), labels={"api-key-env": "VLLM_KEY"})
    referring = yaml.safe_load(llama_swap_config(fleet_of(keyed)))
    given = yaml.safe_load(llama_swap_config(fleet_of(keyed, environment=KEYS)))
    assert referring["peers"]["127.0.0.1:1"]["apiKey"] == "${env.VLLM_KEY}"
    assert given["peers"]["127.0.0.1:1"]["apiKey"] == KEYS["VLLM_KEY"]


def test_a_server_that_leaves_moves_only_its_own_models() -> None:
    models = [model(f"{QWEN}-{number}") for number in range(40)]
    endpoints = [endpoint(f"127.0.0.{number}:1", *models) for number in range(1, 6)]
    before = where(llama_swap_config(fleet_of(*endpoints)))
    after = where(llama_swap_config(fleet_of(*endpoints[1:])))
    assert len(set(before.values())) == 5
    moved = {name for name in before if before[name] != after[name]}
    assert moved == {name for name, id_ in before.items() if id_ == "127.0.0.1:1"}

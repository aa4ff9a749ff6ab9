import yaml

from hub.registry.rendering.traefik_config import traefik_config, traefik_dynamic
from tests.support.routable import KEYS, LLAMA, QWEN, endpoint, fleet_of, mixed_fleet, model


def test_a_router_leads_to_the_models_servers() -> None:
    endpoints = [endpoint(f"127.0.0.{n}:8000", model(LLAMA)) for n in (1, 2)]
    http = traefik_dynamic(fleet_of(*endpoints))["http"]
    ((name, router),) = http["routers"].items()
    assert router["rule"] == f"PathPrefix(`/models/{LLAMA}/`)"
    assert router["service"] == name
    assert http["services"][name]["loadBalancer"]["servers"] == [
        {"url": "http://127.0.0.1:8000"},
        {"url": "http://127.0.0.2:8000"},
    ]
    assert http["middlewares"][router["middlewares"][0]] == {
        "stripPrefix": {"prefixes": [f"/models/{LLAMA}"]}
    }


def test_a_base_path_and_a_given_key_are_added() -> None:
    keyed = endpoint(
        "127.0.0.1:1", model(QWEN), base_path="/gpu", labels={"api-key-env": "VLLM_KEY"}
    )
    referring, given = (
        traefik_dynamic(fleet_of(keyed, environment=env))["http"]["middlewares"]
        for env in (None, KEYS)
    )
    assert [list(each) for each in referring.values()] == [["stripPrefix"], ["addPrefix"]]
    assert [list(each) for each in given.values()] == [["stripPrefix"], ["addPrefix"], ["headers"]]
    assert list(given.values())[2] == {
        "headers": {"customRequestHeaders": {"Authorization": f"Bearer {KEYS['VLLM_KEY']}"}}
    }


def test_the_text_has_the_same_values_and_remarks() -> None:
    text = traefik_config(mixed_fleet())
    assert yaml.safe_load(text) == traefik_dynamic(mixed_fleet())
    assert "# Left out: alias 'big'" in text


def test_an_empty_fleet_has_no_sections() -> None:
    assert traefik_dynamic(fleet_of()) == {}

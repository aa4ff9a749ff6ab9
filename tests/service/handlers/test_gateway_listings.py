import orjson
import pytest

from hub.base.timestamps import to_timestamp
from hub.contract.errors import ModelUnknown
from hub.registry.state import Registry
from hub.service.access.caller import Caller, Principal
from hub.service.access.scopes import compiled
from hub.service.handlers.gateway_listings import GatewayListings
from llmhub.v1.endpoint_pb2 import BACKEND_OLLAMA, BACKEND_VLLM
from llmhub.v1.model_alias_pb2 import AliasTarget, ModelAlias
from llmhub.v1.resources_pb2 import ROLE_READER, TokenScope
from tests.support.fleet_of import NOW, add, loaded

CALLER = Caller(Principal(ROLE_READER, "", "t"), "10.0.0.9", "grpc")
PART = Caller(
    Principal(ROLE_READER, "", "t", scope=compiled(TokenScope(models=["o", "best"]))),
    "10.0.0.9",
    "grpc",
)


@pytest.fixture
def registry() -> Registry:
    filled = Registry(first_revision=1_000)
    add(filled, "10.0.0.1:1", loaded("v"), backend=BACKEND_VLLM)
    add(
        filled,
        "10.0.0.2:1",
        loaded("o", digest="abc", size_bytes=5, family="llama", quantization="Q4_0"),
        loaded("p"),
        backend=BACKEND_OLLAMA,
        registered_at=to_timestamp(NOW),
    )
    filled.put_alias(ModelAlias(name="best", targets=[AliasTarget(model="o")]))
    filled.put_alias(ModelAlias(name="worst", targets=[AliasTarget(model="v")]))
    return filled


def names(body: bytes) -> list[str]:
    return [each["name"] for each in orjson.loads(body)["models"]]


async def test_tags_are_what_ollamas_paths_can_serve(registry: Registry):
    listings = GatewayListings(registry)
    body = await listings.list_ollama_models(None, CALLER, NOW)
    assert names(body) == ["best", "o", "p"]
    model = orjson.loads(body)["models"][1]
    assert (model["model"], model["digest"], model["size"]) == ("o", "abc", 5)
    assert model["details"]["quantization_level"] == "Q4_0"
    assert await listings.list_ollama_models(None, CALLER, NOW) is body
    registry.remove_endpoint("10.0.0.2:1")
    assert names(await listings.list_ollama_models(None, CALLER, NOW)) == []


async def test_a_scope_limits_the_lists(registry: Registry):
    listings = GatewayListings(registry)
    assert names(await listings.list_ollama_models_in_view(None, PART, NOW)) == ["best", "o"]
    listed = orjson.loads(listings.list_openai_models_in_view(None, PART, NOW))
    assert [(each["id"], each["owned_by"]) for each in listed["data"]] == [
        ("o", "fleet"),
        ("best", "alias"),
    ]
    with pytest.raises(ModelUnknown):
        listings.get_openai_model_in_view("p", PART, NOW)


def test_one_model_is_found_by_its_name_or_an_alias(registry: Registry):
    listings = GatewayListings(registry)
    found = orjson.loads(listings.get_openai_model("o", CALLER, NOW))
    assert found == {"id": "o", "object": "model", "created": NOW // 1000, "owned_by": "fleet"}
    assert orjson.loads(listings.get_openai_model("best", CALLER, NOW))["owned_by"] == "alias"
    with pytest.raises(ModelUnknown):
        listings.get_openai_model("none", CALLER, NOW)


def test_a_gateway_is_told_who_it_is(registry: Registry):
    assert GatewayListings(registry).process_requests(None, CALLER, NOW) is CALLER

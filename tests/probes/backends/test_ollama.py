import pytest

from hub.base.bounds import MODEL_BYTES_PER_ENDPOINT
from hub.probes.backends.ollama import (
    merge,
    parse_expiry,
    parse_ps,
    parse_tags,
    same_name,
)
from hub.probes.faults import BadAnswer, WrongKind
from llmhub.v1.endpoint_pb2 import (
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_UNSPECIFIED,
    Endpoint,
)
from tests.support.observing import running_engine, target_of
from tools.fleetsim import FakeOllama, Fleet
from tools.fleetsim.ollama import OllamaModel

TAG = {
    "name": "llama3.1:8b",
    "model": "llama3.1:8b",
    "modified_at": "2026-05-04T17:37:44.706015396-07:00",
    "size": 4661224676,
    "digest": "365c0bd3c000",
    "details": {
        "family": "llama",
        "parameter_size": "8.0B",
        "quantization_level": "Q4_K_M",
        "context_length": 131072,
    },
    "capabilities": ["completion", "tools", "tools", 7, ""],
}


def test_a_model_on_disk_has_every_fact_that_ollama_reports():
    (model,) = parse_tags({"models": [TAG]})
    assert model.name == "llama3.1:8b"
    assert model.digest == "365c0bd3c000"
    assert model.size_bytes == 4661224676
    assert (model.family, model.parameter_size, model.quantization) == ("llama", "8.0B", "Q4_K_M")
    assert model.context_length == 131072
    assert model.state == MODEL_STATE_AVAILABLE
    assert list(model.capabilities) == ["completion", "tools"]
    assert model.capabilities_known
    assert not model.HasField("vram_bytes")


def test_missing_or_invalid_values_are_absent():
    odd = {"name": "x", "size": "big", "digest": 5, "details": [], "capabilities": {"a": 1}}
    (model,) = parse_tags({"models": [odd, None, 7, {"name": ""}, {"name": "y" * 600}]})
    assert model.name == "x"
    fields = ("digest", "size_bytes", "family", "quantization", "context_length")
    assert not any(model.HasField(field) for field in fields)
    assert not model.capabilities_known


def test_models_are_sorted_without_duplicate_names():
    names = ["b:1", "a:1", "b:1"]
    models = parse_tags({"models": [{"model": name} for name in names]})
    assert [model.name for model in models] == ["a:1", "b:1"]


def test_a_cloud_model_is_neither_on_disk_nor_loaded():
    cloud = {"name": "gpt-oss:120b-cloud", "remote_host": "https://ollama.com:443", "size": 384}
    (model,) = parse_tags({"models": [cloud]})
    assert model.state == MODEL_STATE_UNSPECIFIED
    assert list(model.capabilities) == ["cloud"]
    assert not model.HasField("size_bytes")


@pytest.mark.parametrize("value", [None, [], 5, {}, {"models": {}}, {"models": [], "data": []}])
def test_an_answer_without_an_ollama_list_is_another_kind(value):
    with pytest.raises(WrongKind):
        parse_tags(value)


def test_a_null_list_is_an_empty_one():
    assert parse_tags({"models": None}) == []
    assert parse_ps({"models": None}) == []
    with pytest.raises(BadAnswer):
        parse_ps({"model": []})


def test_models_in_memory_match_those_on_disk_under_every_spelling():
    on_disk = parse_tags({"models": [{"name": "Qwen:latest"}, TAG]})
    loaded = parse_ps(
        {
            "models": [
                {
                    "name": "library/qwen",
                    "size_vram": 5,
                    "context_length": 4096,
                    "expires_at": "2031-06-04T14:38:31.837531123+02:00",
                },
                {"name": "gone:1b"},
            ]
        }
    )
    models = {model.name: model for model in merge(on_disk, loaded)}
    assert sorted(models) == ["Qwen:latest", "gone:1b", "llama3.1:8b"]
    qwen = models["Qwen:latest"]
    assert (qwen.state, qwen.vram_bytes, qwen.context_length) == (MODEL_STATE_LOADED, 5, 4096)
    assert qwen.expires_at.ToJsonString().startswith("2031-06-04T12:38:31.837")
    assert models["gone:1b"].state == MODEL_STATE_LOADED
    assert models["gone:1b"].vram_bytes == 0
    assert models["llama3.1:8b"].state == MODEL_STATE_AVAILABLE


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("qwen", "qwen:latest"),
        ("library/qwen", "qwen"),
        ("registry.ollama.ai/library/qwen:7b", "Qwen:7B"),
        ("host:5000/me/x", "host:5000/me/x:latest"),
    ],
)
def test_spellings_of_one_name_are_equal(one: str, other: str):
    assert same_name(one) == same_name(other)


@pytest.mark.parametrize("value", ["", "soon", "0001-01-01T00:00:00Z", "9999-12-31T23:59:60Z"])
def test_invalid_or_zero_expiries_are_absent(value: str):
    assert parse_expiry(value) is None


def test_an_expiry_far_in_the_future_is_kept():
    expiry = parse_expiry("2318-09-15T05:32:01.123456789Z")
    assert expiry is not None
    assert expiry.ToJsonString() == "2318-09-15T05:32:01.123Z"


@pytest.mark.parametrize(("is_old", "capabilities"), [(False, ["completion", "tools"]), (True, [])])
async def test_old_and_new_versions_are_understood(fleet: Fleet, is_old, capabilities):
    fake = FakeOllama("a:latest", is_old=is_old, version="0.9.0")
    fake.load("a:latest", size_vram=0)
    server = await fleet.add(fake)
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        seen = await engine.check(server.id, 10)
    (model,) = seen.models or ()
    assert model.state == MODEL_STATE_LOADED
    assert model.vram_bytes == 0
    assert list(model.capabilities) == capabilities
    assert seen.version == "0.9.0"


async def test_a_version_without_ps_shows_only_models_on_disk(fleet: Fleet):
    server = await fleet.add(FakeOllama("a:latest", has_ps=False, version="0.1.30"))
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        seen = await engine.check(server.id, 10)
    assert seen.error == ""
    assert [model.name for model in seen.models or ()] == ["a:latest"]


async def test_a_hundred_models_and_thousands_more_are_bounded(fleet: Fleet):
    fake = FakeOllama()
    for number in range(5000):
        fake.pull(OllamaModel(f"m{number:04}:latest"))
    server = await fleet.add(fake)
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        seen = await engine.check(server.id, 10)
    kept = seen.models or ()
    assert 1000 < len(kept) < 4096
    assert Endpoint(models=kept).ByteSize() < MODEL_BYTES_PER_ENDPOINT + 4096 * 4


async def test_unchanged_answers_are_parsed_once(fleet: Fleet):
    fake = FakeOllama("a:latest")
    server = await fleet.add(fake)
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        first = await engine.check(server.id, 10)
        again = await engine.check(server.id, 10)
        fake.load("a:latest")
        changed = await engine.check(server.id, 10)
    assert again.models is first.models
    assert [model.state for model in changed.models or ()] == [MODEL_STATE_LOADED]


async def test_an_ollama_replaced_between_probes_shows_its_new_version(fleet: Fleet):
    server = await fleet.add(FakeOllama("a:latest", version="0.12.6"))
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        await engine.check(server.id, 10)
        server.persona = FakeOllama("a:latest", version="0.17.4")
        assert (await engine.check(server.id, 10)).version == "0.12.6"
        fleet.cut(server)
        assert (await engine.check(server.id, 10)).version == "0.17.4"

import pytest

from hub.probes import json_fields
from hub.probes.answer import JsonValue
from llmhub.v1.endpoint_pb2 import (
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_UNSPECIFIED,
    Model,
)

ODD: list[JsonValue] = [None, True, 1, 2.5, "text", [1], {"other": 1}]


@pytest.mark.parametrize("value", ODD)
def test_a_missing_key_is_absent(value: JsonValue) -> None:
    assert json_fields.member(value, "a", "b") is None
    assert json_fields.items(value, "a") is None
    assert json_fields.text(value, "a") == ""
    assert json_fields.whole(value, "a") is None
    assert json_fields.ratio(value, "a") is None
    assert json_fields.truth(value, "a") is None
    assert json_fields.words(value, "a") == []
    assert json_fields.model_name(value, "a") == ""


def test_a_path_leads_through_objects() -> None:
    value: JsonValue = {"a": {"b": [1, 2], "c": "x", "d": 0.5, "e": False}}
    assert json_fields.items(value, "a", "b") == [1, 2]
    assert json_fields.text(value, "a", "c") == "x"
    assert json_fields.ratio(value, "a", "d") == 0.5
    assert json_fields.truth(value, "a", "e") is False
    assert json_fields.member(value) is value


def test_lists_texts_and_words_are_cut_to_the_limits_of_the_contract() -> None:
    value: JsonValue = {"a": list(range(9_999)), "t": "x" * 9_999, "w": ["y" * 999, "", 5, "z"]}
    assert len(json_fields.items(value, "a") or ()) == json_fields.MAX_MODELS
    assert len(json_fields.text(value, "t")) == json_fields.MAX_TEXT
    assert len(json_fields.text(value, "t", limit=10)) == 10
    assert json_fields.words(value, "w") == ["y" * json_fields.MAX_CAPABILITY, "z"]


@pytest.mark.parametrize("number", [-0.1, 1.1, True, "0.5", float("nan")])
def test_an_invalid_ratio_is_absent(number: JsonValue) -> None:
    assert json_fields.ratio({"r": number}, "r") is None


@pytest.mark.parametrize("name", ["", "x" * 513, "a\nb", 7, None])
def test_a_name_that_cannot_be_used_whole_is_refused(name: JsonValue) -> None:
    assert json_fields.model_name({"name": name}, "name") == ""
    assert json_fields.model_name({"name": name, "id": "good"}, "name", "id") == "good"


def test_unknown_facts_are_absent_from_a_model() -> None:
    assert json_fields.model("m") == Model(name="m", state=MODEL_STATE_UNSPECIFIED)
    full = json_fields.model(
        "m",
        state=MODEL_STATE_LOADED,
        size_bytes=0,
        parameter_size="8" * 99,
        capabilities=["tools"],
    )
    assert full.HasField("size_bytes")
    assert len(full.parameter_size) == json_fields.MAX_WORD
    assert list(full.capabilities) == ["tools"]


def test_models_are_sorted_unique_and_bounded() -> None:
    models = [Model(name=f"m{number:05d}") for number in range(5_000, 0, -1)]
    models.append(Model(name="m00007", digest="another"))
    kept = json_fields.by_name(models)
    assert len(kept) == json_fields.MAX_MODELS
    assert [model.name for model in kept] == sorted(model.name for model in kept)
    assert not kept[6].digest, "the first model of a name is kept"


def test_models_that_many_servers_have_are_stored_once():
    models = [json_fields.model(name, state=MODEL_STATE_AVAILABLE, digest="d") for name in "ab"]
    again = [json_fields.model(name, state=MODEL_STATE_AVAILABLE, digest="d") for name in "ab"]
    loaded = json_fields.model("a", state=MODEL_STATE_LOADED, digest="d")
    first, second = json_fields.shared(models), json_fields.shared(again)
    assert first == second == tuple(models)
    assert all(one is other for one, other in zip(first, second, strict=True))
    assert json_fields.shared([loaded]) == (loaded,)

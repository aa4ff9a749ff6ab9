import pytest

from hub.probes import reading
from hub.probes.http import JsonValue
from llmhub.v1.endpoint_pb2 import (
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_UNSPECIFIED,
    Model,
)

ODD: list[JsonValue] = [None, True, 1, 2.5, "text", [1], {"other": 1}]


@pytest.mark.parametrize("value", ODD)
def test_what_is_not_there_reads_as_absent(value: JsonValue) -> None:
    assert reading.member(value, "a", "b") is None
    assert reading.items(value, "a") is None
    assert reading.text(value, "a") == ""
    assert reading.whole(value, "a") is None
    assert reading.ratio(value, "a") is None
    assert reading.truth(value, "a") is None
    assert reading.words(value, "a") == []
    assert reading.model_name(value, "a") == ""


def test_a_path_leads_through_objects() -> None:
    value: JsonValue = {"a": {"b": [1, 2], "c": "x", "d": 0.5, "e": False}}
    assert reading.items(value, "a", "b") == [1, 2]
    assert reading.text(value, "a", "c") == "x"
    assert reading.ratio(value, "a", "d") == 0.5
    assert reading.truth(value, "a", "e") is False
    assert reading.member(value) is value


def test_lists_texts_and_words_are_cut_to_what_the_contract_holds() -> None:
    value: JsonValue = {"a": list(range(9_999)), "t": "x" * 9_999, "w": ["y" * 999, "", 5, "z"]}
    assert len(reading.items(value, "a") or ()) == reading.MAX_MODELS
    assert len(reading.text(value, "t")) == reading.MAX_TEXT
    assert len(reading.text(value, "t", limit=10)) == 10
    assert reading.words(value, "w") == ["y" * reading.MAX_CAPABILITY, "z"]


@pytest.mark.parametrize("number", [-0.1, 1.1, True, "0.5", float("nan")])
def test_what_is_no_ratio_is_absent(number: JsonValue) -> None:
    assert reading.ratio({"r": number}, "r") is None


@pytest.mark.parametrize("name", ["", "x" * 513, "a\nb", 7, None])
def test_a_name_that_would_name_another_model_is_refused(name: JsonValue) -> None:
    assert reading.model_name({"name": name}, "name") == ""
    assert reading.model_name({"name": name, "id": "good"}, "name", "id") == "good"


def test_a_model_has_no_field_for_what_is_unknown() -> None:
    assert reading.model("m") == Model(name="m", state=MODEL_STATE_UNSPECIFIED)
    full = reading.model(
        "m",
        state=MODEL_STATE_LOADED,
        size_bytes=0,
        parameter_size="8" * 99,
        capabilities=["tools"],
    )
    assert full.HasField("size_bytes")
    assert len(full.parameter_size) == reading.MAX_WORD
    assert list(full.capabilities) == ["tools"]


def test_models_are_sorted_named_once_and_bounded() -> None:
    models = [Model(name=f"m{number:05d}") for number in range(5_000, 0, -1)]
    models.append(Model(name="m00007", digest="another"))
    kept = reading.by_name(models)
    assert len(kept) == reading.MAX_MODELS
    assert [model.name for model in kept] == sorted(model.name for model in kept)
    assert not kept[6].digest, "the first of a name stays"


def test_models_that_many_servers_have_are_kept_once():
    models = [reading.model(name, state=MODEL_STATE_AVAILABLE, digest="d") for name in "ab"]
    again = [reading.model(name, state=MODEL_STATE_AVAILABLE, digest="d") for name in "ab"]
    loaded = reading.model("a", state=MODEL_STATE_LOADED, digest="d")
    first, second = reading.shared(models), reading.shared(again)
    assert first == second == tuple(models)
    assert all(one is other for one, other in zip(first, second, strict=True))
    assert reading.shared([loaded]) == (loaded,)

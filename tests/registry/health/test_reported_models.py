from hub.base.timestamps import to_timestamp
from hub.registry.health.reported_models import merged
from llmhub.v1.endpoint_pb2 import MODEL_STATE_AVAILABLE, MODEL_STATE_LOADED, Model

KNOWN = Model(
    name="llama3.2:3b",
    digest="d1",
    state=MODEL_STATE_LOADED,
    context_length=4096,
    vram_bytes=5,
    expires_at=to_timestamp(9_000),
    capabilities=["completion", "tools"],
    capabilities_known=True,
)


def merge(reported: Model, known: Model = KNOWN) -> Model:
    [model] = merged([known], [reported], is_all=True)
    return model


def test_a_bare_name_takes_nothing_away() -> None:
    assert merge(Model(name=KNOWN.name)) == KNOWN


def test_a_fact_that_is_reported_replaces_the_known_one() -> None:
    model = merge(Model(name=KNOWN.name, context_length=8192, capabilities=["vision"]))
    assert (model.context_length, model.state) == (8192, MODEL_STATE_LOADED)
    assert model.capabilities == ["vision"]


def test_a_model_that_is_no_longer_in_memory_takes_none_of_it() -> None:
    model = merge(Model(name=KNOWN.name, state=MODEL_STATE_AVAILABLE))
    assert not model.HasField("vram_bytes")
    assert not model.HasField("expires_at")
    assert (model.digest, model.context_length) == ("d1", 4096)


def test_another_digest_is_another_model() -> None:
    other = Model(name=KNOWN.name, digest="d2")
    assert merge(other) == other


def test_that_a_model_can_do_nothing_is_a_fact_too() -> None:
    model = merge(Model(name=KNOWN.name, capabilities_known=True))
    assert (list(model.capabilities), model.capabilities_known) == ([], True)


def test_a_report_that_names_all_removes_the_others_and_one_that_was_cut_does_not() -> None:
    reported = [Model(name="b"), Model(name="a"), Model(name="b", digest="second")]
    assert [model.name for model in merged([KNOWN], reported, is_all=True)] == ["a", "b"]
    kept = merged([KNOWN], reported, is_all=False)
    assert [model.name for model in kept] == ["a", "b", KNOWN.name]
    assert kept[1].digest == ""


def test_the_messages_that_come_in_are_not_changed() -> None:
    known, reported = Model(), Model(name=KNOWN.name, state=MODEL_STATE_AVAILABLE)
    known.CopyFrom(KNOWN)
    merged([known], [reported], is_all=True)
    assert known == KNOWN

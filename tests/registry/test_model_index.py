from hypothesis import given
from hypothesis import strategies as st

from hub.registry.model_index import ModelIndex
from llmhub.v1.endpoint_pb2 import (
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_UNSPECIFIED,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    STATUS_UNKNOWN,
    Endpoint,
    Model,
)
from llmhub.v1.resources_pb2 import ModelSummary

# A name may occur twice in one list, because a server may list a model twice.
MODELS = st.builds(
    Model,
    name=st.sampled_from("abcd"),
    state=st.sampled_from([MODEL_STATE_UNSPECIFIED, MODEL_STATE_AVAILABLE, MODEL_STATE_LOADED]),
)
CHANGES = st.tuples(
    st.sampled_from(["x:1", "y:1", "z:1"]),
    st.none()
    | st.tuples(
        st.sampled_from([STATUS_UNKNOWN, STATUS_HEALTHY, STATUS_UNHEALTHY]),
        st.sampled_from(["", "connection refused"]),
        st.lists(MODELS, max_size=5),
    ),
)


def recount(fleet: dict[str, Endpoint]) -> list[ModelSummary]:
    """The expected summaries, counted from the whole fleet."""
    summaries = []
    for name in sorted({model.name for each in fleet.values() for model in each.models}):
        having = [each for each in fleet.values() if any(m.name == name for m in each.models)]
        states = [
            {model.state for model in each.models if model.name == name}
            for each in having
            if each.status == STATUS_HEALTHY and not each.last_error
        ]
        summaries.append(
            ModelSummary(
                name=name,
                endpoint_count=len(having),
                healthy_count=sum(each.status == STATUS_HEALTHY for each in having),
                loaded_count=sum(MODEL_STATE_LOADED in each for each in states),
                unknown_count=sum(each == {MODEL_STATE_UNSPECIFIED} for each in states),
                endpoint_ids=sorted(each.id for each in having),
            )
        )
    return summaries


@given(st.lists(CHANGES, max_size=30))
def test_the_index_equals_a_recount_after_every_change(changes):
    index, fleet = ModelIndex(), {}
    for id_, to in changes:
        before = fleet.pop(id_, None)
        after = None
        if to is not None:
            status, error, models = to
            after = fleet[id_] = Endpoint(id=id_, status=status, last_error=error, models=models)
        index.change(before, after)
        expected = recount(fleet)
        names = [each.name for each in expected]
        assert list(index.names()) == names
        assert [index.summary(name) for name in names] == expected
        encoded = [index.encoded(name, ModelSummary.SerializeToString) for name in names]
        assert [ModelSummary.FromString(each) for each in encoded] == expected
        assert index.counts() == {each.name: each.endpoint_count for each in expected}
        assert len(index) == len(expected)
        for name in "abcd":
            ids = next((list(e.endpoint_ids) for e in expected if e.name == name), [])
            assert index.ids(name) == ids


def test_a_server_that_is_down_has_nothing_in_memory() -> None:
    index = ModelIndex()
    up = Endpoint(
        id="a:1", status=STATUS_HEALTHY, models=[Model(name="m", state=MODEL_STATE_LOADED)]
    )
    index.change(None, up)
    assert (index.summary("m").healthy_count, index.summary("m").loaded_count) == (1, 1)
    failing = Endpoint()
    failing.CopyFrom(up)
    failing.last_error = "connection refused"
    index.change(up, failing)
    assert (index.summary("m").healthy_count, index.summary("m").loaded_count) == (1, 0)
    dead = Endpoint()
    dead.CopyFrom(failing)
    dead.status = STATUS_UNHEALTHY
    index.change(failing, dead)
    summary = index.summary("m")
    assert (summary.endpoint_count, summary.healthy_count, summary.loaded_count) == (1, 0, 0)


def test_names_after_a_name_that_may_be_missing():
    index = ModelIndex()
    index.change(None, Endpoint(id="x:1", models=[Model(name=name) for name in "acd"]))
    assert list(index.names("b")) == ["c", "d"]
    assert list(index.names("c")) == ["d"]
    assert list(index.names("d")) == []


def test_names_around_a_position() -> None:
    index = ModelIndex()
    names = [f"m{n}" for n in range(10)]
    index.change(None, Endpoint(id="a:1", models=[Model(name=name) for name in names]))
    assert index.around("m5", 4) == ["m3", "m4", "m5", "m6"]
    assert index.around("a", 4) == names[:4]
    assert index.around("z", 4) == names[-4:]
    assert index.around("m5", 100) == names
    assert ModelIndex().around("m5", 4) == []


def test_a_name_without_a_tag_means_the_tag_latest_too() -> None:
    index = ModelIndex()
    index.change(None, Endpoint(id="a:1", models=[Model(name="m:latest")]))
    index.change(None, Endpoint(id="b:1", models=[Model(name="m"), Model(name="m:latest")]))
    index.change(None, Endpoint(id="c:1", models=[Model(name="m:7b")]))
    assert index.ids_meant("m") == ["a:1", "b:1"]
    assert index.ids_meant("m:latest") == ["a:1", "b:1"]
    assert index.ids("m") == ["b:1"]
    assert [*index.names()] == ["m", "m:7b", "m:latest"]

import pytest

from hub.registry.segments import Interest, changes, state
from hub.registry.state import Registry
from hub.registry.views import View, summaries
from llmhub.v1.endpoint_pb2 import Endpoint, Model
from llmhub.v1.model_alias_pb2 import ModelAlias
from llmhub.v1.registry_service_pb2 import WatchRegistryResponse
from llmhub.v1.resources_pb2 import EVENT_TYPE_DELETE, EVENT_TYPE_PUT, RegistryEvent
from tests.support.fleet_of import NOW, add, loaded, on_disk, report

LAB = View(labels=frozenset({("site", "lab")}))


def registry_of() -> Registry:
    registry = Registry(first_revision=1)
    add(registry, "a:1", loaded("x:latest"), on_disk("y"), labels={"site": "lab"}, agent_id="h1")
    add(registry, "b:1", loaded("y"), labels={"site": "web"}, agent_id="h2")
    add(registry, "c:1", on_disk("z"), labels={"site": "lab", "gpu": "a"}, agent_id="h2")
    return registry


@pytest.mark.parametrize(
    ("view", "ids"),
    [
        (View(), ["a:1", "b:1", "c:1"]),
        (LAB, ["a:1", "c:1"]),
        (View(labels=frozenset({("site", "lab"), ("gpu", "a")})), ["c:1"]),
        (View(models=frozenset({"y"})), ["a:1", "b:1"]),
        (View(models=frozenset({"x"})), ["a:1"]),
        (View(LAB.labels, frozenset({"y", "z"})), ["a:1", "c:1"]),
        (View(models=frozenset({"none"})), []),
    ],
)
def test_which_endpoints_are_in_a_view(view, ids):
    assert [record.message.id for record in view.of(registry_of())] == ids


@pytest.mark.parametrize(
    ("allowed", "name", "included"),
    [
        ("m", "m", True),
        ("m", "m:latest", True),
        ("m:latest", "m", True),
        ("m", "m:8b", False),
        ("m:8b", "m", False),
        ("host:5000/m", "host:5000/m:latest", True),
    ],
)
def test_the_spellings_of_a_model(allowed, name, included):
    assert View(models=frozenset({allowed})).includes_model(name) is included


def test_an_endpoint_is_shown_without_the_models_beyond_the_view():
    endpoint = Endpoint(id="a:1", models=[Model(name="x:latest"), Model(name="y")])
    shown = View(models=frozenset({"x"})).shown(endpoint)
    assert [model.name for model in shown.models] == ["x:latest"]
    assert [model.name for model in endpoint.models] == ["x:latest", "y"]
    assert LAB.shown(endpoint) is endpoint


def test_a_server_with_two_addresses_counts_once_even_if_its_first_address_is_not_seen():
    def address(id_: str, same_as: str = "") -> Endpoint:
        return Endpoint(id=id_, same_server_as=same_as, models=[loaded("m"), loaded("m")])

    found = summaries([address("b:1", "a:1"), address("c:1", "a:1"), address("d:1")])["m"]
    assert (found.endpoint_count, found.loaded_count, found.healthy_count) == (2, 2, 0)
    assert list(found.endpoint_ids) == ["b:1", "c:1", "d:1"]


# Watches


def events(responses) -> list[RegistryEvent]:
    return [event for each in responses for event in WatchRegistryResponse.FromString(each).events]


def brief(found: list[RegistryEvent]) -> list[tuple[str, str]]:
    kinds = {EVENT_TYPE_PUT: "put", EVENT_TYPE_DELETE: "delete"}
    return [
        (kinds[each.type], each.endpoint.id or each.resources.agent_id or each.model_alias.name)
        for each in found
    ]


EVERYTHING = {"resources": True, "checks": True, "aliases": True}


def test_the_state_of_a_view():
    registry = registry_of()
    report(registry, "h1")
    report(registry, "h2")
    report(registry, "h3")
    registry.put_alias(ModelAlias(name="chat"))
    _, responses = state(registry, Interest(view=LAB, **EVERYTHING), NOW)
    wanted = {("put", "a:1"), ("put", "c:1"), ("put", "chat"), ("put", "h1"), ("put", "h2")}
    assert set(brief(events(responses))) == wanted
    view = View(models=frozenset({"y"}))
    _, responses = state(registry, Interest(view=view, **EVERYTHING), NOW)
    found = events(responses)
    assert set(brief(found)) == {("put", "a:1"), ("put", "b:1"), ("put", "h1"), ("put", "h2")}
    assert {m.name for each in found for m in each.endpoint.models} == {"y"}


def test_what_enters_and_leaves_a_view():
    registry = registry_of()
    report(registry, "h1")
    report(registry, "h2")
    start = registry.revision
    interest = Interest(view=LAB, **EVERYTHING)
    relabelled = {"id": "a:1", "agent_id": "h1"}

    registry.put_endpoint(Endpoint(**relabelled, labels={"site": "web"}))
    left = changes(registry, interest, start)
    assert brief(events(left.responses)) == [("delete", "a:1"), ("delete", "h1")]
    # A host beyond the view may report; the watcher does not learn it.
    report(registry, "h1")
    assert not events(changes(registry, interest, left.revision).responses)

    registry.put_endpoint(Endpoint(**relabelled, labels={"site": "lab"}))
    back = events(changes(registry, interest, left.revision).responses)
    assert {("put", "a:1"), ("put", "h1")} == set(brief(back))
    # A change beyond the view is none to its watcher.
    before = registry.revision
    registry.put_endpoint(Endpoint(id="b:1", name="new", labels={"site": "web"}))
    assert not events(changes(registry, interest, before).responses)

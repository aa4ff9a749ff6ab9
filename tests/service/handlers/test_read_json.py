import json

import pytest

from hub.contract.errors import EndpointNotFound
from hub.registry.observation import Observation
from hub.registry.state import Registry
from hub.service.access.caller import Caller, Principal
from hub.service.handlers.read_json import JsonHandlers
from llmhub.v1.endpoint_pb2 import BACKEND_OLLAMA, MODEL_STATE_LOADED, Endpoint, Model
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from llmhub.v1.resources_pb2 import ROLE_READER

NOW_MS = 1_800_000_000_000
CALLER = Caller(Principal(ROLE_READER, "", "t"), "10.0.0.9", "http")


@pytest.fixture
def registry() -> Registry:
    return Registry(first_revision=1000)


@pytest.fixture
def views(registry) -> JsonHandlers:
    return JsonHandlers(registry)


def register(registry, *ids):
    for id_ in ids:
        host, _, port = id_.rpartition(":")
        registry.put_endpoint(Endpoint(id=id_, host=host, port=int(port), name=id_, etag="e"))


def see(registry, id_, *models):
    seen = Observation(
        checked_at_ms=NOW_MS,
        next_check_at_ms=NOW_MS + 30_000,
        backend=BACKEND_OLLAMA,
        models=tuple(Model(name=name, state=MODEL_STATE_LOADED) for name in models),
    )
    registry.observe(id_, seen)


def test_an_empty_fleet(views):
    assert json.loads(views.list_endpoints_json(None, CALLER, NOW_MS)) == {"endpoints": []}
    assert json.loads(views.get_snapshot_json(None, CALLER, NOW_MS)) == {
        "endpoints": [],
        "resources": {},
        "fleet_models": {},
        "vram": {},
        "revision": 1000,
    }


def test_an_endpoint_shows_every_field(registry, views):
    register(registry, "gpu-1.lan:11434")
    shown = json.loads(views.get_endpoint_json("gpu-1.lan:11434", CALLER, NOW_MS))
    assert set(shown) == set(Endpoint.DESCRIPTOR.fields_by_name)
    assert shown["status"] == "unknown"
    assert shown["models"] == []
    assert shown["labels"] == {}
    assert shown["agent_id"] == ""
    assert shown["last_error"] == ""
    assert shown["consecutive_failures"] == 0
    assert shown["last_checked_at"] is None
    assert shown["backend"] is None


def test_what_was_observed(registry, views):
    register(registry, "h:1")
    see(registry, "h:1", "a:latest")
    shown = json.loads(views.get_endpoint_json("h:1", CALLER, NOW_MS))
    assert (shown["status"], shown["backend"]) == ("healthy", "ollama")
    assert shown["last_checked_at"] == NOW_MS
    (model,) = shown["models"]
    assert set(model) == set(Model.DESCRIPTOR.fields_by_name)
    assert (model["name"], model["state"], model["vram_bytes"]) == ("a:latest", "loaded", None)


def test_an_endpoint_that_is_not_there(views):
    with pytest.raises(EndpointNotFound) as caught:
        views.get_endpoint_json("h:1", CALLER, NOW_MS)
    assert caught.value.metadata == {"id": "h:1"}


def test_lists_are_sorted_by_id_and_follow_every_change(registry, views):
    def listed():
        return [
            each["id"]
            for each in json.loads(views.list_endpoints_json(None, CALLER, NOW_MS))["endpoints"]
        ]

    register(registry, "b:1", "a:2", "a:1")
    assert listed() == ["a:1", "a:2", "b:1"]
    registry.remove_endpoint("a:2")
    assert listed() == ["a:1", "b:1"]
    see(registry, "b:1", "m")
    assert (
        json.loads(views.list_endpoints_json(None, CALLER, NOW_MS))["endpoints"][1]["status"]
        == "healthy"
    )


def test_the_snapshot_joins_everything(registry, views):
    register(registry, "a:1", "b:1")
    see(registry, "a:1", "m1", "m2")
    see(registry, "b:1", "m2")
    registry.report_resources('no"de', ReportResourcesRequest(cpu_percent=1.5), NOW_MS)
    snapshot = json.loads(views.get_snapshot_json(None, CALLER, NOW_MS))
    assert snapshot["fleet_models"] == {"m1": 1, "m2": 2}
    assert snapshot["revision"] == registry.revision
    resources = snapshot["resources"]['no"de']
    assert (resources["agent_id"], resources["cpu_percent"]) == ('no"de', 1.5)
    assert resources["vram_total_bytes"] is None
    assert resources["gpus"] == []
    assert resources["reported_at"] == NOW_MS


def test_resources_are_dropped_at_their_deadline(registry, views):
    registry.report_resources("node-1", ReportResourcesRequest(), NOW_MS)
    assert json.loads(views.get_snapshot_json(None, CALLER, NOW_MS + 89_999))["resources"]
    assert json.loads(views.get_snapshot_json(None, CALLER, NOW_MS + 90_000))["resources"] == {}


def test_readers_share_a_snapshot_until_something_changes(registry, views):
    register(registry, "a:1")
    first = views.get_snapshot_json(None, CALLER, NOW_MS)
    assert views.get_snapshot_json(None, CALLER, NOW_MS + 1) is first
    registry.report_resources("node-1", ReportResourcesRequest(), NOW_MS)
    assert json.loads(views.get_snapshot_json(None, CALLER, NOW_MS))["resources"]

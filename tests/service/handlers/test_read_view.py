"""What a caller with a scope reads is what anyone would read of a fleet of that part alone."""

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from hub.contract.errors import ResourcesNotFound, ScopeForbidden
from hub.registry.state import Registry
from hub.registry.views import View
from hub.service.access.caller import Caller, Principal
from hub.service.access.scopes import Scope
from hub.service.handlers.read_registry import JsonHandlers, RegistryHandlers
from hub.service.handlers.read_view import ViewHandlers
from llmhub.v1 import registry_service_pb2 as pb
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.model_alias_pb2 import ModelAlias
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.fleet_of import NOW, add, loaded, on_disk, report

# No model beyond a view is loaded: the memory of a host in it is accounted as a whole.
FLEET: dict[str, dict[str, Any]] = {
    "a:1": {"models": [on_disk("x"), on_disk("y")], "labels": {"site": "lab"}, "agent_id": "h1"},
    "b:1": {"models": [loaded("y")], "labels": {"site": "web"}, "agent_id": "h2"},
    "c:1": {"models": [on_disk("z")], "labels": {"site": "lab", "gpu": "a"}, "agent_id": "h3"},
    "d:1": {"models": [], "labels": {"site": "lab"}, "agent_id": ""},
}

LAB = frozenset({("site", "lab")})
# Each view with the endpoints and models that are in it, by hand.
VIEWS: dict[str, tuple[View, dict[str, list[str]]]] = {
    "labels": (View(LAB), {"a:1": ["x", "y"], "c:1": ["z"], "d:1": []}),
    "models": (View(models=frozenset({"y"})), {"a:1": ["y"], "b:1": ["y"]}),
    "both": (View(LAB, frozenset({"y", "z"})), {"a:1": ["y"], "c:1": ["z"]}),
    "nothing": (View(models=frozenset({"none"})), {}),
}


def fleet_of(wanted: dict[str, list[str]]) -> Registry:
    registry = Registry(first_revision=1000)
    for id_, models in wanted.items():
        facts = FLEET[id_]
        kept = [model for model in facts["models"] if model.name in models]
        add(registry, id_, *kept, labels=facts["labels"], agent_id=facts["agent_id"])
        if facts["agent_id"]:
            report(registry, facts["agent_id"], vram_total_bytes=10, vram_used_bytes=1)
    return registry


def everything() -> Registry:
    return fleet_of({id_: ["x", "y", "z"] for id_ in FLEET})


def reader(view: View) -> Caller:
    scope = Scope(view) if view else None
    return Caller(Principal(ROLE_READER, "", "t", None, scope), "10.0.0.9", "grpc")


class Reading:
    """Asks a part of the whole fleet, and the whole of a fleet that is that part."""

    def __init__(self, name: str) -> None:
        self.view, part = VIEWS[name]
        self.part = part
        self.seen = self._handlers(everything())
        self.oracle = self._handlers(fleet_of(part))

    @staticmethod
    def _handlers(registry: Registry) -> list[Any]:
        whole, as_json = RegistryHandlers(registry), JsonHandlers(registry)
        return [ViewHandlers(registry, whole, as_json), whole, as_json]

    def both(self, method: str, request: object, reply: type[Message] | None) -> tuple[Any, Any]:
        def answer(handlers: list[Any], name: str, caller: Caller) -> Any:
            handler = next(each for each in handlers if hasattr(each, name))
            said = getattr(handler, name)(request, caller, NOW)
            if reply is None:
                return without_revisions(json.loads(said))
            if isinstance(said, bytes):
                said = reply.FromString(said)
            return without_revisions(json.loads(_to_json(said)))

        seen = answer(self.seen, f"{method}_in_view", reader(self.view))
        return seen, answer(self.oracle, method, reader(View()))


def _to_json(message: Message) -> str:
    return MessageToJson(message)


def without_revisions(value: Any) -> Any:
    """The value without revisions and page tokens, which differ from registry to registry."""
    if isinstance(value, dict):
        return {
            key: without_revisions(each)
            for key, each in value.items()
            if key not in ("revision", "nextPageToken", "registered_at", "registeredAt")
        }
    return [without_revisions(each) for each in value] if isinstance(value, list) else value


@pytest.fixture(params=VIEWS)
def reading(request: pytest.FixtureRequest) -> Reading:
    return Reading(request.param)


LISTINGS = [
    ("get_snapshot", pb.GetSnapshotRequest(), pb.GetSnapshotResponse),
    ("list_endpoints", pb.ListEndpointsRequest(), pb.ListEndpointsResponse),
    ("list_endpoints", pb.ListEndpointsRequest(page_size=1), pb.ListEndpointsResponse),
    ("list_endpoints", pb.ListEndpointsRequest(model="y"), pb.ListEndpointsResponse),
    ("list_endpoints", pb.ListEndpointsRequest(labels={"site": "web"}), pb.ListEndpointsResponse),
    ("list_models", pb.ListModelsRequest(), pb.ListModelsResponse),
    ("list_models", pb.ListModelsRequest(page_size=1), pb.ListModelsResponse),
    ("list_endpoints_json", None, None),
    ("get_snapshot_json", None, None),
    ("get_schemas", None, None),
]


@pytest.mark.parametrize(("method", "request_", "reply"), LISTINGS)
def test_a_part_is_read_as_if_it_were_all(reading, method, request_, reply):
    seen, oracle = reading.both(method, request_, reply)
    assert seen == oracle


COSTLY = [
    ("get_snapshot", pb.GetSnapshotRequest()),
    ("list_models", pb.ListModelsRequest()),
    ("list_endpoints_json", None),
    ("get_snapshot_json", None),
]


@pytest.mark.parametrize(("method", "request_"), COSTLY)
def test_an_answer_as_large_as_the_fleet_is_made_once_per_change_and_view(method, request_):
    registry = everything()
    handlers = ViewHandlers(registry, RegistryHandlers(registry), JsonHandlers(registry))

    def answer(name: str) -> bytes:
        return getattr(handlers, f"{method}_in_view")(request_, reader(VIEWS[name][0]), NOW)

    first, other = answer("labels"), answer("models")
    assert answer("labels") is first
    assert answer("models") is other
    assert first != other
    add(registry, "e:1", on_disk("x"), labels={"site": "lab"})
    assert answer("labels") != first


def test_one_endpoint_at_a_time(reading):
    for id_ in (*FLEET, "none:1"):
        handlers = reading.seen[0]
        if id_ in reading.part:
            request = pb.GetEndpointRequest(id=id_)
            seen, oracle = reading.both("get_endpoint", request, pb.GetEndpointResponse)
            assert seen == oracle
            seen, oracle = reading.both("get_endpoint_json", id_, None)
            assert seen == oracle
            continue
        # What is beyond the view and what does not exist are the same to the caller.
        caller, request = reader(reading.view), pb.GetEndpointRequest(id=id_)
        with pytest.raises(ScopeForbidden, match=f"does not include the endpoint {id_}"):
            handlers.get_endpoint_in_view(request, caller, NOW)
        with pytest.raises(ScopeForbidden, match=f"does not include the endpoint {id_}"):
            handlers.get_endpoint_json_in_view(id_, caller, NOW)


def test_the_resources_of_hosts_in_the_view(reading):
    hosts = {FLEET[id_]["agent_id"] for id_ in reading.part}
    for agent_id in ("h1", "h2", "h3", "unknown"):
        request = pb.GetResourcesRequest(agent_id=agent_id)
        if agent_id in hosts:
            seen, oracle = reading.both("get_resources", request, pb.GetResourcesResponse)
            assert seen == oracle
        else:
            with pytest.raises(ScopeForbidden):
                reading.both("get_resources", request, pb.GetResourcesResponse)


def test_a_host_in_the_view_without_a_report():
    registry = Registry(first_revision=1000)
    registry.put_endpoint(Endpoint(id="a:1", agent_id="h1", labels={"site": "lab"}))
    handlers = ViewHandlers(registry, RegistryHandlers(registry), JsonHandlers(registry))
    with pytest.raises(ResourcesNotFound):
        handlers.get_resources_in_view(
            pb.GetResourcesRequest(agent_id="h1"), reader(View(LAB)), NOW
        )


def test_pages_of_a_part_lose_and_repeat_nothing():
    handlers = Reading("labels").seen[0]
    request, ids = pb.ListEndpointsRequest(page_size=2), []
    while True:
        said = handlers.list_endpoints_in_view(request, reader(View(LAB)), NOW)
        page = pb.ListEndpointsResponse.FromString(said)
        ids += [endpoint.id for endpoint in page.endpoints]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert ids == ["a:1", "c:1", "d:1"]


def test_aliases_in_the_view():
    registry = everything()
    for name in ("chat", "y", "z:latest"):
        registry.put_alias(ModelAlias(name=name))
    handlers = ViewHandlers(registry, RegistryHandlers(registry), JsonHandlers(registry))

    def names(view: View) -> list[str]:
        request = pb.ListModelAliasesRequest()
        return [
            each.name
            for each in handlers.list_model_aliases_in_view(request, reader(view), NOW).aliases
        ]

    assert names(View(LAB)) == ["chat", "y", "z:latest"]
    assert names(View(models=frozenset({"y", "z"}))) == ["y", "z:latest"]

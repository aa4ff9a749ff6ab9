from types import CoroutineType

import pytest

from hub.base.clock import ManualClock
from hub.contract.errors import (
    LeaseNotFound,
    ModelUnknown,
    NoCapacity,
    NoHealthyEndpoint,
    ScopeForbidden,
)
from hub.registry.state import Registry
from hub.registry.views import View
from hub.service.access.caller import Caller, Principal
from hub.service.access.scopes import Scope
from hub.service.handlers.select_endpoint import SelectionHandlers
from hub.service.handlers.select_in_view import ViewSelectionHandlers
from llmhub.v1 import registry_service_pb2 as pb
from llmhub.v1.model_alias_pb2 import AliasTarget, ModelAlias
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.fleet_of import NOW, add, loaded

LAB = View(frozenset({("site", "lab")}))
OF_M = View(models=frozenset({"m"}))


@pytest.fixture
def registry() -> Registry:
    registry = Registry(first_revision=1000)
    for i in range(3):
        add(registry, f"web{i}:1", loaded("m"), loaded("other"), labels={"site": "web"})
    add(registry, "lab:1", loaded("m"), loaded("secret"), labels={"site": "lab"}, latency_ms=900)
    return registry


async def select(registry: Registry, view: View, model: str = "m", **fields: object):
    handlers = ViewSelectionHandlers(registry, SelectionHandlers(registry, ManualClock(NOW)))
    caller = Caller(Principal(ROLE_READER, "", "t", None, Scope(view)), "10.0.0.9", "grpc")
    request = pb.SelectEndpointRequest(model=model, **fields)
    before = request.SerializeToString(deterministic=True)
    answer = handlers.select_endpoint_in_view(request, caller, NOW)
    assert request.SerializeToString(deterministic=True) == before
    return await answer if isinstance(answer, CoroutineType) else answer


async def test_only_endpoints_in_the_view_are_selected(registry):
    response = await select(registry, LAB, count=9)
    assert [each.endpoint.id for each in response.selections] == ["lab:1"]


async def test_an_explanation_names_no_endpoint_beyond_the_view(registry):
    response = await select(registry, LAB, explain=True)
    assert [each.endpoint_id for each in response.candidates] == ["lab:1"]


async def test_labels_that_the_request_has_are_kept(registry):
    add(registry, "lab2:1", loaded("m"), labels={"site": "lab", "gpu": "a"})
    response = await select(registry, LAB, labels={"gpu": "a", "site": "lab"}, count=9)
    assert [each.endpoint.id for each in response.selections] == ["lab2:1"]
    with pytest.raises(ScopeForbidden, match="label site=web"):
        await select(registry, LAB, labels={"site": "web"})


async def test_a_model_beyond_the_view_is_refused_whether_it_exists_or_not(registry):
    for model in ("other", "none"):
        with pytest.raises(ScopeForbidden, match=f"does not include the model {model}") as error:
            await select(registry, OF_M, model)
        assert error.value.metadata == {"scope": "models"}


async def test_a_selected_endpoint_shows_no_model_beyond_the_view(registry):
    response = await select(registry, OF_M, count=9)
    assert len(response.selections) == 4
    shown = {model.name for each in response.selections for model in each.endpoint.models}
    assert shown == {"m"}


async def test_an_alias_in_the_view_may_stand_for_a_model_that_is_not(registry):
    registry.put_alias(ModelAlias(name="chat", targets=[AliasTarget(model="secret")]))
    response = await select(registry, View(models=frozenset({"chat"})), "chat")
    (selection,) = response.selections
    assert (selection.model, [m.name for m in selection.endpoint.models]) == ("secret", ["secret"])


async def test_a_refusal_says_nothing_of_the_rest_of_the_fleet(registry):
    for view, model, kind in (
        (LAB, "othr", ModelUnknown),
        (LAB, "other", NoCapacity),
    ):
        with pytest.raises(kind) as error:
            await select(registry, view, model, explain=True)
        assert error.value.metadata == {"model": model}
        assert error.value.message == (
            f"no endpoint in the token's scope has {model} for this request now"
        )


async def test_a_refusal_that_may_pass_says_when(registry):
    registry.remove_endpoint("lab:1")
    for i in range(3):
        registry.remove_endpoint(f"web{i}:1")
    add(registry, "lab:1", loaded("m"), labels={"site": "lab"}, error="down")
    with pytest.raises(NoHealthyEndpoint) as error:
        await select(registry, LAB)
    assert error.value.retry_after_ms


async def test_a_large_fleet_is_judged_in_turns(registry):
    for i in range(600):
        add(registry, f"x{i:03}:1", loaded("m"), labels={"site": "web"})
    response = await select(registry, LAB, count=9, explain=True)
    assert [each.endpoint.id for each in response.selections] == ["lab:1"]
    with pytest.raises(ModelUnknown):
        await select(registry, LAB, "none")


def test_a_lease_can_be_released(registry):
    whole = SelectionHandlers(registry, ManualClock(NOW))
    handlers = ViewSelectionHandlers(registry, whole)
    caller = Caller(Principal(ROLE_READER, "", "t", None, Scope(LAB)), "10.0.0.9", "grpc")
    request = pb.SelectEndpointRequest(model="m")
    request.lease_ttl.FromSeconds(9)
    answer = handlers.select_endpoint_in_view(request, caller, NOW)
    assert isinstance(answer, pb.SelectEndpointResponse)
    release = pb.ReleaseSelectionRequest(lease_id=answer.selections[0].lease_id)
    handlers.release_selection_in_view(release, caller, NOW)
    with pytest.raises(LeaseNotFound):
        handlers.release_selection_in_view(release, caller, NOW)

"""The local copy alone, fed with responses from the hub's own code."""

import contextlib
import math
import random

import pytest

from hub.base.clock import ManualClock
from hub.client.call_errors import NoSelection, NotSynced
from hub.client.fleet_cache import FleetCopy, base_url
from hub.contract.errors import HubError
from hub.registry import segments
from hub.registry.outcomes.fleet_outcomes import FleetOutcomes
from hub.registry.segments import Interest
from hub.registry.selection.leases import Lease
from hub.registry.state import Registry
from hub.service.access.caller import Caller, Principal
from hub.service.handlers.select_endpoint import SelectionHandlers
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.model_alias_pb2 import AliasTarget, ModelAlias
from llmhub.v1.registry_service_pb2 import (
    OUTCOME_RESULT_SERVER_ERROR,
    STRATEGY_LEAST_LOADED,
    Outcome,
    SelectEndpointRequest,
    SelectEndpointResponse,
    WatchRegistryResponse,
)
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.fleet_of import GIB, NOW, add, change_at_random, loaded, on_disk, report

CALLER = Caller(Principal(ROLE_READER, "", "t"), "127.0.0.1", "grpc")
ALL = Interest(resources=True, checks=True, aliases=True)


class Following:
    """A registry, and a copy that `sync` updates."""

    def __init__(self) -> None:
        self.registry = Registry(first_revision=1000)
        self.copy = FleetCopy()
        self.revision = 0

    def sync(self) -> FleetCopy:
        if not self.revision:
            self.revision, responses = segments.state(self.registry, ALL, 0)
        else:
            segment = segments.changes(self.registry, ALL, self.revision)
            self.revision, responses = segment.revision, iter(segment.responses)
        for raw in responses:
            self.copy.apply(WatchRegistryResponse.FromString(raw))
        return self.copy


@pytest.fixture
def following() -> Following:
    return Following()


def test_reads_before_the_first_state_are_empty(following: Following) -> None:
    copy = following.copy
    assert copy.freshness.revision == 0
    assert copy.freshness.age_s == math.inf
    assert not copy.freshness.synced
    with pytest.raises(NotSynced):
        copy.select("m")
    add(following.registry, "a:1", loaded())
    following.sync()
    assert copy.freshness.synced
    assert copy.freshness.connected
    assert copy.freshness.age_s < 10
    assert copy.freshness.revision == following.registry.revision


def test_a_copy_has_the_same_contents_as_the_hub(following: Following) -> None:
    registry = following.registry
    add(registry, "b:1", loaded(), agent_id="n")
    add(registry, "a:1")
    report(registry, "n", cpu_percent=7)
    registry.put_alias(ModelAlias(name="small", targets=[AliasTarget(model="m")]))
    copy = following.sync()
    assert [each.id for each in copy.endpoints()] == ["a:1", "b:1"]
    assert copy.get("b:1") == registry.get("b:1").message
    assert copy.get("x:1") is None
    assert copy.resources("n") == registry.resources.get("n").message
    assert set(copy.all_resources()) == {"n"}
    assert set(copy.aliases()) == {"small"}
    registry.remove_endpoint("b:1")
    registry.remove_alias("small")
    registry.expire(2**60)
    following.sync()
    assert [each.id for each in copy.endpoints()] == ["a:1"]
    assert copy.resources("n") is None
    assert copy.aliases() == {}


def test_a_copy_selects_like_the_hub_and_follows_changes(following: Following) -> None:
    registry = following.registry
    add(registry, "cold:1", on_disk(), scheme="https", base_path="/v")
    add(registry, "warm:1", loaded(), agent_id="n", name="W")
    copy = following.sync()
    choice = copy.select("m")
    assert (choice.endpoint.id, choice.model) == ("warm:1", "m")
    assert choice.base_url == "http://warm:1"
    report(registry, "n", cpu_percent=100)
    following.sync()
    assert copy.select("m", strategy=STRATEGY_LEAST_LOADED).endpoint.id in {"warm:1", "cold:1"}
    cold = copy.select("m", exclude_ids=["warm:1"])
    assert cold.base_url == "https://cold:1/v"
    add(registry, "warm:1", error="gone", agent_id="n")
    following.sync()
    assert copy.select("m").endpoint.id == "cold:1"
    registry.put_alias(ModelAlias(name="small", targets=[AliasTarget(model="m")]))
    following.sync()
    assert copy.select("small").model == "m"
    registry.put_alias(ModelAlias(name="small", targets=[AliasTarget(model="other")]))
    following.sync()
    with pytest.raises(NoSelection):
        copy.select("small")


def test_a_copy_scores_like_the_hub(following: Following) -> None:
    rng = random.Random(5)
    answered = 0
    for _ in range(200):
        change_at_random(following.registry, rng)
        copy = following.sync()
        for least in (0, 4 * GIB):
            request = SelectEndpointRequest(model="m", min_free_vram_bytes=least, count=20)
            by_hub: dict[str, float] = {}
            with contextlib.suppress(HubError):
                by_it = SelectionHandlers(following.registry, ManualClock(NOW))
                raw = by_it.select_endpoint(request, CALLER, NOW)
                selections = SelectEndpointResponse.FromString(raw).selections
                by_hub = {each.endpoint.id: each.score for each in selections}
            try:
                choice = copy.select("m", min_free_vram_bytes=least)
            except NoSelection:
                assert not by_hub
                continue
            answered += 1
            assert by_hub[choice.endpoint.id] == choice.score == max(by_hub.values())
    assert answered > 100


def test_a_copy_finds_the_same_endpoint_for_a_key_as_the_hub(following: Following) -> None:
    rng = random.Random(5)
    found = set()
    for n in range(120):
        change_at_random(following.registry, rng)
        copy = following.sync()
        request = SelectEndpointRequest(model="m", affinity_key=f"conversation {n % 7}")
        with contextlib.suppress(HubError):
            by_it = SelectionHandlers(following.registry, ManualClock(NOW))
            raw = by_it.select_endpoint(request, CALLER, NOW)
            (selection,) = SelectEndpointResponse.FromString(raw).selections
            assert (
                copy.select("m", affinity_key=request.affinity_key).endpoint == selection.endpoint
            )
            assert selection.affinity_rank == 0
            found.add(selection.endpoint.id)
    assert len(found) > 3


def test_a_copy_knows_open_circuits_and_makes_no_trial(following: Following) -> None:
    for id_ in ("a:1", "b:1"):
        add(following.registry, id_, loaded())
    outcomes = FleetOutcomes(following.registry)
    failed = Outcome(result=OUTCOME_RESULT_SERVER_ERROR)
    for _ in range(5):
        outcomes.report(Lease("l", "a:1", NOW, "t", "m"), failed, NOW)
    copy = following.sync()
    assert {copy.select("m").endpoint.id for _ in range(4)} == {"b:1"}
    following.registry.expire(NOW + 10_000)
    copy = following.sync()
    with pytest.raises(NoSelection):
        copy.select("m", exclude_ids=["b:1"])
    following.registry.expire(NOW + 70_000)
    copy = following.sync()
    assert copy.select("m", exclude_ids=["b:1"]).endpoint.id == "a:1"


def test_equals_take_turns(following: Following) -> None:
    for i in range(3):
        add(following.registry, f"h{i}:1", loaded())
    copy = following.sync()
    assert [copy.select("m").endpoint.id for _ in range(6)] == ["h0:1", "h1:1", "h2:1"] * 2


def test_a_failed_selection_explains_itself(following: Following) -> None:
    add(following.registry, "a:1", loaded(), error="down")
    copy = following.sync()
    for request, reason in (
        ({"model": "x"}, "MODEL_UNKNOWN"),
        ({"model": "m"}, "NO_HEALTHY_ENDPOINT"),
    ):
        with pytest.raises(NoSelection) as raised:
            copy.select(**request)
        assert raised.value.reason == reason
    assert raised.value.rejections == {"a:1": "unhealthy: down"}
    add(following.registry, "b:1", loaded())
    following.sync()
    with pytest.raises(NoSelection) as raised:
        copy.select("m", labels={"zone": "x"})
    assert raised.value.reason == "NO_CAPACITY"


def test_a_copy_without_news_reports_itself_stale(following: Following) -> None:
    add(following.registry, "a:1", loaded())
    copy = following.sync()
    assert copy.select("m", max_staleness_s=60).endpoint.id == "a:1"
    with pytest.raises(NotSynced):
        copy.select("m", max_staleness_s=0)
    copy.disconnected()
    assert not copy.freshness.connected
    assert copy.select("m").endpoint.id == "a:1"


def test_resources_follow_an_endpoint_to_another_agent(following: Following) -> None:
    registry = following.registry
    add(registry, "a:1", loaded(), agent_id="n")
    add(registry, "b:1", loaded(), agent_id="m")
    report(registry, "n", cpu_percent=90)
    report(registry, "m", cpu_percent=10)
    copy = following.sync()
    assert copy.select("m").endpoint.id == "b:1"
    add(registry, "a:1", loaded(), agent_id="m")
    add(registry, "b:1", loaded(), agent_id="n")
    following.sync()
    assert copy.select("m").endpoint.id == "a:1"
    report(registry, "n", cpu_percent=0)
    following.sync()
    assert copy.select("m").endpoint.id == "b:1"


def test_the_base_url_of_an_ipv6_host() -> None:
    assert base_url(Endpoint(id="[::1]:80", scheme="http")) == "http://[::1]:80"

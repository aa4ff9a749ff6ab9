import pytest

from hub.registry.state import Registry
from hub.service.handlers import explained_candidates
from llmhub.v1.registry_service_pb2 import REJECTION_EXCLUDED, REJECTION_NOT_HEALTHY
from tests.support.fleet_of import add, loaded, on_disk
from tests.support.selecting import Selecting


@pytest.fixture
def select() -> Selecting:
    registry = Registry(first_revision=1_000)
    add(registry, "disk:1", on_disk())
    add(registry, "down:1", loaded(), error="gone")
    for n in range(3):
        add(registry, f"warm{n}:1", loaded())
    return Selecting(registry)


def test_the_selectable_come_first_then_those_that_the_request_rejects(select: Selecting) -> None:
    found = select(explain=True, exclude_ids=["warm0:1"]).candidates
    assert [each.endpoint_id for each in found] == [
        *("warm1:1", "warm2:1", "disk:1"),
        *("warm0:1", "down:1"),
    ]
    assert [each.rejection for each in found[3:]] == [REJECTION_EXCLUDED, REJECTION_NOT_HEALTHY]
    assert sum(found[0].parts.values()) == pytest.approx(found[0].score)


def test_an_affinity_key_explains_its_places(select: Selecting) -> None:
    response = select(explain=True, affinity_key="k", count=9)
    details = {each.endpoint_id: each.detail for each in response.candidates}
    assert details["disk:1"] == "others fit better for the affinity key"
    own = response.selections[0]
    assert own.affinity_rank == 0
    assert details[own.endpoint.id] == "place 1 for the affinity key"
    assert not response.selections[-1].HasField("affinity_rank")
    assert select.handlers.counts.affinity == {"own": 1}


def test_the_candidates_are_bounded(select: Selecting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explained_candidates, "MAX_CANDIDATES", 2)
    assert len(select(explain=True).candidates) == 2

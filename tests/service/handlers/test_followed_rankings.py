import pytest

from hub.registry.state import Registry
from hub.service.handlers.followed_rankings import FollowedRankings
from llmhub.v1.registry_service_pb2 import SelectEndpointRequest
from tests.support.fleet_of import NOW, add, loaded, on_disk

REQUEST = SelectEndpointRequest(model="m")


class Following:
    def __init__(self) -> None:
        self.registry = Registry(first_revision=1_000)
        self.calls = 0
        self.followed = FollowedRankings(self.registry, max_leases=9, max_leases_per_token=9)
        self.followed.on_lease_change(self.count)
        add(self.registry, "a:1", loaded())

    def count(self) -> None:
        self.calls += 1

    def best(self) -> list[tuple[str, int]]:
        kept = self.followed.kept(REQUEST, NOW)
        for _ in kept.catch_up():
            pass
        return [(each.endpoint.id, each.in_flight) for each in kept.ranking.best()]


@pytest.fixture
def following() -> Following:
    return Following()


def test_a_ranking_follows_endpoints_and_leases(following: Following) -> None:
    assert following.best() == [("a:1", 0)]
    add(following.registry, "b:1", on_disk())
    assert following.best() == [("a:1", 0), ("b:1", 0)]
    following.followed.leases.take("l", "a:1", 1000, NOW)
    assert following.best() == [("a:1", 1), ("b:1", 0)]
    following.registry.remove_endpoint("a:1")
    assert following.best() == [("b:1", 0)]


def test_each_change_of_a_lease_is_reported(following: Following) -> None:
    leases = following.followed.leases
    leases.take("l", "a:1", 1000, NOW)
    leases.release("l")
    leases.take("k", "a:1", 1000, NOW)
    following.followed.kept(REQUEST, NOW + 1000)
    assert following.calls == 4
    assert following.followed.in_flight("a:1") == 0


def test_a_refused_admission_makes_no_ranking(following: Following) -> None:
    def refuse(candidates: int) -> None:
        raise ValueError(candidates)

    with pytest.raises(ValueError, match="1"):
        following.followed.kept(REQUEST, NOW, refuse)
    following.followed.kept(REQUEST, NOW)
    following.followed.kept(REQUEST, NOW, refuse)

import pytest

from hub.contract.errors import LeaseNotFound, LimitReached
from hub.registry.outcomes.fleet_outcomes import FleetOutcomes
from hub.registry.selection.criteria import Verdict
from hub.registry.selection.leases import Leases
from hub.registry.state import Registry
from hub.service.handlers.leased_selections import LeasedSelections
from llmhub.v1 import registry_service_pb2 as pb
from tests.support.fleet_of import NOW, add, loaded
from tests.support.selecting import CALLER, caller


class Leasing:
    def __init__(self) -> None:
        self.registry = Registry(first_revision=1_000)
        self.changed: list[str] = []
        leases = Leases(max_leases=3, max_per_owner=2, on_change=self.changed.append)
        self.leased = LeasedSelections(self.registry, FleetOutcomes(self.registry), leases)
        for id_ in ("a:1", "b:1", "c:1"):
            add(self.registry, id_, loaded())

    def take(self, *ids: str, ttl_s: int = 60, count: int = 0):
        request = pb.SelectEndpointRequest(model="m", count=count or len(ids))
        if ttl_s:
            request.lease_ttl.FromSeconds(ttl_s)
        chosen = []
        for id_ in ids:
            record = self.registry.get(id_)
            assert record is not None
            chosen.append(Verdict(record.message, record.message.models[0]))
        return self.leased.take(request, chosen, CALLER, NOW)


@pytest.fixture
def leasing() -> Leasing:
    return Leasing()


def test_selections_are_encoded_as_a_response_repeats_them(leasing) -> None:
    fragments, leases = leasing.take("a:1", "b:1")
    response = pb.SelectEndpointResponse.FromString(b"".join(fragments))
    assert [each.endpoint.id for each in response.selections] == ["a:1", "b:1"]
    assert [each.lease_id for each in response.selections] == [each.id for each in leases]
    assert [each.model for each in leases] == ["m", "m"]
    assert leasing.changed == ["a:1", "b:1"]


def test_selections_without_a_lease_take_none(leasing) -> None:
    fragments, leases = leasing.take("a:1", ttl_s=0)
    assert len(fragments) == 1
    assert not leases
    assert len(leasing.leased.leases) == 0


def test_fallbacks_get_no_lease(leasing) -> None:
    fragments, leases = leasing.take("a:1", "b:1", "c:1", count=1)
    response = pb.SelectEndpointResponse.FromString(b"".join(fragments))
    assert [bool(each.lease_id) for each in response.selections] == [True, False, False]
    assert [each.endpoint_id for each in leases] == ["a:1"]


def test_a_selection_is_encoded_again_after_a_change_of_its_endpoint(leasing) -> None:
    first, _ = leasing.take("a:1", ttl_s=0)
    again, _ = leasing.take("a:1", ttl_s=0)
    assert again[0] is first[0]
    add(leasing.registry, "a:1", loaded(), name="renamed")
    changed, _ = leasing.take("a:1", ttl_s=0)
    (selection,) = pb.SelectEndpointResponse.FromString(changed[0]).selections
    assert selection.endpoint.name == "renamed"


def test_of_selections_that_exceed_a_bound_none_is_leased(leasing) -> None:
    with pytest.raises(LimitReached):
        leasing.take("a:1", "b:1", "c:1")
    assert len(leasing.leased.leases) == 0


def test_leases_that_are_given_back_end_once(leasing) -> None:
    _, leases = leasing.take("a:1")
    leasing.leased.give_back(leases, NOW)
    leasing.leased.give_back(leases, NOW)
    assert leasing.changed == ["a:1", "a:1"]


def test_another_token_may_release_a_lease_but_not_report_its_outcome(leasing) -> None:
    _, (lease,) = leasing.take("a:1")
    request = pb.ReleaseSelectionRequest(lease_id=lease.id)
    reporting = pb.ReleaseSelectionRequest(lease_id=lease.id)
    reporting.outcome.result = pb.OUTCOME_RESULT_OK
    with pytest.raises(LeaseNotFound):
        leasing.leased.release(reporting, caller("other"), NOW)
    leasing.leased.release(request, caller("other"), NOW)
    assert len(leasing.leased.leases) == 0
    assert len(leasing.leased.outcomes.book) == 0

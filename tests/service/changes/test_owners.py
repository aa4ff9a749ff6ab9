import pytest

from hub.contract.errors import EndpointOwned
from hub.registry.state import Registry
from hub.service.changes.owners import GRACE_MS, Owners
from llmhub.v1.endpoint_pb2 import SOURCE_AUTO, SOURCE_CONFIG, SOURCE_MANUAL, Endpoint
from llmhub.v1.frame_pb2 import ReportEndpointRequest, ReportResourcesRequest

ID = "10.0.0.9:8000"
NOW = 1_000_000


class Rig:
    """Owners of a registry in which node-1 has an endpoint."""

    def __init__(self, presumed_until_ms: int = 0) -> None:
        self.registry = Registry(first_revision=1)
        self.connected: set[str] = set()
        self.owners = Owners(self.registry, self.connected.__contains__, presumed_until_ms)
        self.registry.put_endpoint(Endpoint(id=ID, source=SOURCE_AUTO, agent_id="node-1"))

    def connect(self, agent_id: str, now_ms: int) -> None:
        self.connected.add(agent_id)
        self.owners.note_presence(agent_id, now_ms)

    def disconnect(self, agent_id: str, now_ms: int) -> None:
        self.connected.discard(agent_id)
        self.owners.note_presence(agent_id, now_ms)

    def owner(self, now_ms: int, by: str = "node-2") -> str:
        record = self.registry.get(ID)
        assert record is not None
        return self.owners.owner(record.message, by, now_ms)


def test_a_disconnected_agent_keeps_its_endpoint_only_for_the_grace() -> None:
    rig = Rig()
    rig.connect("node-1", NOW)
    rig.owners.note_report("node-1", NOW)
    rig.registry.report_resources("node-1", ReportResourcesRequest(cpu_percent=1), NOW)
    rig.registry.report_view(ID, "node-1", ReportEndpointRequest(url="x", reachable=True), NOW)
    assert rig.owner(NOW + 1) == "node-1"
    assert rig.owner(NOW + 1, by="node-1") == ""
    rig.disconnect("node-1", NOW + 10)
    assert rig.owner(NOW + 10 + GRACE_MS - 1) == "node-1"
    assert rig.owner(NOW + 10 + GRACE_MS) == ""


def test_an_agent_that_returns_within_the_grace_has_not_left() -> None:
    rig = Rig()
    rig.connect("node-1", NOW)
    rig.disconnect("node-1", NOW)
    rig.connect("node-1", NOW + 1_000)
    assert rig.owner(NOW + 600_000) == "node-1"


@pytest.mark.parametrize("kind", ["endpoint", "resources", "view"])
def test_a_report_after_it_left_makes_an_agent_present_again(kind: str) -> None:
    rig = Rig()
    rig.connect("node-1", NOW)
    rig.disconnect("node-1", NOW)
    later = NOW + 2 * GRACE_MS
    assert rig.owner(later) == ""
    if kind == "endpoint":
        rig.owners.note_report("node-1", later)
    elif kind == "resources":
        rig.registry.report_resources("node-1", ReportResourcesRequest(cpu_percent=1), later)
    else:
        view = ReportEndpointRequest(url="x", reachable=True)
        rig.registry.report_view(ID, "node-1", view, later)
    assert rig.owner(later + 1) == "node-1"


def test_after_a_start_owners_are_presumed_present_unless_they_left() -> None:
    rig = Rig(presumed_until_ms=NOW + 90_000)
    assert rig.owner(NOW + 89_999) == "node-1"
    assert rig.owner(NOW + 90_000) == ""
    rig.connect("node-1", NOW)
    rig.disconnect("node-1", NOW)
    assert rig.owner(NOW + GRACE_MS) == ""


@pytest.mark.parametrize("source", [SOURCE_MANUAL, SOURCE_CONFIG])
def test_no_sidecar_replaces_the_agent_of_an_admins_endpoint(source: int) -> None:
    rig = Rig()
    rig.registry.put_endpoint(Endpoint(id=ID, source=source, agent_id="node-1"))
    assert rig.owner(NOW) == "node-1"
    record = rig.registry.get(ID)
    assert record is not None
    with pytest.raises(EndpointOwned, match="an admin can change its agent_id") as refused:
        rig.owners.require(record.message, "node-2", NOW)
    assert refused.value.metadata == {"id": ID, "owner": "node-1"}
    rig.owners.require(record.message, "node-1", NOW)


def test_a_single_call_keeps_an_agent_present_for_a_report_lifetime() -> None:
    rig = Rig()
    assert not rig.owners.is_present("node-1", NOW)
    rig.owners.note_report("node-1", NOW)
    rig.owners.note_report("node-2", NOW + 1)
    rig.owners.note_report("node-1", NOW + 2)
    assert rig.owners.is_present("node-1", NOW + 90_001)
    assert not rig.owners.is_present("node-1", NOW + 90_002)
    assert not rig.owners.is_present("node-2", NOW + 90_001)

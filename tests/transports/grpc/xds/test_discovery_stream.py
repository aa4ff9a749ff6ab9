"""The rules of state-of-the-world xDS."""

import pytest
from structlog.testing import capture_logs

from hub.contract.errors import ValidationFailed
from hub.service.handlers.discover_endpoints import EndpointSet, SetMember
from hub.transports.envoy_resources import ASSIGNMENT_TYPE, CLUSTER, CLUSTER_TYPE
from hub.transports.grpc.xds.discovery_stream import DiscoveryStream
from llmhub.gateway.v1 import discovery_pb2 as pb

MEMBER = SetMember("10.0.0.1", 1, "10.0.0.1", "HEALTHY", uses_tls=False)
FIRST, SECOND = EndpointSet("1", (MEMBER,)), EndpointSet("2", ())


def ask(stream: DiscoveryStream, kind: str = ASSIGNMENT_TYPE, **fields):
    request = pb.DiscoveryRequest(type_url=kind, **fields)
    return [
        pb.DiscoveryResponse.FromString(each)
        for each in stream.receive(request.SerializeToString())
    ]


def update(stream: DiscoveryStream, found: EndpointSet):
    return [pb.DiscoveryResponse.FromString(each) for each in stream.update(found)]


def members(response: pb.DiscoveryResponse) -> dict[str, int]:
    found = [pb.ClusterLoadAssignment.FromString(each.value) for each in response.resources]
    return {each.cluster_name: sum(len(g.lb_endpoints) for g in each.endpoints) for each in found}


def test_a_subscription_is_answered_as_soon_as_the_set_is_known():
    stream = DiscoveryStream()
    assert ask(stream, resource_names=["a"]) == []
    (response,) = update(stream, FIRST)
    assert (response.version_info, response.type_url) == ("1", ASSIGNMENT_TYPE)
    assert members(response) == {"a": 1}
    other = DiscoveryStream()
    assert update(other, FIRST) == []
    assert members(ask(other, resource_names=["a", "b"])[0]) == {"a": 1, "b": 1}


def test_an_acknowledgement_is_not_answered_and_the_next_set_is_sent():
    stream = DiscoveryStream()
    update(stream, FIRST)
    (first,) = ask(stream, resource_names=["a"])
    assert ask(stream, resource_names=["a"], response_nonce=first.nonce, version_info="1") == []
    (second,) = update(stream, SECOND)
    assert (second.version_info, members(second)) == ("2", {"a": 0})
    assert second.nonce != first.nonce


def test_a_refusal_is_logged_and_not_answered_with_the_same():
    stream = DiscoveryStream()
    update(stream, FIRST)
    (first,) = ask(stream, resource_names=["a"])
    error = pb.DiscoveryError(code=3, message="bad port")
    with capture_logs() as logs:
        assert (
            ask(stream, resource_names=["a"], response_nonce=first.nonce, error_detail=error) == []
        )
    assert [(each["version"], each["error"]) for each in logs] == [("1", "bad port")]
    assert update(stream, SECOND)


def test_an_answer_to_an_older_response_is_ignored():
    stream = DiscoveryStream()
    update(stream, FIRST)
    (first,) = ask(stream, resource_names=["a"])
    update(stream, SECOND)
    assert ask(stream, resource_names=["a", "b"], response_nonce=first.nonce) == []


def test_other_names_are_answered_at_once():
    stream = DiscoveryStream()
    update(stream, FIRST)
    (first,) = ask(stream, resource_names=["a"])
    (second,) = ask(stream, resource_names=["a", "b"], response_nonce=first.nonce)
    assert members(second) == {"a": 1, "b": 1}


def test_the_cluster_is_sent_once():
    stream = DiscoveryStream()
    update(stream, FIRST)
    (response,) = ask(stream, CLUSTER_TYPE)
    assert [each.type_url for each in response.resources] == [CLUSTER_TYPE]
    assert update(stream, SECOND) == []
    assert (
        ask(stream, CLUSTER_TYPE, response_nonce=response.nonce, resource_names=["x"])[0].resources
        == []
    )
    assert ask(DiscoveryStream(), CLUSTER_TYPE, resource_names=[CLUSTER]) == []


def test_a_stream_of_endpoints_serves_no_other_type():
    stream = DiscoveryStream(ASSIGNMENT_TYPE)
    update(stream, FIRST)
    assert ask(stream, "", resource_names=["a"])
    with pytest.raises(ValidationFailed, match="type_url"):
        ask(stream, CLUSTER_TYPE)


@pytest.mark.parametrize(
    "fields", [{"kind": "type.googleapis.com/x"}, {"resource_names": ["x"] * 17}]
)
def test_what_is_not_served_is_refused(fields):
    with pytest.raises(ValidationFailed):
        ask(DiscoveryStream(), **fields)


def test_bytes_that_are_no_request_are_refused():
    with pytest.raises(ValidationFailed, match="DiscoveryRequest"):
        DiscoveryStream().receive(b"\xff")

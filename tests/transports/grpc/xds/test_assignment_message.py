from google.protobuf.json_format import MessageToDict

from hub.service.handlers.discover_endpoints import EndpointSet, SetMember
from hub.transports.envoy_resources import load_assignment
from hub.transports.grpc.xds.assignment_message import assignment


def test_both_forms_say_the_same():
    members = (
        SetMember("10.0.0.1", 8000, "gpu.lan", "HEALTHY", uses_tls=False),
        SetMember("10.0.0.2", 443, "api.lan", "DRAINING", uses_tls=True),
        SetMember("10.0.0.3", 1, "10.0.0.3", "UNHEALTHY", uses_tls=False),
        SetMember("::1", 1, "::1", "UNKNOWN", uses_tls=False),
    )
    found = EndpointSet("1", members)
    message = MessageToDict(assignment("c", found), preserving_proto_field_name=True)
    for each in message["endpoints"][0]["lb_endpoints"]:
        word = each.get("health_status", "HEALTH_STATUS_UNKNOWN")
        each["health_status"] = word.removeprefix("HEALTH_STATUS_")
    assert message == load_assignment("c", found)
    assert not assignment("c", EndpointSet("1", ())).endpoints

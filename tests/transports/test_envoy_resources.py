from hub.service.handlers.discover_endpoints import EndpointSet, SetMember
from hub.transports.envoy_resources import fleet_cluster, load_assignment

PLAIN = SetMember("10.0.0.1", 8000, "gpu.lan", "HEALTHY", uses_tls=False)
TLS = SetMember("::1", 443, "api.lan", "DRAINING", uses_tls=True)


def test_members_have_their_address_health_and_name():
    found = load_assignment("c", EndpointSet("1", (PLAIN, TLS)))
    assert found["cluster_name"] == "c"
    ((first, second),) = (group["lb_endpoints"] for group in found["endpoints"])
    assert first == {
        "endpoint": {
            "address": {"socket_address": {"address": "10.0.0.1", "port_value": 8000}},
            "hostname": "gpu.lan",
        },
        "health_status": "HEALTHY",
    }
    matched = second["metadata"]["filter_metadata"]["envoy.transport_socket_match"]
    assert matched in [each["match"] for each in fleet_cluster()["transport_socket_matches"]]
    assert load_assignment("c", EndpointSet("1", ()))["endpoints"] == []


def test_the_balancer_reports_whom_it_took_only_where_asked():
    assert "selected_host_key" not in str(fleet_cluster())
    assert "selected_host_key" in str(fleet_cluster(names_served=True))
    assert "/my/ca.pem" in str(fleet_cluster("/my/ca.pem"))

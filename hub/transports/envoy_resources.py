"""Envoy's resources in the JSON form of protobuf: the set of endpoints, and its cluster."""

from typing import Final

from hub.service.handlers.discover_endpoints import EndpointSet, SetMember

CLUSTER: Final = "llm-hub-endpoints"
"""The name of the cluster of all endpoints."""

ASSIGNMENT_TYPE: Final = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
CLUSTER_TYPE: Final = "type.googleapis.com/envoy.config.cluster.v3.Cluster"

LOAD_BALANCER: Final = "envoy.lb"
DESTINATION: Final = "x-gateway-destination-endpoint"
SERVED: Final = "x-gateway-destination-endpoint-served"
"""The metadata, and the header, by which picker and load balancer talk about endpoints."""

AUTHORITIES: Final = "/etc/ssl/certs/ca-certificates.crt"
"""Where Debian and its relatives keep the authorities that they trust."""

MAX_NAMES: Final = 16
"""How many names one request may ask for; each is answered with the same set."""

IN_PARALLEL: Final = 100_000
"""How many connections, requests and retries Envoy may have to all endpoints at a time.

Its own bounds are 1,024, and 3 for retries, which the requests in flight to one server exceed
when it dies. What a server can bear, the hub knows.
"""

Json = dict[str, object]

_POLICIES: Final = "envoy.extensions.load_balancing_policies"
_SOCKETS: Final = "envoy.extensions.transport_sockets"
_TLS: Final[Json] = {"tls": True}


def load_assignment(name: str, found: EndpointSet) -> Json:
    """The set as the cluster of that name."""
    members = [_member(each) for each in found.members]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": members}] if members else []}


def fleet_cluster(authorities: str = AUTHORITIES, *, names_served: bool = False) -> Json:
    """The cluster whose load balancer takes the endpoint that the picker has named.

    It has no other choice: a request that was not picked gets 503. An endpoint with the
    scheme https is connected to with TLS, and its certificate checked against the file
    `authorities`. With `names_served` the balancer reports the endpoint that it took in a
    field that the package xds-protos does not know.
    """
    none: Json = {
        "name": "none",
        "typed_config": _typed(
            f"{_POLICIES}.subset.v3.Subset",
            fallback_policy="NO_FALLBACK",
            subset_selectors=[{"keys": ["llm-hub-never"]}],
            subset_lb_policy=_policies(
                {"name": "any", "typed_config": _typed(f"{_POLICIES}.round_robin.v3.RoundRobin")}
            ),
        ),
    }
    picked: Json = {
        "name": "picked",
        "typed_config": _typed(
            f"{_POLICIES}.override_host.v3.OverrideHost",
            override_host_sources=[{"metadata": _lb_metadata(DESTINATION)}],
            **({"selected_host_key": _lb_metadata(SERVED)} if names_served else {}),
            fallback_policy=_policies(none),
        ),
    }
    return {
        "name": CLUSTER,
        "type": "EDS",
        "connect_timeout": "5s",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": IN_PARALLEL,
                    "max_pending_requests": IN_PARALLEL,
                    "max_requests": IN_PARALLEL,
                    "max_retries": IN_PARALLEL,
                }
            ]
        },
        "load_balancing_policy": _policies(picked),
        "transport_socket_matches": [
            {
                "name": "tls",
                "match": _TLS,
                "transport_socket": {
                    "name": "tls",
                    "typed_config": _typed(
                        f"{_SOCKETS}.tls.v3.UpstreamTlsContext",
                        auto_host_sni=True,
                        auto_sni_san_validation=True,
                        common_tls_context={
                            "validation_context": {"trusted_ca": {"filename": authorities}}
                        },
                    ),
                },
            },
            {
                "name": "plain",
                "match": {},
                "transport_socket": {
                    "name": "plain",
                    "typed_config": _typed(f"{_SOCKETS}.raw_buffer.v3.RawBuffer"),
                },
            },
        ],
    }


def _member(member: SetMember) -> Json:
    socket = {"address": member.address, "port_value": member.port}
    shown: Json = {
        # The hostname is sent as Host and as the server's name in TLS.
        "endpoint": {"address": {"socket_address": socket}, "hostname": member.host},
        "health_status": member.health,
    }
    if member.uses_tls:
        shown["metadata"] = {"filter_metadata": {"envoy.transport_socket_match": _TLS}}
    return shown


def _lb_metadata(key: str) -> Json:
    return {"key": LOAD_BALANCER, "path": [{"key": key}]}


def _policies(policy: Json) -> Json:
    return {"policies": [{"typed_extension_config": policy}]}


def _typed(name: str, **fields: object) -> Json:
    return {"@type": f"type.googleapis.com/{name}", **fields}

"""The cluster of all endpoints in the binary form of protobuf.

`envoy_resources.fleet_cluster` is the same in JSON. It is one constant with a dozen of
Envoy's messages, so it is written from the numbers of their fields.
"""

from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct

from hub.transports.envoy_resources import (
    AUTHORITIES,
    CLUSTER,
    DESTINATION,
    IN_PARALLEL,
    LOAD_BALANCER,
)

_TYPES: Final = "type.googleapis.com/envoy.extensions"
_LENGTH_DELIMITED: Final = 2
_EDS: Final = 3
_V3: Final = 2
# Connections, pending requests, requests and retries.
_THRESHOLDS: Final = (2, 3, 4, 5)

Value = int | str | bytes


def _message(*fields: tuple[int, Value]) -> bytes:
    """A message of these fields, each a number and a value, in the order of their numbers."""
    encoded = b""
    for number, value in fields:
        if isinstance(value, int):
            encoded += _varint(number << 3) + _varint(value)
        else:
            raw = value.encode() if isinstance(value, str) else value
            encoded += _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(raw)) + raw
    return encoded


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _typed(name: str, *fields: tuple[int, Value]) -> bytes:
    """A google.protobuf.Any."""
    return _message((1, f"{_TYPES}.{name}"), (2, _message(*fields)))


def _policies(name: str, typed: bytes) -> bytes:
    """A LoadBalancingPolicy with one policy, a TypedExtensionConfig."""
    return _message((1, _message((4, _message((1, name), (2, typed))))))


def _cluster() -> bytes:
    tls = Struct()
    tls.update({"tls": True})
    ads = _message((3, b""), (6, _V3))
    any_server = _typed("load_balancing_policies.round_robin.v3.RoundRobin")
    none = _typed(
        "load_balancing_policies.subset.v3.Subset",
        (3, _message((1, "llm-hub-never"))),
        (9, _policies("any", any_server)),
    )
    picked = _typed(
        "load_balancing_policies.override_host.v3.OverrideHost",
        (1, _message((2, _message((1, LOAD_BALANCER), (2, _message((1, DESTINATION))))))),
        (3, _policies("none", none)),
    )
    validation = _message((1, _message((1, AUTHORITIES))))
    secured = _typed(
        "transport_sockets.tls.v3.UpstreamTlsContext",
        (1, _message((3, validation))),
        (6, 1),
        (7, 1),
    )
    plain = _typed("transport_sockets.raw_buffer.v3.RawBuffer")
    sockets = (
        _message((1, "tls"), (2, tls.SerializeToString()), (3, _message((1, "tls"), (3, secured)))),
        _message((1, "plain"), (2, b""), (3, _message((1, "plain"), (3, plain)))),
    )
    in_parallel = _message((1, IN_PARALLEL))
    thresholds = _message(*((number, in_parallel) for number in _THRESHOLDS))
    return _message(
        (1, CLUSTER),
        (2, _EDS),
        (3, _message((1, ads))),
        (4, Duration(seconds=5).SerializeToString()),
        (10, _message((1, thresholds))),
        (41, _policies("picked", picked)),
        *((43, socket) for socket in sockets),
    )


CLUSTER_MESSAGE: Final = _cluster()
"""An encoded envoy.config.cluster.v3.Cluster."""

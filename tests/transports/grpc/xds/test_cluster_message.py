"""tests/scenarios/test_envoy_discovery.py has Envoy itself read the cluster."""

from hub.transports.envoy_resources import CLUSTER, fleet_cluster
from hub.transports.grpc.xds.cluster_message import CLUSTER_MESSAGE, _message, _varint


def test_numbers_are_written_as_protobuf_writes_them():
    assert [_varint(value) for value in (0, 127, 128, 300)] == [
        b"\0",
        b"\x7f",
        b"\x80\1",
        b"\xac\2",
    ]
    assert _message((1, 150), (2, "testing")) == bytes.fromhex("089601120774657374696e67")


def words(value: object) -> set[str]:
    if isinstance(value, dict):
        return {each for inner in value.values() for each in words(inner)}
    if isinstance(value, list):
        return {each for inner in value for each in words(inner)}
    return {value} if isinstance(value, str) else set()


def test_all_names_of_the_json_form_are_in_it():
    enums_and_times = {"EDS", "V3", "NO_FALLBACK", "5s"}
    missing = {each for each in words(fleet_cluster()) if each.encode() not in CLUSTER_MESSAGE}
    assert missing == enums_and_times
    assert CLUSTER.encode() in CLUSTER_MESSAGE

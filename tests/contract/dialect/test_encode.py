import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.contract.dialect.decode import compile_decoder
from hub.contract.dialect.encode import encode_frame, to_json, to_json_bytes, to_sparse_json
from llmhub.v1.admin_service_pb2 import CreateTokenRequest, UpdateEndpointRequest
from llmhub.v1.endpoint_pb2 import (
    BACKEND_LLAMA_CPP,
    MODEL_STATE_LOADED,
    STATUS_HEALTHY,
    Endpoint,
    Model,
)
from llmhub.v1.frame_pb2 import FieldError, FrameError, HubFrame
from llmhub.v1.resources_pb2 import HostResources, RegistryEvent, Snapshot
from tests.support.dialect import json_objects, message_classes


def test_an_empty_endpoint_shows_every_field():
    assert to_json(Endpoint()) == {
        "id": "",
        "host": "",
        "port": 0,
        "scheme": "",
        "base_path": "",
        "name": "",
        "backend": None,
        "backend_detected": False,
        "source": None,
        "agent_id": "",
        "status": None,
        "admin_state": None,
        "models": [],
        "labels": {},
        "version": "",
        "registered_at": None,
        "last_checked_at": None,
        "next_check_at": None,
        "consecutive_failures": 0,
        "last_error": "",
        "latency": None,
        "etag": "",
        "load": None,
        "sidecar_view": None,
        "fault": None,
        "flapping": None,
        "provenance": None,
        "same_server_as": "",
        "outcomes": [],
    }


def test_a_full_endpoint():
    endpoint = Endpoint(
        backend=BACKEND_LLAMA_CPP,
        status=STATUS_HEALTHY,
        models=[Model(name="m", state=MODEL_STATE_LOADED, size_bytes=0, capabilities=["tools"])],
        labels={"b": "2", "a": "1"},
        registered_at={"seconds": 1_795_339_132, "nanos": 121_999_999},
        latency={"nanos": 1_500_000},
    )
    value = to_json(endpoint)
    assert value["backend"] == "llama_cpp"
    assert value["status"] == "healthy"
    assert value["registered_at"] == 1_795_339_132_121
    assert value["latency"] == 1.5
    assert list(value["labels"]) == ["a", "b"]
    assert value["models"] == [
        {
            "name": "m",
            "digest": None,
            "size_bytes": 0,
            "family": None,
            "parameter_size": None,
            "quantization": None,
            "context_length": None,
            "state": "loaded",
            "vram_bytes": None,
            "expires_at": None,
            "capabilities": ["tools"],
            "expected_load": None,
            "base": None,
            "capabilities_known": None,
            "absent_capabilities": [],
            "adapters": [],
        }
    ]


def test_the_sparse_form_omits_absent_fields_and_keeps_plain_scalars():
    assert to_sparse_json(Model(name="", size_bytes=0)) == {"name": "", "size_bytes": 0}
    assert to_sparse_json(HostResources(gpus=[{}])) == {"agent_id": "", "gpus": [{}]}
    assert to_sparse_json(Snapshot()) == {"revision": 0}


@pytest.mark.parametrize(
    ("duration", "milliseconds"),
    [
        ({"seconds": 2}, 2000),
        ({"seconds": -1, "nanos": -500_000_000}, -1500),
        ({"nanos": -1_500_000}, -1.5),
        ({"nanos": 1}, 1e-6),
    ],
)
def test_durations(duration, milliseconds):
    value = to_json(CreateTokenRequest(ttl=duration))["ttl"]
    assert value == milliseconds
    assert isinstance(value, type(milliseconds))


def test_a_time_before_1970_is_rounded_down():
    endpoint = Endpoint(registered_at={"seconds": -1, "nanos": 999_000_000})
    assert to_json(endpoint)["registered_at"] == -1


def test_a_field_mask_is_a_list():
    request = UpdateEndpointRequest(update_mask={"paths": ["name", "admin_state"]})
    assert to_json(request)["update_mask"] == ["name", "admin_state"]


def test_an_enum_number_from_a_newer_contract_is_unknown():
    assert to_json(Endpoint(backend=99))["backend"] is None


def test_map_values_may_be_messages():
    snapshot = Snapshot(resources={"a": HostResources(cpu_percent=1)}, fleet_models={"m": 2})
    value = to_json(snapshot)
    assert value["resources"]["a"]["cpu_percent"] == 1.0
    assert value["resources"]["a"]["ram_used_bytes"] is None
    assert value["fleet_models"] == {"m": 2}


def test_a_oneof_shows_its_other_members_as_null():
    value = to_json(RegistryEvent(endpoint={"id": "h:1"}))
    assert value["endpoint"]["id"] == "h:1"
    assert value["resources"] is None


def test_bytes_do_not_depend_on_the_order_of_insertion():
    one = Endpoint()
    other = Endpoint()
    for key in "abcdefgh":
        one.labels[key] = key
    for key in "hgfedcba":
        other.labels[key] = key
    assert to_json_bytes(one) == to_json_bytes(other)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (HubFrame(identified={"agent_id": "a"}), '{"type":"identified","agent_id":"a"}'),
        (HubFrame(pong={"timestamp": {"seconds": 5}}), '{"type":"pong","timestamp":5000}'),
        (
            HubFrame(error=FrameError(error="not_identified")),
            '{"type":"error","error":"not_identified"}',
        ),
        (
            HubFrame(
                error=FrameError(
                    error="validation_failed",
                    message_type="ping",
                    errors=[FieldError(field="x", error="required", detail="is required")],
                )
            ),
            '{"type":"error","error":"validation_failed","message_type":"ping",'
            '"errors":[{"field":"x","error":"required","detail":"is required"}]}',
        ),
        (
            HubFrame(rate_limited={"tier": "light"}),
            '{"type":"rate_limited","tier":"light","retry_after_ms":0}',
        ),
        (
            HubFrame(rate_limit_warning={"tier": "light", "capacity": 120}),
            '{"type":"rate_limit_warning","tier":"light","remaining":0,"capacity":120}',
        ),
    ],
)
def test_frames(frame, text):
    assert encode_frame(frame) == text


def test_an_empty_frame_is_refused():
    with pytest.raises(ValueError, match="no type"):
        encode_frame(HubFrame())


@pytest.mark.parametrize("message_class", message_classes(responses=True), ids=str)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_encoding_round_trips(message_class, data):
    decoder = compile_decoder(message_class)
    message = decoder.decode(data.draw(json_objects(message_class.DESCRIPTOR))).message
    for encoded in (to_json(message), to_sparse_json(message)):
        again = decoder.decode(orjson.loads(orjson.dumps(encoded)))
        assert again.violations == []
        assert again.unknown_fields == 0
        assert again.message == message
    assert list(to_json(message)) == [field.name for field in message_class.DESCRIPTOR.fields]

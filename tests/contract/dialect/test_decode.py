import json
import sys

import orjson
import pytest
from google.protobuf import json_format
from google.protobuf.wrappers_pb2 import BytesValue, FloatValue
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.contract.dialect.decode import compile_decoder
from hub.contract.dialect.names import MAX_VIOLATIONS
from hub.contract.errors import FieldViolation
from llmhub.v1.admin_service_pb2 import (
    CreateTokenRequest,
    ListSidecarsRequest,
    RegisterEndpointRequest,
    UpdateEndpointRequest,
)
from llmhub.v1.endpoint_pb2 import BACKEND_LLAMA_CPP, BACKEND_VLLM
from llmhub.v1.frame_pb2 import IdentifyRequest, ReportEndpointRequest, ReportResourcesRequest
from llmhub.v1.resources_pb2 import SidecarInfo, Snapshot
from tests.support.dialect import canonical, json_objects, message_classes


def decode(message_class, value):
    return compile_decoder(message_class).decode(value)


def violation(message_class, value):
    (found,) = decode(message_class, value).violations
    return found.field, found.error, found.detail, found.value


def test_a_report_with_null_integer_percent_and_unknown_fields():
    decoded = decode(
        ReportResourcesRequest,
        {
            "cpu_percent": 39,
            "ram_used_bytes": 2**53,
            "vram_total_bytes": None,
            "timestamp": 1_795_339_132_121,
            "gpus": [{"name": "A", "colour": "red"}],
            "protocol_version": 1,
        },
    )
    assert decoded.violations == []
    assert decoded.unknown_fields == 2
    assert decoded.message == ReportResourcesRequest(
        cpu_percent=39.0,
        ram_used_bytes=2**53,
        timestamp={"seconds": 1_795_339_132, "nanos": 121_000_000},
        gpus=[{"name": "A"}],
    )
    assert not decoded.message.HasField("vram_total_bytes")


def test_ignored_keys_are_not_counted():
    decoder = compile_decoder(ReportResourcesRequest, frozenset({"type"}))
    assert decoder.decode({"type": "resource_report", "x": 1}).unknown_fields == 1


def test_a_decoder_is_compiled_once():
    assert compile_decoder(SidecarInfo) is compile_decoder(SidecarInfo)


@pytest.mark.parametrize("message_class", [BytesValue, FloatValue])
def test_compiling_refuses_a_field_that_the_dialect_cannot_express(message_class):
    with pytest.raises(TypeError, match="JSON dialect"):
        compile_decoder(message_class)


def test_only_the_proto_name_of_a_field_is_known():
    decoded = decode(IdentifyRequest, {"agentId": "a"})
    assert decoded.message.agent_id == ""
    assert decoded.unknown_fields == 1


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("12", "string"),
        (1.5, "number"),
        (5.0, "number"),
        (True, "boolean"),
        ([1], "array"),
        ({}, "object"),
    ],
)
def test_an_integer_is_not_coerced(value, kind):
    field, error, detail, _ = violation(RegisterEndpointRequest, {"port": value})
    assert (field, error, detail) == ("port", "wrong_type", f"expected integer, got {kind}")


@pytest.mark.parametrize(
    ("value", "kind"), [("12", "string"), (False, "boolean"), ([], "array"), ({}, "object")]
)
def test_a_number_is_not_coerced(value, kind):
    field, error, detail, _ = violation(ReportResourcesRequest, {"cpu_percent": value})
    assert (field, error, detail) == ("cpu_percent", "wrong_type", f"expected number, got {kind}")


@pytest.mark.parametrize(
    ("value", "kind"), [(1, "integer"), (1.5, "number"), (True, "boolean"), ([], "array")]
)
def test_a_string_is_not_coerced(value, kind):
    field, error, detail, _ = violation(RegisterEndpointRequest, {"host": value})
    assert (field, error, detail) == ("host", "wrong_type", f"expected string, got {kind}")


@pytest.mark.parametrize("value", [0, "true", 1.0, []])
def test_a_boolean_is_not_coerced(value):
    field, error, detail, _ = violation(ReportEndpointRequest, {"reachable": value})
    assert (field, error) == ("reachable", "wrong_type")
    assert detail.startswith("expected boolean, got ")


@pytest.mark.parametrize(
    ("message_class", "field", "value"),
    [
        (RegisterEndpointRequest, "port", -1),
        (RegisterEndpointRequest, "port", 2**32),
        (RegisterEndpointRequest, "port", 1e20),
        (ListSidecarsRequest, "page_size", 2**31),
        (ReportResourcesRequest, "ram_used_bytes", orjson.loads("9223372036854775808")),
        (ReportResourcesRequest, "ram_used_bytes", orjson.loads("-9223372036854775809")),
        (SidecarInfo, "violations", orjson.loads("18446744073709551616")),
        (ReportResourcesRequest, "ram_used_bytes", 10**400),
        (ReportResourcesRequest, "cpu_percent", 10**400),
        (ReportResourcesRequest, "timestamp", 253_402_300_800_000),
        (ReportResourcesRequest, "timestamp", -62_135_596_800_001),
        (ReportResourcesRequest, "timestamp", 1e300),
        (CreateTokenRequest, "ttl", 315_576_000_000_001),
        (CreateTokenRequest, "ttl", float("inf")),
        (CreateTokenRequest, "ttl", float("nan")),
    ],
)
def test_a_number_outside_the_range_of_its_type_is_refused(message_class, field, value):
    path, error, _, _ = violation(message_class, {field: value})
    assert (path, error) == (field, "out_of_range")


@pytest.mark.parametrize(
    ("message_class", "field", "value"),
    [
        (RegisterEndpointRequest, "port", 2**32 - 1),
        (ListSidecarsRequest, "page_size", -(2**31)),
        (ReportResourcesRequest, "ram_used_bytes", -(2**63)),
        (ReportResourcesRequest, "ram_used_bytes", 2**63 - 1),
        (SidecarInfo, "violations", 2**64 - 1),
    ],
)
def test_the_bounds_of_a_type_are_accepted(message_class, field, value):
    decoded = decode(message_class, {field: value})
    assert decoded.violations == []
    assert getattr(decoded.message, field) == value


def test_a_number_out_of_range_is_reported():
    assert violation(RegisterEndpointRequest, {"port": -1}) == (
        "port",
        "out_of_range",
        "must be between 0 and 4294967295",
        "-1",
    )


@pytest.mark.parametrize(
    ("word", "number"), [("vllm", BACKEND_VLLM), ("llama_cpp", BACKEND_LLAMA_CPP)]
)
def test_enums_are_short_words(word, number):
    assert decode(RegisterEndpointRequest, {"backend": word}).message.backend == number


@pytest.mark.parametrize("word", ["VLLM", "BACKEND_VLLM", "unspecified", "", "v" * 99])
def test_an_unknown_word_is_refused_with_a_list_of_the_known_ones(word):
    field, error, detail, _ = violation(RegisterEndpointRequest, {"backend": word})
    assert (field, error) == ("backend", "invalid")
    assert detail == (
        "must be one of: ollama, vllm, llama_cpp, lm_studio, sglang, openai, llama_swap, "
        "litellm, lemonade, lmdeploy, docker_model_runner, tei"
    )


def test_the_number_of_an_enum_is_refused():
    assert violation(RegisterEndpointRequest, {"backend": 1})[:2] == ("backend", "wrong_type")


@pytest.mark.parametrize(
    ("milliseconds", "seconds", "nanos"),
    [
        (1500, 1, 500_000_000),
        (-1500, -1, -500_000_000),
        (0.25, 0, 250_000),
        (-0.25, 0, -250_000),
        (999.9999999, 1, 0),
    ],
)
def test_durations_are_milliseconds(milliseconds, seconds, nanos):
    ttl = decode(CreateTokenRequest, {"ttl": milliseconds}).message.ttl
    assert (ttl.seconds, ttl.nanos) == (seconds, nanos)


def test_a_field_mask_is_a_list_of_paths():
    value = {"update_mask": ["name", 3, "labels"]}
    decoded = decode(UpdateEndpointRequest, value)
    assert list(decoded.message.update_mask.paths) == ["name", "labels"]
    assert [each.field for each in decoded.violations] == ["update_mask[1]"]


def test_paths_of_items_nested_fields_and_map_entries():
    assert violation(IdentifyRequest, {"capabilities": ["a", 2]})[0] == "capabilities[1]"
    assert violation(IdentifyRequest, {"capabilities": [None]})[2] == "expected string, got null"
    assert violation(ReportResourcesRequest, {"gpus": [{"name": 1}]})[0] == "gpus[0].name"
    assert violation(ReportResourcesRequest, {"gpus": [{}, 4]})[0] == "gpus[1]"
    assert violation(RegisterEndpointRequest, {"labels": {"a b": 1}})[0] == 'labels["a b"]'
    assert violation(UpdateEndpointRequest, {"endpoint": {"models": [{"capabilities": [7]}]}})[
        0
    ] == ("endpoint.models[0].capabilities[0]")
    resources = {"resources": {"x": {"cpu_percent": ""}}}
    assert violation(Snapshot, resources)[0] == 'resources["x"].cpu_percent'
    assert violation(RegisterEndpointRequest, {"labels": {"k" * 99: 1}})[0] == (
        f'labels["{"k" * 50}..."]'
    )


def test_an_invalid_item_keeps_its_index():
    decoded = decode(IdentifyRequest, {"capabilities": [1, "b"]})
    assert list(decoded.message.capabilities) == ["", "b"]
    decoded = decode(ReportResourcesRequest, {"gpus": [1, {"name": "b"}]})
    assert [gpu.name for gpu in decoded.message.gpus] == ["", "b"]


def test_an_empty_object_sets_a_message_field():
    assert decode(UpdateEndpointRequest, {"endpoint": {}}).message.HasField("endpoint")
    assert not decode(UpdateEndpointRequest, {"endpoint": None}).message.HasField("endpoint")


@pytest.mark.parametrize("value", [None, [], "x", 1, 1.5, True])
def test_a_value_that_is_not_an_object_is_a_wrong_type(value):
    assert violation(IdentifyRequest, value) == (
        "message",
        "wrong_type",
        "expected JSON object",
        None,
    )


def test_lone_surrogates_are_invalid():
    value = json.loads('"\\ud800"')
    assert violation(IdentifyRequest, {"name": value}) == (
        "name",
        "invalid",
        "is not valid Unicode text",
        "\\ud800",
    )
    assert violation(RegisterEndpointRequest, {"labels": {value: "x"}})[1] == "invalid"
    assert violation(RegisterEndpointRequest, {"labels": {"x": value}})[0] == 'labels["x"]'
    assert violation(UpdateEndpointRequest, {"update_mask": [value]})[0] == "update_mask[0]"
    assert violation(RegisterEndpointRequest, {"backend": value})[3] == "\\ud800"


def test_values_are_cut_and_secrets_are_not_shown():
    assert violation(RegisterEndpointRequest, {"port": "9" * 51})[3] == "9" * 50 + "..."
    assert violation(RegisterEndpointRequest, {"port": "9" * 50})[3] == "9" * 50
    assert violation(IdentifyRequest, {"token": 12345})[3] is None
    assert violation(RegisterEndpointRequest, {"api_key": True})[3] is None
    assert violation(RegisterEndpointRequest, {"api_key": "\udfff"})[3] is None
    assert violation(RegisterEndpointRequest, {"host": ["secret"]})[3] is None


def test_the_number_of_violations_is_bounded():
    decoded = decode(ReportEndpointRequest, {"models": [1] * 1000})
    assert len(decoded.violations) == MAX_VIOLATIONS
    assert decoded.violations[-1] == FieldViolation(
        f"models[{MAX_VIOLATIONS - 1}]", "wrong_type", "expected object, got integer", "1"
    )


def test_no_item_of_a_list_beyond_its_limit_is_decoded():
    value = {"capabilities": ["x"] * 64, "token": "t"}
    assert decode(IdentifyRequest, value).violations == []
    value["capabilities"].append(1)
    decoded = decode(IdentifyRequest, value)
    assert decoded.violations == [
        FieldViolation("capabilities", "too_many_items", "exceeds maximum of 64 items")
    ]
    assert decoded.message == IdentifyRequest(token="t")
    labels = {str(index): 1 for index in range(65)}
    assert violation(RegisterEndpointRequest, {"labels": labels})[1] == "too_many_items"


def test_depth_is_bounded_by_the_message_type():
    deep: object = {}
    for _ in range(sys.getrecursionlimit() * 3):
        deep = {"gpus": [deep], "endpoint": deep, "labels": deep}
    for message_class in message_classes(responses=True):
        assert decode(message_class, deep).message is not None


@pytest.mark.parametrize("message_class", message_classes(responses=True), ids=lambda c: c.__name__)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_decoding_agrees_with_json_format(message_class, data):
    value = data.draw(json_objects(message_class.DESCRIPTOR))
    decoded = decode(message_class, value)
    oracle = message_class()
    json_format.ParseDict(canonical(message_class.DESCRIPTOR, value), oracle)
    assert decoded.violations == []
    assert decoded.unknown_fields == 0
    assert decoded.message == oracle


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from(["vllm", 10**400, -(10**400), 1e300, 2**63, "\ud800", ""]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "message_class", message_classes(responses=False), ids=lambda c: c.__name__
)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_no_value_raises(message_class, data):
    names = [field.name for field in message_class.DESCRIPTOR.fields]
    keys = st.sampled_from([*names, "unknown"])
    value = data.draw(JUNK | st.dictionaries(keys, JUNK, max_size=6))
    decoded = decode(message_class, value)
    assert isinstance(decoded.message, message_class)
    for found in decoded.violations:
        # Errors must fit into a JSON reply.
        orjson.dumps([found.field, found.error, found.detail, found.value])

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.contract.dialect.decode import Decoder
from hub.contract.dialect.frames import (
    KNOWN_TYPES,
    MAX_UNREAD_BYTES,
    UnreadReport,
    not_an_object,
    parse_frame,
)
from hub.contract.errors import FieldViolation, InvalidJson, ValidationFailed
from hub.contract.rpcs import FRAMES
from hub.contract.validation import check
from llmhub.v1.frame_pb2 import (
    IdentifyRequest,
    PingRequest,
    ReportEndpointRequest,
    ReportModelActionRequest,
    ReportOllamaRequest,
    ReportResourcesRequest,
)
from llmhub.v1.sidecar_service_pb2 import DESCRIPTOR as SIDECAR_FILE
from tests.support.dialect import request_of

CAPTURE = Path(__file__).parents[2] / "support" / "sidecar-frames.jsonl"


def failure(text):
    with pytest.raises(ValidationFailed) as caught:
        parse_frame(text)
    (violation,) = caught.value.violations
    return violation, caught.value.metadata["message_type"]


def test_the_types_are_the_requests_of_the_sidecar_service():
    assert {name: each.rpc.request for name, each in FRAMES.items()} == {
        "identify": IdentifyRequest,
        "ollama_report": ReportOllamaRequest,
        "endpoint_report": ReportEndpointRequest,
        "resource_report": ReportResourcesRequest,
        "ping": PingRequest,
        "model_action_result": ReportModelActionRequest,
    }
    methods = SIDECAR_FILE.services_by_name["SidecarService"].methods_by_name
    requests = {method.input_type for name, method in methods.items() if name != "Connect"}
    assert {each.rpc.request.DESCRIPTOR for each in FRAMES.values()} == requests


@pytest.mark.parametrize("line", CAPTURE.read_text().splitlines())
@pytest.mark.parametrize("encoding", ["str", "bytes"])
def test_frames_of_a_sidecar_in_the_field(line, encoding):
    frame = parse_frame(line.encode() if encoding == "bytes" else line)
    request = request_of(frame)
    check(request)
    sent = json.loads(line)
    assert frame.type == sent["type"]
    unknown = {"client_type", "protocol_version"} & set(sent)
    assert frame.unknown_fields == len(unknown)
    for name, value in sent.items():
        if name in unknown | {"type"}:
            continue
        if value is None:
            assert not request.HasField(name)
        elif name == "timestamp":
            assert request.timestamp.ToMilliseconds() == value
        else:
            assert getattr(request, name) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "nope",
        "{'type':'ping'}",
        '{"type":"ping",}',
        '{"type":"ping"} {}',
        '{"type":"ping","n":NaN}',
        '{"type":"ping","n":Infinity}',
        '{"type":"ping","n":1e400}',
        '{"type":"ping","n":01}',
        '\ufeff{"type":"ping"}',
        '{"type":"pi\x00ng"}',
        '\x00{"type":"ping"}',
        '{"type":"\\ud800"}',
        b'{"type":"\xff"}',
        '{"type":"\ud800"}',
        "[" * 65_536,
        '{"a":' * 10_000,
        "[" * 32_768 + "]" * 32_768,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_invalid_json(text):
    with pytest.raises(InvalidJson):
        parse_frame(text)


@pytest.mark.parametrize("text", ["[]", '"ping"', "1", "null", "true", "[" * 999 + "]" * 999])
def test_json_that_is_not_an_object_is_refused(text):
    violation, message_type = failure(text)
    assert violation == FieldViolation("message", "wrong_type", "expected JSON object")
    assert message_type == "unknown"


def test_a_binary_frame_gets_the_error_of_a_value_that_is_not_an_object():
    error = not_an_object()
    assert error.violations == [FieldViolation("message", "wrong_type", "expected JSON object")]
    assert error.metadata == {"message_type": "unknown"}


@pytest.mark.parametrize("text", ["{}", '{"type":null}', '{"Type":"ping"}'])
def test_a_missing_type_is_refused(text):
    violation, message_type = failure(text)
    assert violation == FieldViolation("type", "required", "is required")
    assert message_type == "unknown"


@pytest.mark.parametrize(
    ("literal", "kind"), [("1", "integer"), ("[]", "array"), ("{}", "object"), ("true", "boolean")]
)
def test_a_type_that_is_not_a_string_is_refused(literal, kind):
    violation, message_type = failure(f'{{"type":{literal}}}')
    assert (violation.field, violation.error) == ("type", "wrong_type")
    assert violation.detail == f"expected string, got {kind}"
    assert message_type == "unknown"


def test_an_unknown_type_is_refused():
    violation, message_type = failure('{"type":"nope"}')
    assert violation == FieldViolation(
        "type",
        "unknown_message_type",
        "unknown message type 'nope'",
        "nope",
        (
            *("endpoint_report", "identify", "model_action_result"),
            *("ollama_report", "ping", "resource_report"),
        ),
    )
    assert violation.known_types == KNOWN_TYPES
    assert message_type == "nope"


def test_a_long_unknown_type_is_cut():
    violation, message_type = failure(json.dumps({"type": "x" * 60_000}))
    assert violation.detail == f"unknown message type '{'x' * 50}...'"
    assert message_type == "x" * 50 + "..."


def test_the_last_of_duplicate_keys_wins():
    frame = parse_frame('{"type":"ping","type":"identify","agent_id":"a","agent_id":"b"}')
    assert frame.type == "identify"
    assert frame.decode().message.agent_id == "b"


def report_text(**members):
    return json.dumps({"type": "resource_report", "cpu_percent": 12.5, **members}).encode()


def test_a_valid_report_is_kept_as_its_text():
    text = report_text(agent_id="gpu-1", gpus=[{"name": "Ü", "index": 0}], timestamp=1795339132121)
    frame = parse_frame(text)
    unread = frame.decode()
    assert isinstance(unread, UnreadReport)
    assert unread.is_valid
    assert unread.message is unread
    assert (unread.agent_id, unread.violations, frame.unknown_fields) == ("gpu-1", (), 0)
    assert (
        unread.read()
        == Decoder(ReportResourcesRequest, frozenset({"type"})).decode(json.loads(text)).message
    )
    assert parse_frame(report_text(agent_id=None)).decode().agent_id == ""


@pytest.mark.parametrize(
    "members",
    [{"cpu_percent": 101}, {"later": 1}, {"gpus": [{"later": None}]}, {"ram_used_bytes": "1"}],
)
def test_a_report_that_is_not_valid_or_has_unknown_fields_is_decoded(members):
    decoded = parse_frame(report_text(**members)).decode()
    assert not decoded.is_valid
    assert isinstance(decoded.message, ReportResourcesRequest)


def test_a_long_report_is_decoded():
    text = report_text()
    spaces = b" " * (MAX_UNREAD_BYTES - len(text))
    assert isinstance(parse_frame(text + spaces).decode(), UnreadReport)
    decoded = parse_frame(text + spaces + b" ").decode()
    assert isinstance(decoded.message, ReportResourcesRequest)


def test_an_escaped_nul_is_text():
    frame = parse_frame('{"type":"identify","agent_id":"a\\u0000"}')
    assert frame.decode().message.agent_id == "a\0"


def test_deep_json_under_a_known_field_is_a_wrong_type():
    deep = "[" * 1000 + "]" * 1000
    frame = parse_frame(f'{{"type":"identify","agent_id":{deep},"x":{deep}}}')
    decoded = frame.decode()
    assert [each.detail for each in decoded.violations] == ["expected string, got array"]
    assert decoded.unknown_fields == 1


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_text_is_a_frame_or_one_of_two_errors(text):
    with contextlib.suppress(InvalidJson, ValidationFailed):
        assert parse_frame(text).type in KNOWN_TYPES

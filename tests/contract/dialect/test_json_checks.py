"""The checks of JSON beside decoding and protovalidate; `make fuzz` compares a million."""

from collections import Counter

import pytest
from google.protobuf.descriptor import FieldDescriptor

from buf.validate.validate_pb2 import FieldRules
from hub.contract.dialect import json_checks
from hub.contract.dialect.json_checks import compile_json_check
from hub.contract.rules import value_checks
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.frame_pb2 import (
    IdentifyRequest,
    PingRequest,
    ReportEndpointRequest,
    ReportResourcesRequest,
    SidecarFrame,
)
from tests.support import validation_fuzz
from tests.support.rule_messages import message_class

REPORT = {
    "agent_id": "gpu-1",
    "cpu_percent": 12,
    "ram_used_bytes": 730218752,
    "vram_total_bytes": None,
    "gpus": [{"index": 0, "name": "Fast Ü", "utilization_percent": 99.5}, {}],
    "timestamp": 1795339132121,
}


def check_of(message):
    check = compile_json_check(message.DESCRIPTOR)
    assert check is not None
    return check


@pytest.mark.parametrize("first", range(0, 9_000, 3_000))
def test_only_valid_json_is_accepted_and_nearly_all_of_it_is(first):
    checks = validation_fuzz.json_checks()
    assert ReportResourcesRequest in checks
    seen = Counter(validation_fuzz.play_json(seed, checks) for seed in range(first, first + 3_000))
    print(f"(accepted, valid) from seed {first}: {seen}")
    assert min(seen[True, True], seen[False, False]) > 500
    assert seen[False, True] < seen[True, True] / 50


def test_every_valid_report_is_accepted():
    reports = {ReportResourcesRequest: validation_fuzz.json_checks()[ReportResourcesRequest]}
    seen = Counter(validation_fuzz.play_json(seed, reports) for seed in range(3_000))
    assert seen[False, True] == 0
    assert min(seen[True, True], seen[False, False]) > 500


def play_all(checks):
    for seed in range(100_000):
        validation_fuzz.play_json(seed, checks)


@pytest.mark.parametrize(
    ("rule", "other"),
    [
        ("max_len", lambda limit: limit + 1),
        ("gte", lambda limit: limit - 1),
        ("lte", lambda limit: limit + 1),
        ("max_items", lambda limit: limit + 1),
        ("pattern", lambda _: "^"),
    ],
)
def test_a_rule_that_is_compiled_wrongly_is_found(monkeypatch, rule, other):
    read = value_checks.limits

    def misread(rules, known):
        found = read(rules, known)
        return found | {rule: other(found[rule])} if rule in found else found

    monkeypatch.setattr(value_checks, "limits", misread)
    monkeypatch.setattr(json_checks, "limits", misread)
    _, decoder = validation_fuzz.json_checks()[ReportResourcesRequest]
    reports = {ReportResourcesRequest: (check_of(ReportResourcesRequest), decoder)}
    with pytest.raises(AssertionError, match="not valid: "):
        play_all(reports)


def test_a_report_as_sidecars_send_it_is_accepted():
    assert check_of(ReportResourcesRequest)(REPORT)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cpu_percent": "12"},
        {"cpu_percent": True},
        {"cpu_percent": 100.1},
        {"ram_used_bytes": 5.0},
        {"ram_used_bytes": True},
        {"ram_used_bytes": 2**53},
        {"agent_id": "a\n"},
        {"agent_id": "\ud800"},
        {"agent_id": 7},
        {"gpus": None} | {"unknown": None},
        {"gpus": {}},
        {"gpus": [None]},
        {"gpus": [{}] * 65},
        {"gpus": [{"index": 1024}]},
        {"gpus": [{"later": 1}]},
        {"timestamp": 1.5},
        {"timestamp": True},
        {"timestamp": 253_402_300_800_000},
    ],
)
def test_json_with_one_wrong_value_is_not_accepted(wrong):
    assert not check_of(ReportResourcesRequest)(REPORT | wrong)


def test_keys_to_ignore_may_have_any_value():
    check = compile_json_check(PingRequest.DESCRIPTOR, frozenset({"type"}))
    assert check({"type": "ping"})
    assert check({"type": None})
    assert not check({"kind": "ping"})


@pytest.mark.parametrize(
    "message", [IdentifyRequest, ReportEndpointRequest, SidecarFrame, Endpoint]
)
def test_messages_with_rules_beyond_the_value_of_a_field_are_not_checked(message):
    assert compile_json_check(message.DESCRIPTOR) is None


@pytest.mark.parametrize(
    ("type_", "rules", "options"),
    [
        (FieldDescriptor.TYPE_STRING, {"required": True}, {}),
        (FieldDescriptor.TYPE_STRING, {"string": {"min_len": 1, "max_len": 5}}, {}),
        (FieldDescriptor.TYPE_STRING, {"string": {"in": ["a"]}}, {}),
        (FieldDescriptor.TYPE_INT32, {"int32": {"gte": 1}}, {}),
        (
            FieldDescriptor.TYPE_STRING,
            {"repeated": {"min_items": 1, "max_items": 5}},
            {"repeated": True},
        ),
        (
            FieldDescriptor.TYPE_STRING,
            {"repeated": {"unique": True, "max_items": 5}},
            {"repeated": True},
        ),
        (FieldDescriptor.TYPE_STRING, {}, {"repeated": True}),
        (FieldDescriptor.TYPE_BYTES, {}, {}),
        (FieldDescriptor.TYPE_BOOL, {}, {}),
        (FieldDescriptor.TYPE_ENUM, {"enum": {"defined_only": True}}, {"enum": [0, 1]}),
        (FieldDescriptor.TYPE_MESSAGE, {}, {"type_name": "google.protobuf.Duration"}),
        (
            FieldDescriptor.TYPE_MESSAGE,
            {"timestamp": {"lt_now": True}},
            {"type_name": "google.protobuf.Timestamp"},
        ),
    ],
)
def test_fields_whose_json_is_not_checked(type_, rules, options):
    made = message_class(type_, FieldRules(**rules), **options)
    assert compile_json_check(made.DESCRIPTOR) is None


def test_a_list_of_numbers_is_checked_number_by_number():
    rules = FieldRules(repeated={"max_items": 2, "items": {"int32": {"lte": 7}}})
    check = check_of(message_class(FieldDescriptor.TYPE_INT32, rules, repeated=True))
    assert check({"value": [7, -(2**31)]})
    assert not check({"value": [8]})
    assert not check({"value": [7.0]})
    assert not check({"value": [1, 2, 3]})


def test_a_field_with_presence_may_be_absent_where_zero_would_be_wrong():
    rules = FieldRules(int32={"gte": 1})
    check = check_of(message_class(FieldDescriptor.TYPE_INT32, rules, optional=True))
    assert check({})
    assert check({"value": None})
    assert check({"value": 1})
    assert not check({"value": 0})

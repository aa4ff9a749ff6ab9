import pytest
from google.protobuf.duration_pb2 import Duration

from hub.contract.dialect.names import (
    cut,
    enum_word,
    enum_words,
    field_rules,
    is_map,
    is_secret,
    json_type,
    map_path,
    message_rules,
    shown,
)
from llmhub.v1.admin_service_pb2 import CreateTokenRequest
from llmhub.v1.endpoint_pb2 import AdminState, Endpoint
from llmhub.v1.frame_pb2 import IdentifyRequest
from llmhub.v1.resources_pb2 import EventType


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", ""),
        ("x" * 50, "x" * 50),
        ("x" * 51, "x" * 50 + "..."),
        ("ü" * 60, "ü" * 50 + "..."),
        ("a\ud800b", "a\\ud800b"),
        ("\U0001f600", "\U0001f600"),
    ],
)
def test_cut(text, seen):
    assert cut(text) == seen


@pytest.mark.parametrize(
    ("key", "path"),
    [("a b", '["a b"]'), ('a"b', '["a\\"b"]'), ("ü", '["ü"]'), ("", '[""]'), ("\n", '["\\n"]')],
)
def test_map_path(key, path):
    assert map_path(key) == path


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"),
        (True, "boolean"),
        (1, "integer"),
        (1.0, "number"),
        ("", "string"),
        ([], "array"),
        ({}, "object"),
    ],
)
def test_json_type(value, name):
    assert json_type(value) == name


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (-5, "-5"),
        (2**64 - 1, "18446744073709551615"),
        (101.0, "101"),
        (0.5, "0.5"),
        (1e300, "1e+300"),
        (float("nan"), "nan"),
        (Duration(seconds=1, nanos=500_000), "1000.5"),
        ("x", "x"),
        (None, None),
        ([1], None),
        ({"a": 1}, None),
        pytest.param(10**5000, None, id="huge"),
    ],
)
def test_shown(value, text):
    assert shown(value) == text


def test_enum_words_leave_out_the_prefix_and_the_unspecified_value():
    assert enum_words(AdminState.DESCRIPTOR) == {"enabled": 1, "draining": 2, "disabled": 3}
    assert enum_words(EventType.DESCRIPTOR) == {"put": 1, "delete": 2}


def test_maps_and_secrets():
    assert is_map(Endpoint.DESCRIPTOR.fields_by_name["labels"])
    assert not is_map(Endpoint.DESCRIPTOR.fields_by_name["models"])
    assert not is_map(Endpoint.DESCRIPTOR.fields_by_name["registered_at"])
    assert is_secret(IdentifyRequest.DESCRIPTOR.fields_by_name["token"])
    assert not is_secret(IdentifyRequest.DESCRIPTOR.fields_by_name["name"])


def test_a_number_has_one_word_known_or_not():
    words = [enum_word(AdminState.DESCRIPTOR, number) for number in AdminState.values()]
    assert words == ["unspecified", "enabled", "draining", "disabled"]
    assert enum_word(AdminState.DESCRIPTOR, 99) == "99"


def test_the_rules_of_a_field():
    fields = IdentifyRequest.DESCRIPTOR.fields_by_name
    assert field_rules(fields["agent_id"]).required
    assert field_rules(fields["agent_id"]).string.max_len == 128
    assert field_rules(fields["capabilities"]).repeated.max_items == 64
    assert not field_rules(fields["name"]).required


def test_a_field_without_rules():
    field = CreateTokenRequest.DESCRIPTOR.fields_by_name["description"]
    assert not field_rules(field).required


def test_the_rules_of_a_message():
    rules = message_rules(CreateTokenRequest.DESCRIPTOR).cel
    assert [rule.id for rule in rules] == [
        "token.sidecar_agent",
        "token.scope_of_reader",
        "token.scope_of_sidecar",
        "token.scope_of_admin",
    ]
    assert not message_rules(IdentifyRequest.DESCRIPTOR).cel

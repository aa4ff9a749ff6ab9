import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from buf.validate import validate_pb2
from hub.contract import validation
from hub.contract.dialect.decode import compile_decoder
from hub.contract.dialect.names import MAX_VIOLATIONS
from hub.contract.errors import FieldViolation, ValidationFailed
from hub.contract.rpcs import FRAMES
from hub.contract.validation import check, violations, warm
from llmhub.v1.admin_service_pb2 import (
    CreateTokenRequest,
    RegisterEndpointRequest,
    UpdateEndpointRequest,
)
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.frame_pb2 import (
    IdentifyRequest,
    ReportEndpointRequest,
    ReportResourcesRequest,
    SidecarFrame,
)
from llmhub.v1.registry_service_pb2 import (
    ListEndpointsRequest,
    SelectEndpointRequest,
    WatchRegistryRequest,
)
from llmhub.v1.resources_pb2 import ROLE_READER, ROLE_SIDECAR
from tests.support.dialect import json_objects, message_classes


def only(message):
    (violation,) = violations(message)
    return violation


def test_a_valid_message_has_no_violations():
    message = IdentifyRequest(agent_id="a", token="t", capabilities=["x"])
    assert violations(message) == []
    check(message)


def test_only_valid_requests_are_remembered(monkeypatch):
    monkeypatch.setattr(validation, "_MAX_REMEMBERED", 2)
    remembered = validation._valid
    remembered.clear()
    for model in ("a", "b", "a", "c"):
        check(SelectEndpointRequest(model=model))
    assert [SelectEndpointRequest.FromString(raw).model for _, raw in remembered] == ["a", "c"]
    for _ in range(2):
        with pytest.raises(ValidationFailed):
            check(SelectEndpointRequest(model="a", count=-1))
    with pytest.raises(ValidationFailed):
        check(SelectEndpointRequest(model="a"), [FieldViolation("count", "invalid", "is wrong")])
    check(SelectEndpointRequest(model="m" * 200, exclude_ids=["10.0.0.1:1"] * 64))
    check(ReportResourcesRequest(cpu_percent=5))
    assert len(remembered) == 2, "neither long requests nor those of sidecars"


def test_what_the_compiled_rules_refuse_is_for_protovalidate_to_judge(monkeypatch):
    monkeypatch.setitem(validation._by_class, IdentifyRequest, lambda _message: False)
    check(IdentifyRequest(agent_id="a", token="t"))
    with pytest.raises(ValidationFailed) as refused:
        check(IdentifyRequest(agent_id="a"))
    assert [violation.field for violation in refused.value.violations] == ["token"]


def test_required():
    assert violations(IdentifyRequest(agent_id="a")) == [
        FieldViolation("token", "required", "is required")
    ]
    assert only(RegisterEndpointRequest()) == FieldViolation("host", "required", "is required")


def test_too_long():
    assert only(IdentifyRequest(agent_id="a", token="t", name="n" * 257)) == FieldViolation(
        "name", "too_long", "exceeds maximum length of 256 characters", "n" * 50 + "..."
    )


def test_length_is_counted_in_characters():
    assert violations(IdentifyRequest(agent_id="a", token="t", name="ü" * 256)) == []


@pytest.mark.parametrize(
    ("message", "field", "value"),
    [
        (ReportResourcesRequest(cpu_percent=101), "cpu_percent", "101"),
        (ReportResourcesRequest(cpu_percent=100.5), "cpu_percent", "100.5"),
        (ReportResourcesRequest(ram_used_bytes=-1), "ram_used_bytes", "-1"),
        (ReportResourcesRequest(gpus=[{}, {"index": 5000}]), "gpus[1].index", "5000"),
        (RegisterEndpointRequest(host="h", port=99999), "port", "99999"),
        (ListEndpointsRequest(page_size=1001), "page_size", "1001"),
        (WatchRegistryRequest(after_revision=-1), "after_revision", "-1"),
        (CreateTokenRequest(role=ROLE_READER, ttl={"nanos": 5_500_000}), "ttl", "5.5"),
    ],
)
def test_out_of_range(message, field, value):
    violation = only(message)
    assert (violation.field, violation.error, violation.value) == (field, "out_of_range", value)
    assert violation.detail.startswith("must be ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_out_of_range(value):
    found = violations(ReportResourcesRequest(cpu_percent=value))
    assert {(each.field, each.error) for each in found} == {("cpu_percent", "out_of_range")}


def test_too_many_items():
    message = IdentifyRequest(agent_id="a", token="t", capabilities=["x"] * 65)
    assert only(message) == FieldViolation(
        "capabilities", "too_many_items", "exceeds maximum of 64 items"
    )
    labels = {f"k{index}": "" for index in range(65)}
    assert only(RegisterEndpointRequest(host="h", labels=labels)) == FieldViolation(
        "labels", "too_many_items", "exceeds maximum of 64 items"
    )


@pytest.mark.parametrize(
    ("message", "field", "detail", "value"),
    [
        (
            IdentifyRequest(agent_id="a\n", token="t"),
            "agent_id",
            "must not be empty or contain control characters",
            "a\n",
        ),
        (
            RegisterEndpointRequest(host="h/x"),
            "host",
            "must be a host name or an IP address, without scheme, port or path",
            "h/x",
        ),
        (
            RegisterEndpointRequest(host="h", scheme="ftp"),
            "scheme",
            "must be one of: http, https",
            "ftp",
        ),
        (
            RegisterEndpointRequest(host="h", backend=99),
            "backend",
            "is not a value of this enum",
            "99",
        ),
        (
            RegisterEndpointRequest(host="h", labels={"k": "\t"}),
            'labels["k"]',
            "must not contain control characters",
            "\t",
        ),
        (ListEndpointsRequest(labels={"": "x"}), 'labels[""]', "key must not be empty", ""),
        (
            ReportEndpointRequest(url="u", models=[{"name": "m"}, {}]),
            "models[1].name",
            "must not be empty",
            "",
        ),
    ],
)
def test_invalid(message, field, detail, value):
    assert only(message) == FieldViolation(field, "invalid", detail, value)


def test_an_invalid_map_key_is_reported_as_a_key():
    violation = only(RegisterEndpointRequest(host="h", labels={"a b": "x"}))
    assert violation.field == 'labels["a b"]'
    assert violation.detail.startswith("key must consist of letters")
    violation = only(RegisterEndpointRequest(host="h", labels={"k" * 64: "x"}))
    assert violation.error == "too_long"
    assert violation.detail == "key exceeds maximum length of 63 characters"


def test_a_rule_that_compares_fields_names_the_field_to_correct():
    assert only(CreateTokenRequest(role=ROLE_SIDECAR)) == FieldViolation(
        "agent_id", "invalid", "a sidecar token needs one, and no other token has one"
    )


def test_an_empty_oneof_is_required():
    assert only(SidecarFrame()) == FieldViolation("frame", "required", "is required")
    frame = SidecarFrame(identify={"token": "t"})
    assert only(frame) == FieldViolation("identify.agent_id", "required", "is required")


@pytest.mark.parametrize(
    "message",
    [
        IdentifyRequest(agent_id="a", token="s" * 257),
        SidecarFrame(identify={"agent_id": "a", "token": "s" * 257}),
        RegisterEndpointRequest(host="h", api_key="s" * 4097),
        RegisterEndpointRequest(host="h", api_key="secret\n"),
    ],
)
def test_a_secret_is_never_shown(message):
    violation = only(message)
    assert violation.error in {"too_long", "invalid"}
    assert violation.value is None
    assert "s" * 50 not in violation.detail
    assert "secret" not in violation.detail


def test_the_number_of_violations_is_bounded():
    message = ReportEndpointRequest(url="u", models=[{}] * 1000)
    assert len(violations(message)) == MAX_VIOLATIONS
    decoded = compile_decoder(ReportEndpointRequest).decode({"models": [1] * 1000})
    with pytest.raises(ValidationFailed) as caught:
        check(decoded.message, decoded.violations)
    assert len(caught.value.violations) == MAX_VIOLATIONS


def test_only_the_first_violation_of_a_long_message_is_reported():
    message = ReportEndpointRequest(url="u", models=[{}] * 100_000)
    assert only(message).error == "too_many_items"
    message = IdentifyRequest(token="t", capabilities=["x" * 257] * 64)
    assert only(message).field == "agent_id"


def checked(message_class, value):
    decoded = compile_decoder(message_class).decode(value)
    with pytest.raises(ValidationFailed) as caught:
        check(decoded.message, decoded.violations)
    return [(each.field, each.error) for each in caught.value.violations]


def test_a_required_field_of_the_wrong_type_is_reported_once():
    assert checked(IdentifyRequest, {"agent_id": 5, "token": "t"}) == [("agent_id", "wrong_type")]


def test_decoding_violations_come_before_those_of_rules():
    value = {"token": "t", "status": 5, "name": "n" * 300, "capabilities": ["x", None, "y" * 300]}
    assert checked(IdentifyRequest, value) == [
        ("status", "wrong_type"),
        ("capabilities[1]", "wrong_type"),
        ("agent_id", "required"),
        ("name", "too_long"),
        ("capabilities[2]", "too_long"),
    ]


def test_nothing_is_reported_below_an_undecodable_field():
    value = {"url": "u", "models": [7, {"name": ""}]}
    assert checked(ReportEndpointRequest, value) == [
        ("models[0]", "wrong_type"),
        ("models[1].name", "invalid"),
    ]
    assert checked(UpdateEndpointRequest, {"endpoint": []}) == [("endpoint", "wrong_type")]


def test_a_field_with_a_similar_name_is_another_field():
    value = {"name": 5, "name_too": 1, "host": "h", "base_path": "x"}
    assert checked(RegisterEndpointRequest, value) == [
        ("name", "wrong_type"),
        ("base_path", "invalid"),
    ]


def test_fields_that_could_not_be_decoded_are_not_compared():
    value = {"role": 3, "agent_id": "a"}
    assert checked(CreateTokenRequest, value) == [("role", "wrong_type")]


def test_warm_compiles_every_rule(monkeypatch):
    seen = set()
    protovalidate = validation._validator

    class Recorder:
        def collect_violations(self, message, **options):
            seen.add(type(message))
            return protovalidate.collect_violations(message, **options)

    monkeypatch.setattr(validation, "_validator", Recorder())
    monkeypatch.setattr(validation, "_by_class", {})
    warm()
    assert seen >= set(message_classes(responses=True))
    assert validation._by_class.keys() == set(message_classes(responses=True))


def rules_of(field: FieldDescriptor):
    rules = field.GetOptions().Extensions[validate_pb2.field]
    return [rules, rules.repeated.items, rules.map.keys, rules.map.values]


# Addresses are parsed; tokens and ids of actions must be those that the hub gave out.
PARSED = {"url", "ollama_url", "token", "action_id"}


def texts_below(message_class, path=()):
    """The text fields of a message and of those in it, each as the path that leads to it."""
    for field in message_class.DESCRIPTOR.fields:
        if field.type == FieldDescriptor.TYPE_STRING and field.name not in PARSED:
            yield (*path, field)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            inner = message_factory.GetMessageClass(field.message_type)
            if field.message_type.full_name.startswith("llmhub."):
                yield from texts_below(inner, (*path, field))


@pytest.mark.parametrize("mark", ["\x1b", "\n", "\x9b", "\u202e", "\u2066", "\u2028"])
def test_nothing_that_a_sidecar_says_may_change_how_it_is_shown(mark):
    """L14: what a sidecar says is shown on terminals and pages, as what a server says is."""
    seen = set()
    for kind in FRAMES.values():
        for path in texts_below(kind.rpc.request):
            message = level = kind.rpc.request()
            for field in path[:-1]:
                below = getattr(level, field.name)
                level = below.add() if field.is_repeated else below
            last = path[-1]
            if last.is_repeated:
                getattr(level, last.name).append(f"a{mark}b")
            else:
                setattr(level, last.name, f"a{mark}b")
            named = [each for each in violations(message) if last.name in each.field]
            assert named, (kind.type, [field.name for field in path])
            seen.add(last.name)
    assert {"status", "error", "digest", "adapters", "uuid", "detail"} <= seen


@pytest.mark.parametrize(
    "text",
    [
        "GPU-Knoten 3",
        "\u06a9\u062a\u0627\u0628\u200c\u0647\u0627",
        "👩\u200d👩\u200d👧",
    ],
)
def test_text_of_every_language_is_text(text):
    assert not violations(ReportEndpointRequest(url="http://a", name=text))


def test_every_pattern_of_the_contract_has_words():
    descriptors = {message.DESCRIPTOR for message in message_classes(responses=True)}
    descriptors |= {Endpoint.DESCRIPTOR, *(f.message_type for f in Endpoint.DESCRIPTOR.fields)}
    patterns = {
        rules.string.pattern
        for descriptor in descriptors - {None}
        for field in descriptor.fields
        for rules in rules_of(field)
    } - {""}
    assert len(patterns) > 3
    assert patterns <= set(validation._PATTERNS_IN_WORDS)


@pytest.mark.parametrize("message_class", message_classes(responses=False), ids=str)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_any_message_gets_readable_violations(message_class, data):
    value = data.draw(json_objects(message_class.DESCRIPTOR))
    for violation in violations(compile_decoder(message_class).decode(value).message):
        assert violation.field
        assert violation.error in {
            "required",
            "too_long",
            "out_of_range",
            "too_many_items",
            "invalid",
        }
        assert violation.detail
        assert "regex" not in violation.detail
        assert violation.value is None or len(violation.value) <= 53

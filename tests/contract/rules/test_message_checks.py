"""The compiled rules beside protovalidate; `make fuzz` compares a million messages."""

from collections import Counter

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from buf.validate.validate_pb2 import FieldRules
from hub.contract.rules import message_checks, value_checks
from hub.contract.rules.message_checks import AcceptedTexts, MessageChecks
from llmhub.v1.admin_service_pb2 import CreateTokenRequest, RegisterEndpointRequest
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.frame_pb2 import IdentifyRequest, PingRequest, ReportResourcesRequest, SidecarFrame
from llmhub.v1.model_alias_pb2 import AliasTarget
from llmhub.v1.registry_service_pb2 import GetEndpointRequest
from llmhub.v1.resources_pb2 import ROLE_ADMIN
from tests.support import validation_fuzz
from tests.support.rule_messages import message_class

JUDGED = 6_000
RULES = [
    (kind.name, rule.name)
    for kind in FieldRules.DESCRIPTOR.fields
    if kind.containing_oneof is not None and kind.name != "map"
    for rule in kind.message_type.fields
]
SCALARS = {
    name: number
    for name, number in (
        (type_.removeprefix("TYPE_").lower(), getattr(FieldDescriptor, type_))
        for type_ in dir(FieldDescriptor)
        if type_.startswith("TYPE_")
    )
    if name in FieldRules.DESCRIPTOR.fields_by_name and name != "enum"
}
NAMES = {
    "any": "google.protobuf.Any",
    "duration": "google.protobuf.Duration",
    "enum": "llmhub.v1.Backend",
    "field_mask": "google.protobuf.FieldMask",
    "timestamp": "google.protobuf.Timestamp",
}


class Asked:
    """protovalidate, and what it was asked."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def __call__(self, message: Message) -> bool:
        self.messages.append(message)
        return validation_fuzz.ask(message)


def judge(message: Message) -> tuple[bool, int]:
    """What the check says of the message, and how often it asks."""
    asked = Asked()
    verdict = MessageChecks(asked).of(message.DESCRIPTOR)(message)
    return verdict, len(asked.messages)


@pytest.mark.parametrize("first", range(0, JUDGED, 2_000))
def test_the_compiled_rules_and_protovalidate_agree(first):
    accepts = validation_fuzz.by_type(validation_fuzz.compiled())
    verdicts = Counter(validation_fuzz.play(seed, accepts) for seed in range(first, first + 2_000))
    print(f"messages from seed {first}: {verdicts}")
    assert min(verdicts.values()) > 200


def play_all(accepts):
    for seed in range(100_000):
        validation_fuzz.play(seed, accepts)


@pytest.mark.parametrize(
    ("rule", "other"),
    [
        ("max_len", lambda limit: limit + 1),
        ("max_len", lambda limit: limit - 1),
        ("min_len", lambda limit: limit - 1),
        ("gte", lambda limit: Duration() if isinstance(limit, Duration) else limit - 1),
        ("gt", lambda limit: Duration(seconds=-1)),
        (
            "lte",
            lambda limit: limit + 1 if isinstance(limit, int | float) else Duration(seconds=9**9),
        ),
        ("pattern", lambda pattern: pattern.removeprefix("^")),
        ("in", lambda words: [*words, "ftp"]),
        ("max_items", lambda limit: limit + 1),
        ("min_items", lambda limit: limit - 1),
        ("max_pairs", lambda limit: limit + 1),
        ("required", lambda _: False),
    ],
)
def test_a_rule_that_is_compiled_wrongly_is_found(monkeypatch, rule, other):
    read = value_checks.limits

    def misread(rules, known):
        found = read(rules, known)
        return found | {rule: other(found[rule])} if rule in found else found

    monkeypatch.setattr(value_checks, "limits", misread)
    monkeypatch.setattr(message_checks, "limits", misread)
    accepts = validation_fuzz.by_type(validation_fuzz.compiled())
    with pytest.raises(AssertionError, match="valid: "):
        play_all(accepts)


@pytest.mark.parametrize("part", ["_required_and", "_applies_only_if_set"])
def test_presence_that_is_compiled_wrongly_is_found(monkeypatch, part):
    wrong = {"_required_and": lambda check: check or (lambda _: True)}
    monkeypatch.setattr(message_checks, part, wrong.get(part, lambda _field, _check: False))
    accepts = validation_fuzz.by_type(validation_fuzz.compiled())
    with pytest.raises(AssertionError, match="valid: "):
        play_all(accepts)


def test_most_of_the_contract_is_compiled():
    left_to_protovalidate = set()
    for type_ in validation_fuzz.types():
        asked = Asked()
        check = MessageChecks(asked).of(type_.DESCRIPTOR)
        if check is asked:
            left_to_protovalidate.add(type_.DESCRIPTOR.name)
    assert left_to_protovalidate == {"CreateTokenRequest", "AliasTarget", "TokenScope"}


@pytest.mark.parametrize(
    "message",
    [
        IdentifyRequest(agent_id="a", token="t", capabilities=["x"]),
        ReportResourcesRequest(cpu_percent=5, gpus=[{"index": 1}]),
        GetEndpointRequest(id="10.0.0.1:1"),
        SidecarFrame(ping={}),
        PingRequest(),
    ],
)
def test_protovalidate_is_not_asked_about_what_is_compiled(message):
    assert judge(message) == (True, 0)


def test_protovalidate_judges_expressions():
    assert judge(CreateTokenRequest(role=ROLE_ADMIN)) == (True, 1)
    assert judge(CreateTokenRequest(role=ROLE_ADMIN, agent_id="a")) == (False, 1)
    assert judge(AliasTarget()) == (False, 1)


def test_a_text_that_protovalidate_accepted_is_not_asked_about_again():
    asked = Asked()
    check = MessageChecks(asked).of(RegisterEndpointRequest.DESCRIPTOR)
    assert check(RegisterEndpointRequest(host="h"))
    assert check(RegisterEndpointRequest(host="h", port=5))
    assert not check(RegisterEndpointRequest(host="h", port=99_999))
    assert len(asked.messages) == 1
    for _ in range(2):
        assert not check(RegisterEndpointRequest(host="h/x"))
        assert not check(RegisterEndpointRequest(host="h", base_path="x"))
    assert len(asked.messages) == 5
    # What is wrong elsewhere says nothing of the host.
    assert not check(RegisterEndpointRequest(host="other", port=99_999))
    assert check(RegisterEndpointRequest(host="other"))
    assert check(RegisterEndpointRequest(host="other", base_path="/ollama"))
    assert len(asked.messages) == 8
    assert check(RegisterEndpointRequest(host="h", base_path="/ollama"))
    assert len(asked.messages) == 8


def test_few_and_short_texts_are_remembered(monkeypatch):
    monkeypatch.setattr(AcceptedTexts, "MAX_TEXTS", 2)
    texts = AcceptedTexts("host")
    for host in ("a", "b", "a", "c", "x" * 257):
        texts.add(RegisterEndpointRequest(host=host))
    held = [host for host in "abc" if texts.has(RegisterEndpointRequest(host=host))]
    assert held == ["b", "c"]
    assert not texts.has(RegisterEndpointRequest(host="x" * 257))


@pytest.mark.parametrize(
    ("rules", "optional"),
    [
        ({"cel": [{"id": "i", "expression": "this != 'no'"}]}, True),
        ({"cel": [{"id": "i", "expression": "this != 'no' && now == now"}]}, False),
        ({"cel_expression": ["this != 'no' && now == now"]}, False),
    ],
)
def test_a_text_is_only_remembered_if_the_rule_depends_only_on_it(rules, optional):
    type_ = message_class(FieldDescriptor.TYPE_STRING, FieldRules(**rules), optional=optional)
    asked = Asked()
    check = MessageChecks(asked).of(type_.DESCRIPTOR)
    assert [check(type_(value=text)) for text in ("a", "a", "no")] == [True, True, False]
    assert len(asked.messages) == 3


def sample(field: FieldDescriptor):
    """A limit for a rule, of the rule's type."""
    if field.message_type is not None:
        has_seconds = "seconds" in field.message_type.fields_by_name
        return {"seconds": 5} if has_seconds else {}
    if field.enum_type is not None or field.type == FieldDescriptor.TYPE_BOOL:
        return 1
    return {FieldDescriptor.TYPE_STRING: "a", FieldDescriptor.TYPE_BYTES: b"a"}.get(field.type, 5)


def values(type_: int, kind: str) -> list:
    match kind:
        case "string":
            return ["", "a", "aaaaa", "b" * 6, "a@b.example", "10.0.0.1"]
        case "bytes":
            return [b"", b"a", b"aaaaa", b"b" * 16]
        case "duration" | "timestamp":
            return [{}, {"seconds": 5}, {"seconds": 6}, {"seconds": 4}]
        case "any" | "field_mask":
            return [{}]
        case "bool":
            return [False, True]
        case _:
            return [0, 1, 4, 5, 6]


@pytest.mark.parametrize(
    ("kind", "rule", "optional"),
    [(*rule, optional) for rule in RULES for optional in (False, rule[0] != "repeated")],
)
def test_every_rule_that_there_is_is_judged(kind, rule, optional):
    """A rule that is not compiled is asked about, and one that is says the same."""
    rules = FieldRules()
    repeated = kind == "repeated"
    typed = getattr(rules, kind)
    field = typed.DESCRIPTOR.fields_by_name[rule]
    limit = sample(field)
    typed.MergeFrom(type(typed)(**{rule: [limit] if field.is_repeated else limit}))
    item = "string" if repeated else kind
    type_ = SCALARS.get(item, FieldDescriptor.TYPE_MESSAGE)
    if kind == "enum":
        type_ = FieldDescriptor.TYPE_ENUM
    made = message_class(
        type_, rules, type_name=NAMES.get(kind, ""), repeated=repeated, optional=optional
    )
    check = MessageChecks(validation_fuzz.ask).of(made.DESCRIPTOR)
    given = [[value, value] if repeated else value for value in values(type_, item)]
    for message in (made(), *(made(value=value) for value in given)):
        assert check(message) == validation_fuzz.ask(message), message


def test_an_endpoint_within_a_message_is_judged_by_its_own_rules():
    frame = SidecarFrame(identify={"token": "t"})
    assert judge(frame) == (False, 0)
    frame.identify.agent_id = "a"
    assert judge(frame) == (True, 0)
    assert judge(SidecarFrame()) == (False, 0)
    assert judge(Endpoint(models=[{"name": "m"}, {}]))[0] is False
    assert judge(Endpoint(labels={"a b": "x"}))[0] is False
    assert judge(Endpoint(labels={"a": "\t"}))[0] is False
    assert judge(Endpoint(labels={"a": "x"}))[0] is True

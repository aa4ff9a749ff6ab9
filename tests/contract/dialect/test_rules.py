from hub.contract.dialect.rules import field_rules, message_rules
from llmhub.v1.admin_service_pb2 import CreateTokenRequest
from llmhub.v1.frame_pb2 import IdentifyRequest


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
    (rule,) = message_rules(CreateTokenRequest.DESCRIPTOR).cel
    assert rule.id == "token.sidecar_agent"
    assert not message_rules(IdentifyRequest.DESCRIPTOR).cel

import pytest

from hub.contract.errors import ValidationFailed
from hub.transports.grpc.picker import gateway_messages as messages
from hub.transports.grpc.picker.gateway_messages import Mutation
from llmhub.gateway.v1 import processing_pb2 as pb
from tests.support.picking import headers, response


def test_values_come_as_text_or_as_bytes():
    message = headers(x_a="raw")
    message.request_headers.headers.headers.append(pb.HeaderValue(key="x-b", value="text"))
    found = messages.headers_of(message.request_headers)
    assert (found["x-a"], found["x-b"]) == ("raw", "text")


def test_bytes_that_are_no_text_survive():
    sent = pb.HttpHeaders(
        headers=pb.HeaderMap(headers=[pb.HeaderValue(key="a", raw_value=b"\xff")])
    )
    assert messages.headers_of(sent) == {"a": "\xff"}
    raw = messages.request_headers(Mutation({"a": "\xff"}), "1.1.1.1:1")
    option = pb.ProcessingResponse.FromString(raw).request_headers.response.header_mutation
    assert option.set_headers[0].header.raw_value == b"\xff"


@pytest.mark.parametrize(
    ("subset", "found"),
    [(None, None), ("", set()), ("a:1,b:2", {"a:1", "b:2"}), (["a:1"], {"a:1"}), ([], set())],
)
def test_hints_are_lists_or_text(subset, found):
    wanted = None if found is None else frozenset(found)
    assert messages.subset_of(headers(subset=subset)) == wanted


def test_the_balancers_word_counts_before_the_attribute():
    message = response(upstream="10.0.0.1:1")
    assert messages.served_by(message) == "10.0.0.1:1"
    message.metadata_context.filter_metadata["envoy.lb"].update(
        {"x-gateway-destination-endpoint-served": "10.0.0.2:2"}
    )
    assert messages.served_by(message) == "10.0.0.2:2"
    assert messages.served_by(response()) == ""


def test_what_is_not_a_message_is_refused():
    with pytest.raises(ValidationFailed):
        messages.parse(b"\xff")


def test_an_immediate_response_has_its_headers():
    raw = messages.immediate(429, {"retry-after": "3"}, b"{}", "why")
    sent = pb.ProcessingResponse.FromString(raw).immediate_response
    assert (sent.status.code, sent.body, sent.details) == (429, b"{}", "why")
    (option,) = sent.headers.set_headers
    assert (option.header.key, option.header.raw_value) == ("retry-after", b"3")


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("length", [0, 1, 16_383, 16_384, 220_000, 3_000_000])
def test_a_chunk_is_what_the_messages_own_encoder_writes(length, ended):
    body = bytes(length)
    response = pb.ProcessingResponse()
    streamed = response.request_body.response.body_mutation.streamed_response
    streamed.body, streamed.end_of_stream = body, ended
    assert messages.chunk(body, ended=ended) == response.SerializeToString()

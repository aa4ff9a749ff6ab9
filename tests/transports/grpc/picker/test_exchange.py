"""Each rule of the protocol, on the exchange without sockets."""

import json

import orjson
import pytest

from hub.contract.errors import ValidationFailed
from hub.service.picks import PickOutcome
from llmhub.gateway.v1 import processing_pb2 as pb
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DRAINING,
    BACKEND_OLLAMA,
    BACKEND_VLLM,
)
from llmhub.v1.model_alias_pb2 import AliasTarget, ModelAlias
from llmhub.v1.resources_pb2 import TokenScope
from tests.support.fleet_of import loaded
from tests.support.picking import (
    CHAT,
    Picking,
    Talk,
    body,
    destination,
    headers,
    mutation,
    passed,
    refused,
    response,
    set_headers,
)

ONE, TWO = "127.0.0.1:1", "127.0.0.1:2"
ASKED = b'{"messages": [{"role": "user", "content": "hi"}], "model": "m"}'


@pytest.fixture
def picking() -> Picking:
    made = Picking()
    made.endpoint(ONE, loaded("m"))
    return made


def error(reply: pb.ImmediateResponse) -> dict:
    return orjson.loads(reply.body)["error"]


# The request's phase.


def test_the_headers_are_answered_when_the_model_is_known(picking: Picking):
    talk = picking.exchange()
    assert talk.send(headers()) == []
    assert talk.send(body(ASKED[:20], ended=False)) == []
    head, *chunks = talk.send(body(ASKED[20:], ended=False))
    assert head.WhichOneof("response") == "request_headers"
    assert destination(head) == ONE
    assert passed(chunks) == ASKED
    (last,) = talk.send(body(b"", ended=True))
    assert last.request_body.response.body_mutation.streamed_response.end_of_stream


def test_what_follows_the_model_is_not_held(picking: Picking):
    talk = picking.exchange()
    talk.send(headers())
    assert len(talk.send(body(b'{"model": "m", "input": "', ended=False))) == 2
    assert picking.held.taken == 0
    for _ in range(300):
        (reply,) = talk.send(body(b"x" * 1000, ended=False))
        assert passed([reply]) == b"x" * 1000
        assert picking.held.taken == 0
    assert passed(talk.send(body(b'"}'))) == b'"}'


def test_a_body_that_is_held_too_long_is_refused():
    picking = Picking(per_request=1000)
    picking.endpoint(ONE, loaded("m"))
    talk = picking.exchange()
    talk.send(headers())
    assert talk.send(body(b'{"input": "' + b"x" * 900, ended=False)) == []
    assert picking.held.taken > 900
    assert refused(talk.send(body(b"x" * 200, ended=False))).status.code == 413
    assert picking.held.taken == 0


def test_the_bodies_of_all_requests_together_are_bounded():
    picking = Picking(per_request=1000)
    picking.endpoint(ONE, loaded("m"))
    talks = [picking.exchange() for _ in range(4)]
    for talk in talks:
        talk.send(headers())
    held = [talk.send(body(b'{"input": "' + b"x" * 900, ended=False)) for talk in talks]
    assert held[:3] == [[], [], []]
    assert refused(held[3]).status.code == 413
    for talk in talks:
        talk.exchange.end()
    assert picking.held.taken == 0


def test_a_request_without_a_body_has_no_model(picking: Picking):
    assert refused(picking.exchange().send(headers(ended=True))).status.code == 400


def test_the_header_names_the_model_of_a_form(picking: Picking):
    form = {"content_type": "multipart/form-data; boundary=x", "x_llm_hub_model": "m"}
    replies = picking.exchange().post(
        b"--x\r\n", b"anything", path="/v1/audio/translations", **form
    )
    assert destination(replies[0]) == ONE
    assert passed(replies) == b"--x\r\nanything"
    assert "x-llm-hub-model" in mutation(replies[0]).remove_headers


def test_trailers_end_a_body(picking: Picking):
    talk = picking.exchange()
    talk.send(headers())
    replies = talk.send(body(ASKED, ended=False))
    assert not replies[-1].request_body.response.body_mutation.streamed_response.end_of_stream
    (reply,) = talk.send(pb.ProcessingRequest(request_trailers=pb.HttpTrailers()))
    assert reply.WhichOneof("response") == "request_trailers"


def test_trailers_after_a_body_without_a_model_are_its_end(picking: Picking):
    talk = picking.exchange()
    talk.send(headers())
    talk.send(body(b'{"x": 1}', ended=False))
    refusal = refused(talk.send(pb.ProcessingRequest(request_trailers=pb.HttpTrailers())))
    assert refusal.status.code == 400


@pytest.mark.parametrize("mode", [pb.BODY_MODE_BUFFERED, pb.BODY_MODE_BUFFERED_PARTIAL])
def test_a_buffered_body_is_answered_with_the_headers(picking: Picking, mode):
    talk = picking.exchange()
    (first,) = talk.send(headers(mode=mode))
    assert first.WhichOneof("response") == "request_headers"
    assert not mutation(first).set_headers
    (reply,) = talk.send(body(ASKED))
    assert reply.WhichOneof("response") == "request_body"
    assert destination(reply) == ONE
    assert not reply.request_body.response.HasField("body_mutation")


def test_a_part_of_a_body_without_its_model_is_refused(picking: Picking):
    talk = picking.exchange()
    talk.send(headers(mode=pb.BODY_MODE_BUFFERED_PARTIAL))
    assert refused(talk.send(body(ASKED[:20], ended=False))).status.code == 400


def test_streamed_bodies_work_where_the_gateway_does_not_wait(picking: Picking):
    talk = picking.exchange()
    assert talk.send(headers(mode=pb.BODY_MODE_STREAMED, early=True)) == []
    assert talk.send(body(ASKED[:20], ended=False)) == []
    replies = talk.send(body(ASKED[20:]))
    # One answer to the headers and one to each chunk, in order; the chunks stay as they are.
    kinds = [each.WhichOneof("response") for each in replies]
    assert kinds == ["request_headers", "request_body", "request_body"]
    assert not any(each.request_body.response.HasField("body_mutation") for each in replies[1:])


@pytest.mark.parametrize("mode", [pb.BODY_MODE_UNSPECIFIED, pb.BODY_MODE_STREAMED])
def test_a_gateway_that_sends_no_body_in_time_is_told_so(picking: Picking, mode):
    refusal = refused(picking.exchange().send(headers(mode=mode)))
    assert refusal.status.code == 500
    assert "FULL_DUPLEX_STREAMED" in error(refusal)["message"]


def test_a_gateway_that_does_not_name_its_mode_streams(picking: Picking):
    assert destination(picking.exchange().post(ASKED, mode=None)[0]) == ONE


def test_no_reply_overrides_a_mode_or_clears_a_route(picking: Picking):
    for reply in picking.exchange().post(ASKED):
        assert {field.name for field, _ in reply.ListFields()} <= {
            "request_headers",
            "request_body",
            "dynamic_metadata",
        }


def test_a_gateway_that_only_observes_gets_no_answer_and_holds_no_lease(picking: Picking):
    talk = picking.exchange()
    for message in (headers(), body(ASKED), response()):
        message.observability_mode = True
        assert talk.send(message) == []
    assert picking.leases() == 0


# The choice.


def test_fallbacks_follow_in_order_and_only_the_first_is_leased():
    picking = Picking(fallbacks=2)
    for port in range(1, 6):
        picking.endpoint(f"127.0.0.1:{port}", loaded("m"), latency_ms=port)
    picked = destination(picking.exchange().post(ASKED)[0]).split(",")
    assert picked == ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]
    assert picking.leases() == 1
    assert picking.selection.in_flight("127.0.0.1:1") == 1


def test_fallbacks_take_the_same_request_as_the_first():
    """Another key, path or name of the model would need other headers or another body."""
    picking = Picking(fallbacks=9)
    for port, fields in enumerate(({}, {"base_path": "/x"}, {}, {}), start=1):
        picking.endpoint(f"127.0.0.1:{port}", loaded("m"), latency_ms=port, **fields)
    picking.endpoint("127.0.0.1:5", loaded("m:latest"), latency_ms=9)
    picking.api_key("127.0.0.1:3", "secret")
    assert destination(picking.exchange().post(ASKED)[0]) == "127.0.0.1:1,127.0.0.1:4"


def test_an_alias_is_rewritten_where_it_stands(picking: Picking):
    picking.registry.put_alias(ModelAlias(name="best", targets=[AliasTarget(model="m")]))
    asked = b'{"x": [1, {"model": "best"}], "model"  :  "be\\u0073t" , "y": "\xc3\xa9"}'
    for cut in range(1, len(asked)):
        talk = picking.exchange()
        replies = talk.post(asked[:cut], asked[cut:])
        assert passed(replies) == asked.replace(b'"be\\u0073t"', b'"m"')
        talk.exchange.end()


def test_an_alias_in_a_buffered_body_changes_its_length(picking: Picking):
    picking.registry.put_alias(ModelAlias(name="best", targets=[AliasTarget(model="m")]))
    talk = picking.exchange()
    talk.send(headers(mode=pb.BODY_MODE_BUFFERED, content_length="16"))
    (reply,) = talk.send(body(b'{"model":"best"}'))
    assert reply.request_body.response.body_mutation.body == b'{"model":"m"}'
    assert set_headers(reply)["content-length"] == "13"


def test_ollamas_own_paths_go_to_ollama(picking: Picking):
    picking.endpoint("127.0.0.1:3", loaded("m"), backend=BACKEND_VLLM)
    picking.endpoint(TWO, loaded("m"), backend=BACKEND_OLLAMA, latency_ms=500)
    for path in ("/api/chat", "/api/generate", "/api/embed"):
        assert destination(picking.exchange().post(ASKED, path=path)[0]) == TWO


@pytest.mark.parametrize("subset", [[TWO], TWO, f" {TWO} , 10.0.0.1:5"])
def test_a_subset_hint_limits_the_choice(picking: Picking, subset):
    picking.endpoint(TWO, loaded("m"), latency_ms=900)
    assert destination(picking.exchange().post(ASKED, subset=subset)[0]) == TWO


@pytest.mark.parametrize("subset", [[], "", ["10.0.0.1:5"]])
def test_a_subset_without_an_endpoint_is_503(picking: Picking, subset):
    assert refused(picking.exchange().post(ASKED, subset=subset)).status.code == 503


def test_a_base_path_is_put_before_the_path():
    picking = Picking()
    picking.endpoint(ONE, loaded("m"), base_path="/ollama")
    (head, *_) = picking.exchange().post(ASKED, path=f"{CHAT}?x=1")
    assert set_headers(head)[":path"] == f"/ollama{CHAT}?x=1"


# Keys.


def test_the_clients_key_stops_here_and_the_endpoints_key_goes_on(picking: Picking):
    picking.api_key(ONE, "server-secret")
    sent = {"authorization": "Bearer client", "x_api_key": "client", "api_key": "client"}
    (head, *_) = picking.exchange().post(ASKED, **sent)
    assert set_headers(head)["authorization"] == "Bearer server-secret"
    assert set(mutation(head).remove_headers) == {"x-api-key", "api-key"}


def test_an_endpoint_without_a_key_gets_none(picking: Picking):
    (head, *_) = picking.exchange().post(ASKED, authorization="Bearer client")
    assert list(mutation(head).remove_headers) == ["authorization"]
    assert "authorization" not in set_headers(head)


def test_a_spoofed_destination_is_replaced(picking: Picking):
    (head, *_) = picking.exchange().post(ASKED, x_gateway_destination_endpoint="10.9.9.9:1")
    assert destination(head) == ONE


def test_a_key_in_a_responses_headers_does_not_reach_the_client(picking: Picking):
    picking.api_key(ONE, "server-secret")
    talk = picking.exchange()
    talk.post(ASKED)
    (reply,) = talk.send(response(x_echo="Bearer server-secret", x_other="fine"))
    assert list(mutation(reply).remove_headers) == ["x-echo"]


@pytest.mark.parametrize("header", ["authorization", "x_api_key"])
def test_clients_need_a_valid_token_where_keys_are_required(header):
    picking = Picking(requires_keys=True)
    picking.endpoint(ONE, loaded("m"))
    token = picking.token()
    value = f"Bearer {token}" if header == "authorization" else token
    assert destination(picking.exchange().post(ASKED, **{header: value})[0]) == ONE
    for wrong in ("", "Bearer sk-none", "Basic eDp5", value[:-1] + "!"):
        refusal = refused(picking.exchange().post(ASKED, **{header: wrong}))
        assert (refusal.status.code, error(refusal)["code"]) == (401, "invalid_api_key")


def test_a_wrong_token_of_the_hub_is_refused_even_where_no_key_is_needed(picking: Picking):
    token = picking.token()
    assert destination(picking.exchange().post(ASKED, authorization="Bearer ollama")[0]) == ONE
    refusal = refused(picking.exchange().post(ASKED, authorization=f"Bearer {token[:-1]}!"))
    assert refusal.status.code == 401


def test_a_scope_limits_the_models_of_a_client(picking: Picking):
    picking.endpoint(TWO, loaded("n"))
    key = f"Bearer {picking.token(scope=TokenScope(models=['n']))}"
    allowed = picking.exchange().post(b'{"model": "n"}', authorization=key)
    assert destination(allowed[0]) == TWO
    assert refused(picking.exchange().post(ASKED, authorization=key)).status.code == 403


# Refusals.


def test_refusals_have_the_shape_of_openai(picking: Picking):
    refusal = refused(picking.exchange().post(b'{"model": "none"}'))
    assert refusal.status.code == 404
    assert error(refusal) == {
        "message": "no endpoint has none",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    assert refusal.details == "llm_hub_model_not_found"


def test_refusals_of_ollamas_paths_have_the_shape_of_ollama(picking: Picking):
    refusal = refused(picking.exchange().post(b'{"model": "none"}', path="/api/chat"))
    assert orjson.loads(refusal.body) == {"error": "no endpoint has none"}


def test_no_ready_endpoint_is_503_with_a_time_to_retry():
    picking = Picking()
    picking.endpoint(ONE, loaded("m"), admin_state=ADMIN_STATE_DRAINING)
    refusal = refused(picking.exchange().post(ASKED))
    sent = {each.header.key: each.header.raw_value for each in refusal.headers.set_headers}
    assert refusal.status.code == 503
    assert int(sent["retry-after"]) >= 1


@pytest.mark.parametrize("asked", [b'{"x": 1}', b"not json", b"", b'{"model": ""}'])
def test_a_body_that_names_no_model_is_400(picking: Picking, asked):
    refusal = refused(picking.exchange().post(asked))
    assert refusal.status.code == 400
    assert error(refusal)["param"] == "model"


def test_a_second_model_after_the_choice_ends_the_request(picking: Picking):
    talk = picking.exchange()
    talk.send(headers())
    talk.send(body(b'{"model": "m", ', ended=False))
    assert picking.leases() == 1
    assert refused(talk.send(body(b'"model": "n"}'))).status.code == 400
    assert picking.leases() == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/pull"), ("DELETE", "/api/delete"), ("GET", "/"), ("POST", "/v1/models")],
)
def test_no_other_path_reaches_a_server(picking: Picking, method, path):
    refusal = refused(picking.exchange().send(headers(method=method, path=path, ended=True)))
    assert refusal.status.code == 404


def test_compressed_bodies_are_refused(picking: Picking):
    assert refused(picking.exchange().send(headers(content_encoding="gzip"))).status.code == 400


def test_after_a_refusal_nothing_is_answered(picking: Picking):
    talk = picking.exchange()
    refused(talk.post(b'{"model": "none"}'))
    assert talk.send(body(b"more")) == []
    assert talk.send(response()) == []


@pytest.mark.parametrize("message", [body(b"x"), response(), pb.ProcessingRequest()])
def test_messages_before_the_headers_break_the_protocol(picking: Picking, message):
    with pytest.raises(ValidationFailed):
        picking.exchange().send(message)


def test_bytes_that_are_no_message_break_the_protocol(picking: Picking):
    with pytest.raises(ValidationFailed, match="ProcessingRequest"):
        picking.exchange().exchange.receive(b"\xff\xff")


# Answers of the hub itself.


def test_lists_of_models_come_from_the_registry(picking: Picking):
    picking.endpoint(TWO, loaded("o"), backend=BACKEND_OLLAMA)

    def got(path: str) -> dict:
        reply = refused(picking.exchange().send(headers(method="GET", path=path, ended=True)))
        assert reply.status.code == 200
        return json.loads(reply.body)

    assert {each["id"] for each in got("/v1/models")["data"]} == {"m", "o"}
    assert got("/v1/models/m")["id"] == "m"
    assert [each["model"] for each in got("/api/tags")["models"]] == ["o"]
    assert set(got("/api/version")) == {"version"}


# The response's phase.


def finish(talk: Talk, picking: Picking, outcomes: list[PickOutcome]) -> PickOutcome:
    talk.exchange.end()
    talk.exchange.end()
    assert picking.leases() == 0
    (outcome,) = outcomes
    return outcome


@pytest.fixture
def outcomes(picking: Picking, monkeypatch: pytest.MonkeyPatch) -> list[PickOutcome]:
    seen: list[PickOutcome] = []
    own = picking.picks.finish

    def finish(lease_id, outcome, caller, now_ms):
        seen.append(outcome)
        own(lease_id, outcome, caller, now_ms)

    monkeypatch.setattr(picking.picks, "finish", finish)
    return seen


def test_a_response_is_reported_with_its_times(picking: Picking, outcomes):
    talk = picking.exchange()
    talk.post(ASKED)
    picking.clock.advance(40)
    (reply,) = talk.send(response(upstream=ONE))
    assert reply.WhichOneof("response") == "response_headers"
    assert picking.leases() == 1
    picking.clock.advance(60)
    assert finish(talk, picking, outcomes) == PickOutcome(
        ok=True, status=200, address=ONE, ttft_ms=40, duration_ms=100
    )


def test_the_fallback_that_answered_is_named_with_those_before_it(picking: Picking, outcomes):
    picking.endpoint(TWO, loaded("m"), latency_ms=900)
    talk = picking.exchange()
    talk.post(ASKED)
    talk.send(response(upstream=TWO))
    outcome = finish(talk, picking, outcomes)
    assert (outcome.address, outcome.tried) == (TWO, (ONE,))


@pytest.mark.parametrize(
    ("status", "error"),
    [(200, ""), (400, ""), (429, "overloaded"), (500, "server_error"), (503, "server_error")],
)
def test_statuses_become_classes_of_errors(picking: Picking, outcomes, status, error):
    talk = picking.exchange()
    talk.post(ASKED)
    talk.send(response(status, ended=True))
    assert picking.leases() == 0
    assert outcomes[0].error == error
    assert outcomes[0].ok is not error


def test_a_stream_that_ends_without_a_response_is_reported(picking: Picking, outcomes):
    talk = picking.exchange()
    talk.post(ASKED)
    outcome = finish(talk, picking, outcomes)
    assert (outcome.ok, outcome.error, outcome.ttft_ms) == (False, "no_response", None)


@pytest.mark.parametrize("is_full_duplex", [True, False])
def test_a_response_body_passes_and_is_counted(picking: Picking, outcomes, is_full_duplex):
    talk = picking.exchange()
    first = headers()
    first.protocol_config.response_body_mode = (
        pb.BODY_MODE_FULL_DUPLEX_STREAMED if is_full_duplex else pb.BODY_MODE_STREAMED
    )
    talk.send(first)
    talk.send(body(ASKED))
    talk.send(response())
    for chunk, ended in ((b"one", False), (b"two", True)):
        message = pb.ProcessingRequest(response_body=pb.HttpBody(body=chunk, end_of_stream=ended))
        (reply,) = talk.send(message)
        streamed = reply.response_body.response.body_mutation.streamed_response
        assert (streamed.body, streamed.end_of_stream) == (
            (chunk, ended) if is_full_duplex else (b"", False)
        )
    assert picking.leases() == 0
    assert outcomes[0].bytes == 6


def test_response_trailers_pass_and_end_the_request(picking: Picking):
    talk = picking.exchange()
    talk.post(ASKED)
    talk.send(response())
    (reply,) = talk.send(pb.ProcessingRequest(response_trailers=pb.HttpTrailers()))
    assert reply.WhichOneof("response") == "response_trailers"
    assert picking.leases() == 0

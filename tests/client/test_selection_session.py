import asyncio

import pytest

from hub.client.selection_session import SelectionSession, result_of_error
from hub.contract.dialect.names import enum_word
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.registry_service_pb2 import (
    OUTCOME_RESULT_BROKEN_OFF,
    OUTCOME_RESULT_OK,
    OUTCOME_RESULT_OVERLOADED,
    OUTCOME_RESULT_SERVER_ERROR,
    OUTCOME_RESULT_TIMED_OUT,
    OutcomeResult,
    Selection,
)

SELECTION = Selection(endpoint=Endpoint(id="a:1", scheme="http", base_path="/x"), model="m")


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class WithResponse(Exception):
    def __init__(self, status_code: object) -> None:
        super().__init__("the server refused")
        self.response = type("Response", (), {"status_code": status_code})()


class WithStatus(Exception):
    status = 502


def test_a_session_measures_its_block() -> None:
    clock = Clock()
    session = SelectionSession(SELECTION, clock)
    assert (session.base_url, session.model, session.endpoint.id) == ("http://a:1/x", "m", "a:1")
    clock.now_s += 0.25
    session.first_token()
    clock.now_s += 1.75
    session.first_token()
    session.counted(output_tokens=70, prompt_tokens=9)
    session.counted(cached_tokens=0, request_bytes=3, response_bytes=4)
    outcome = session.outcome(None)
    assert outcome.result == OUTCOME_RESULT_OK
    assert outcome.time_to_first_token.ToMilliseconds() == 250
    assert outcome.duration.ToMilliseconds() == 2000
    assert (outcome.output_tokens, outcome.prompt_tokens, outcome.cached_tokens) == (70, 9, 0)
    assert outcome.HasField("cached_tokens")
    assert (outcome.request_bytes, outcome.response_bytes) == (3, 4)


def test_what_the_block_says_takes_precedence() -> None:
    session = SelectionSession(SELECTION)
    session.status(429)
    assert session.outcome(None).result == OUTCOME_RESULT_OVERLOADED
    assert session.outcome(ValueError()).result == OUTCOME_RESULT_OVERLOADED
    session.ended(OUTCOME_RESULT_SERVER_ERROR)
    assert session.outcome(None).result == OUTCOME_RESULT_SERVER_ERROR


def test_a_good_status_does_not_hide_that_the_stream_broke() -> None:
    session = SelectionSession(SELECTION)
    session.status(200)
    session.first_token()
    assert session.outcome(TimeoutError()).result == OUTCOME_RESULT_TIMED_OUT
    assert session.outcome(ConnectionError()).result == OUTCOME_RESULT_BROKEN_OFF


@pytest.mark.parametrize(
    ("error", "has_begun", "result"),
    [
        (WithResponse(503), False, "server_error"),
        (WithResponse(404), False, "refused"),
        (WithResponse("?"), False, "cancelled"),
        (WithStatus(), True, "server_error"),
        (TimeoutError(), False, "timed_out"),
        (type("ReadTimeout", (Exception,), {})(), True, "timed_out"),
        (ConnectionRefusedError(), False, "connect_failed"),
        (ConnectionResetError(), False, "broken_off"),
        (ConnectionError(), True, "broken_off"),
        (type("ConnectError", (Exception,), {})(), False, "connect_failed"),
        (type("RemoteProtocolError", (Exception,), {})(), False, "broken_off"),
        (ValueError(), False, "cancelled"),
        (asyncio.CancelledError(), True, "cancelled"),
    ],
)
def test_an_exception_says_how_the_request_failed(error, has_begun, result) -> None:
    found = result_of_error(error, has_begun=has_begun)
    assert enum_word(OutcomeResult.DESCRIPTOR, found) == result

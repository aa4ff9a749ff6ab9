"""A server that is only compatible with the OpenAI API, played by a fake."""

import pytest

from llmhub.v1.endpoint_pb2 import (
    BACKEND_OPENAI,
    MODEL_STATE_UNSPECIFIED,
)
from tests.support.observing import observe
from tools.fleetsim import (
    FakeOpenAi,
    Fleet,
    Reply,
    Request,
)


async def test_other_server_reports_only_names(fleet: Fleet):
    seen = await observe(await fleet.add(FakeOpenAi(["b", "a"])))
    assert (seen.error, seen.backend, seen.version, seen.load) == ("", BACKEND_OPENAI, "", None)
    assert [(m.name, m.state) for m in seen.models or ()] == [
        ("a", MODEL_STATE_UNSPECIFIED),
        ("b", MODEL_STATE_UNSPECIFIED),
    ]


class NotAnInferenceServer:
    """A web application that answers every path with the same JSON or page."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply

    def answer(self, request: Request) -> Reply:
        return self.reply


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (Reply(404, b"nope"), "is no inference server that the hub knows"),
        (Reply(200, b"{}"), "is no inference server that the hub knows"),
        (Reply(200, b"<html>", "text/html"), "answered HTML, not JSON, to /v1/models"),
        (Reply(500, b"oops"), "answered 500 to /v1/models"),
        (Reply(503, b"booting", "text/plain"), "is not ready (503 to /v1/models): booting"),
    ],
)
async def test_server_of_unknown_kind_is_reported(fleet: Fleet, reply, sentence):
    seen = await observe(await fleet.add(NotAnInferenceServer(reply)))
    assert seen.error.startswith(sentence)
    assert seen.answered

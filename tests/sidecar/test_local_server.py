import json

import pytest

from hub.base.timestamps import to_timestamp
from hub.sidecar.local_server import LocalServer
from llmhub.v1.endpoint_pb2 import MODEL_STATE_AVAILABLE, MODEL_STATE_LOADED, Model

ROOM = 60_000


def test_unknown_values_are_omitted() -> None:
    assert LocalServer("http://h:1").report(ROOM) == {
        "type": "endpoint_report",
        "url": "http://h:1",
        "reachable": True,
    }


def test_a_report_of_an_unreachable_server_has_the_reason() -> None:
    frame = LocalServer("http://h:1", error="Connection refused").report(ROOM)
    assert (frame["reachable"], frame["error"]) == (False, "Connection refused")


def test_a_server_that_answers_with_a_fault_is_reachable_with_an_error() -> None:
    frame = LocalServer("http://h:1", error="needs an API key", answered=True).report(ROOM)
    assert (frame["reachable"], frame["error"]) == (True, "needs an API key")


@pytest.mark.parametrize(
    ("backend", "error", "answered", "is_one"),
    [
        (None, None, False, True),
        (None, "answered HTML", True, False),
        ("llama_cpp", "needs an API key", True, True),
        ("llama_cpp", "Connection refused", False, False),
    ],
)
def test_an_answer_alone_does_not_prove_an_inference_server(
    backend: str | None, error: str | None, *, answered: bool, is_one: bool
) -> None:
    server = LocalServer("http://h:1", backend, error=error, answered=answered)
    assert server.is_inference_server == is_one


def test_models_are_reported_in_the_format_of_the_frames() -> None:
    loaded = Model(
        name="a", state=MODEL_STATE_LOADED, expires_at=to_timestamp(1_000), capabilities=["tools"]
    )
    frame = LocalServer("http://h:1", models=(loaded, Model(name="b"))).report(ROOM)
    assert frame["models"] == [
        {"name": "a", "state": "loaded", "expires_at": 1_000, "capabilities": ["tools"]},
        {"name": "b"},
    ]
    assert "models_omitted" not in frame


def many(count: int) -> tuple[Model, ...]:
    return tuple(
        Model(
            name=f"model-{number:04}",
            state=MODEL_STATE_LOADED if number == count - 1 else MODEL_STATE_AVAILABLE,
            family="f" * 100,
        )
        for number in range(count)
    )


def test_a_large_report_has_less_detail_about_models_not_in_memory() -> None:
    frame = LocalServer("http://h:1", "openai", models=many(20)).report(2_000)
    assert len(json.dumps(frame)) <= 2_000
    assert isinstance(frame["models"], list)
    assert frame["models"][0] == {"name": "model-0000", "state": "available"}
    assert frame["models"][-1]["family"] == "f" * 100
    assert "models_omitted" not in frame


def test_models_that_do_not_fit_are_counted_and_those_in_memory_come_first() -> None:
    frame = LocalServer("http://h:1", "openai", models=many(1000)).report(2_000)
    assert 1_900 < len(json.dumps(frame)) <= 2_000
    assert isinstance(frame["models"], list)
    assert frame["models"][-1]["name"] == "model-0999"
    assert frame["models_omitted"] == 1000 - len(frame["models"])

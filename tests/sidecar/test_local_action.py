import pytest

from hub.sidecar.local_action import LocalAction, action_of

FRAME = {
    "type": "model_action",
    "action_id": "a1",
    "kind": "load",
    "endpoint_id": "10.0.0.1:11434",
    "model": "llama3.1:8b",
    "timeout": 3_000,
}


def test_a_frame_becomes_an_action() -> None:
    action = action_of({**FRAME, "keep_alive": 60_000}, "http://127.0.0.1:11434")
    assert action == LocalAction(
        "a1", True, "10.0.0.1:11434", "http://127.0.0.1:11434", "llama3.1:8b", 60, 3.0
    )
    assert str(action) == "load llama3.1:8b at 10.0.0.1:11434"


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "delete"},
        {"kind": None},
        {"model": 7},
        {"action_id": None},
        {"timeout": 0},
        {"timeout": 10**12},
        {"timeout": "soon"},
    ],
)
def test_an_incomplete_or_invalid_frame_is_not_an_action(wrong: dict[str, object]) -> None:
    assert action_of({**FRAME, **wrong}, None) is None

from hub.registry.rendering.open_webui_env import open_webui_env
from tests.support.routable import KEYS, fleet_of, mixed_fleet


def variables(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_ollamas_and_others_are_separate_lists() -> None:
    found = variables(open_webui_env(mixed_fleet(KEYS)))
    assert found == {
        "ENABLE_PERSISTENT_CONFIG": "False",
        "ENABLE_OLLAMA_API": "True",
        "OLLAMA_BASE_URLS": "http://127.0.0.1:8001",
        "ENABLE_OPENAI_API": "True",
        "OPENAI_API_BASE_URLS": (
            "http://127.0.0.1:8002/gpu/v1;http://[::1]:8003/v1;https://localhost:8004/v1"
        ),
        "OPENAI_API_KEYS": f"{KEYS['VLLM_KEY']};none;none",
    }


def test_a_missing_key_is_named() -> None:
    text = open_webui_env(mixed_fleet())
    assert variables(text)["OPENAI_API_KEYS"] == "none;none;none"
    assert "OPENAI_API_KEYS lacks the value of VLLM_KEY" in text


def test_an_empty_fleet_turns_both_off() -> None:
    found = variables(open_webui_env(fleet_of()))
    assert (found["ENABLE_OLLAMA_API"], found["ENABLE_OPENAI_API"]) == ("False", "False")

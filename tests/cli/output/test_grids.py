import json

import pytest
import yaml

from hub.cli.output import grids
from hub.cli.output.grids import bytes_text, print_value, span_text
from llmhub.v1.endpoint_pb2 import (
    BACKEND_LLAMA_CPP,
    STATUS_HEALTHY,
)
from llmhub.v1.registry_service_pb2 import REJECTION_UNSPECIFIED


def test_bytes_text() -> None:
    assert [bytes_text(value) for value in (None, 0, 3 * 2**29)] == ["?", "0.0 GiB", "1.5 GiB"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (7500, "2 h 5 min"),
        (7200, "2 h"),
        (90_000, "1 d 1 h"),
        (172_800, "2 d"),
    ],
)
def test_span_text(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


def test_yaml_and_json_have_the_same_content(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"id": "a:1", "models": [{"name": "模型"}], "version": None, "count": 2**53}
    print_value(value, "yaml")
    assert yaml.safe_load(capsys.readouterr().out) == value
    print_value(value, "json")
    assert json.loads(capsys.readouterr().out) == value


def test_enum_words_and_numbers_map_both_ways() -> None:
    assert grids.BACKENDS["llama_cpp"] == BACKEND_LLAMA_CPP
    assert grids.BACKEND_WORDS[BACKEND_LLAMA_CPP] == "llama_cpp"
    assert grids.STATUS_WORDS[STATUS_HEALTHY] == "healthy"
    assert REJECTION_UNSPECIFIED not in grids.REJECTION_WORDS, "it has no word"

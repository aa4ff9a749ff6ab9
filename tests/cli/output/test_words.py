from hub.cli.output import words
from llmhub.v1.endpoint_pb2 import BACKEND_LLAMA_CPP, STATUS_HEALTHY
from llmhub.v1.registry_service_pb2 import REJECTION_UNSPECIFIED


def test_a_word_stands_for_its_number_and_back() -> None:
    assert words.BACKENDS["llama_cpp"] == BACKEND_LLAMA_CPP
    assert words.BACKEND_WORDS[BACKEND_LLAMA_CPP] == "llama_cpp"
    assert words.STATUS_WORDS[STATUS_HEALTHY] == "healthy"
    assert REJECTION_UNSPECIFIED not in words.REJECTION_WORDS, "it has no word"

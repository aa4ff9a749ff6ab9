from hub.registry.history.versioned import Versioned
from llmhub.v1.endpoint_pb2 import Endpoint


def test_each_encoding_is_made_once() -> None:
    calls: list[str] = []

    def binary(endpoint: Endpoint) -> bytes:
        calls.append("binary")
        return endpoint.SerializeToString()

    def text(endpoint: Endpoint) -> bytes:
        calls.append("text")
        return endpoint.id.encode()

    versioned = Versioned(Endpoint(id="gpu-1:80"), 7)
    assert versioned.revision == 7
    assert calls == []
    for _ in range(3):
        assert versioned.encoded(binary) == Endpoint(id="gpu-1:80").SerializeToString()
        assert versioned.encoded(text) == b"gpu-1:80"
    assert calls == ["binary", "text"]


def test_an_empty_encoding_is_cached_too() -> None:
    calls = 0

    def empty(_: Endpoint) -> bytes:
        nonlocal calls
        calls += 1
        return b""

    versioned = Versioned(Endpoint(), 1)
    assert versioned.encoded(empty) == versioned.encoded(empty) == b""
    assert calls == 1


def test_a_retired_message_keeps_its_event_alone() -> None:
    calls = []

    def encode(message: Endpoint) -> bytes:
        calls.append(message)
        return message.SerializeToString()

    versioned = Versioned(Endpoint(id="gpu-1:80"), 7)
    event = versioned.put_event(lambda message, revision: b"event")
    assert versioned.encoded(encode) == versioned.encoded(encode)
    assert len(calls) == 1
    versioned.retire()
    assert versioned.encoded(encode) == versioned.encoded(encode)
    assert len(calls) == 3
    assert versioned.put_event(lambda message, revision: b"again") is event

"""A share of the fuzz of the HTTP/2 core; `make fuzz` plays a million connections and more."""

import pytest

from hub.transports.grpc.native.http2_connection import Connection
from tests.support import http2_fuzz, http2_oracle

_FUZZED, _COMPARED = 4_000, 2_000


@pytest.mark.parametrize("first", range(0, _FUZZED, 1_000))
def test_mutated_connections_break_nothing(first: int) -> None:
    corpus = http2_fuzz.read_corpus()
    assert len(corpus) >= 8
    for seed in range(first, first + 1_000):
        http2_fuzz.play(seed, corpus)


@pytest.mark.parametrize("first", range(0, _COMPARED, 1_000))
def test_the_server_and_the_reference_agree(first: int) -> None:
    differences = {seed: http2_oracle.play(seed) for seed in range(first, first + 1_000)}
    assert not {seed: one for seed, one in differences.items() if one}


def test_splitting_the_bytes_differently_changes_nothing() -> None:
    for data in http2_fuzz.read_corpus():
        outputs = set()
        for step in (1, 7, 1_000, len(data)):
            connection = Connection(http2_fuzz.LIMITS, 0.0)
            for start in range(0, len(data), step):
                connection.receive(data[start : start + step], 0.0)
            outputs.add(b"".join(connection.outbox.take()))
        assert len(outputs) == 1


def test_the_checker_detects_a_frame_after_the_end() -> None:
    judge = http2_fuzz.Judge()
    judge.see(http2_fuzz.frames.frame(0, 1, 1))
    with pytest.raises(AssertionError, match="after the stream's end"):
        judge.see(http2_fuzz.frames.frame(0, 1, 1))


def test_the_checker_detects_an_exceeded_window() -> None:
    judge = http2_fuzz.Judge()
    sent = http2_fuzz.frames.frame(0, 0, 1, bytes(16_000)) * 5
    with pytest.raises(AssertionError, match="more than the window"):
        judge.see(sent)

import gzip
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.transports.grpc.native.call_status import CallFailed, StatusCode
from hub.transports.grpc.native.message_framing import (
    Deframer,
    FramedOnce,
    framed,
    framed_with_gzip,
    only_message,
)


@given(st.lists(st.tuples(st.binary(max_size=50), st.booleans()), max_size=6), st.randoms())
def test_messages_are_read_however_they_are_split(sent, rnd: random.Random) -> None:
    data = b"".join((framed_with_gzip if packed else framed)(body) for body, packed in sent)
    deframer, received = Deframer(100, gzip=True), []
    while data:
        step = rnd.randrange(1, 40)
        received += deframer.feed(data[:step])
        data = data[step:]
    assert received == [body for body, _ in sent]
    assert deframer.buffered == 0


def test_one_plain_message_needs_no_deframer() -> None:
    assert only_message(framed(b"x"), 10) == b"x"
    assert only_message(framed(b""), 10) == b""
    for other in (
        b"",
        framed(b"x") * 2,
        framed(b"xy")[:-1],
        framed_with_gzip(b"x"),
        framed(bytes(11)),
    ):
        assert only_message(other, 10) is None


def test_a_message_sent_to_many_is_framed_once() -> None:
    once = FramedOnce()
    message = b"an event"
    assert once.framed(message) == framed(message)
    assert once.framed(message) is once.framed(message)
    assert once.framed(b"another") == framed(b"another")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\0\0\0\0\x65", StatusCode.RESOURCE_EXHAUSTED),
        (framed_with_gzip(bytes(1_000_000)), StatusCode.RESOURCE_EXHAUSTED),
        (b"\1\0\0\0\x04nope", StatusCode.INTERNAL),
        (b"\1\0\0\0\x0a" + gzip.compress(b"x", mtime=0)[:10], StatusCode.INTERNAL),
    ],
)
def test_malformed_messages_are_refused(data: bytes, code: StatusCode) -> None:
    with pytest.raises(CallFailed) as caught:
        Deframer(100 if data[0] == 0 else 2_000, gzip=True).feed(data)
    assert caught.value.code == code


def test_an_excessive_length_is_refused_before_its_bytes_arrive() -> None:
    with pytest.raises(CallFailed, match="larger than max"):
        Deframer(100, gzip=False).feed(b"\0\xff\xff\xff\xff")


def test_compression_must_be_announced() -> None:
    with pytest.raises(CallFailed, match="grpc-encoding"):
        Deframer(100, gzip=False).feed(framed_with_gzip(b"x"))

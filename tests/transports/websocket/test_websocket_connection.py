"""The connection without its socket: what Autobahn's suite asks, as a table, and the fast path."""

from http import HTTPStatus

import pytest
from websockets.http11 import Request

from hub.transports.websocket.websocket_connection import (
    Message,
    Pong,
    Received,
    WebSocketConnection,
)
from hub.transports.websocket.websocket_limits import WebSocketLimits
from tests.support import websocket_fuzz
from tests.support.websocket_fuzz import HANDSHAKE, frame

MAX_BYTES = 65_536
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
ECHO = b'{"type":"ping"}'


def opened(max_bytes: int = MAX_BYTES, **limits: int) -> WebSocketConnection:
    connection = WebSocketConnection(max_bytes, WebSocketLimits(**limits))
    connection.receive(HANDSHAKE)
    request = connection.next_message()
    assert isinstance(request, Request)
    assert connection.accept(request)
    assert b"".join(connection.take_out()).startswith(b"HTTP/1.1 101 ")
    return connection


def messages(connection: WebSocketConnection) -> list[Message]:
    found = []
    while (message := connection.next_message()) is not None:
        found.append(message)
    return found


def sent(connection: WebSocketConnection) -> bytes:
    return b"".join(connection.take_out())


def closed(code: int, reason: str = "") -> bytes:
    """The server's close frame."""
    payload = code.to_bytes(2, "big") + reason.encode()
    return bytes((0x88, len(payload))) + payload


# Framing, as Autobahn's cases 1: lengths at each edge, text and binary.


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 128, 65_535, 65_536])
@pytest.mark.parametrize("step", [1, 997, 100_000])
def test_a_text_of_any_length_in_any_pieces(length: int, step: int) -> None:
    connection = opened()
    data = frame(TEXT, b"x" * length)
    found = []
    for at in range(0, len(data), step):
        connection.receive(data[at : at + step])
        found += messages(connection)
    assert found == [b"x" * length]
    assert connection.is_open


@pytest.mark.parametrize("length", [0, 125, 126, 65_536])
def test_a_binary_message_is_reported_without_its_payload(length: int) -> None:
    connection = opened()
    connection.receive(frame(BINARY, bytes(length)))
    assert messages(connection) == [Received.BINARY]


@pytest.mark.parametrize("length_bytes", [2, 8])
def test_a_length_in_more_bytes_than_it_needs(length_bytes: int) -> None:
    connection = opened()
    connection.receive(frame(TEXT, ECHO, length_bytes=length_bytes))
    assert messages(connection) == [ECHO]


@pytest.mark.parametrize(("length", "head"), [(125, b"\x81\x7d"), (126, b"\x81\x7e\x00\x7e")])
def test_the_head_of_what_is_sent(length: int, head: bytes) -> None:
    connection = opened()
    connection.send_text(b"x" * length)
    assert sent(connection) == head + b"x" * length


def test_the_head_of_the_longest_text() -> None:
    connection = opened()
    connection.send_text(b"x" * 65_536)
    assert sent(connection)[:10] == b"\x81\x7f" + (65_536).to_bytes(8, "big")


# The table: what the client sends, what arrives, and how the connection ends.

CASES: dict[str, tuple[bytes, list[Message], bytes]] = {
    # 2: pings and pongs.
    "2.1 an empty ping": (frame(PING), [Received.CONTROL], b"\x8a\x00"),
    "2.4 a ping of 125 bytes": (
        frame(PING, b"p" * 125),
        [Received.CONTROL],
        b"\x8a\x7d" + b"p" * 125,
    ),
    "2.5 a ping of 126 bytes": (
        frame(PING, b"p" * 126),
        [],
        closed(1002, "control frame too long"),
    ),
    "2.7 a pong that was not asked for": (frame(PONG), [Pong(b"")], b""),
    "2.8 a pong with a payload": (frame(PONG, b"hi"), [Pong(b"hi")], b""),
    "2.10 ten pings": (
        b"".join(frame(PING, b"%d" % number) for number in range(10)),
        [Received.CONTROL] * 10,
        b"".join(b"\x8a\x01%d" % number for number in range(10)),
    ),
    # 3: reserved bits.
    **{
        f"3.{bits} reserved bits {bits:03b}": (
            frame(TEXT, ECHO) + frame(TEXT, ECHO, reserved=bits) + frame(PING),
            [ECHO],
            closed(1002, "reserved bits must be 0"),
        )
        for bits in range(1, 8)
    },
    # 4: reserved opcodes.
    **{
        f"4 opcode {opcode}": (frame(opcode, ECHO), [], closed(1002, "invalid opcode"))
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    },
    # 5: fragments.
    "5.1 a fragmented ping": (
        frame(PING, b"p", fin=False),
        [],
        closed(1002, "fragmented control frame"),
    ),
    "5.3 text in two fragments": (
        frame(TEXT, b"frag", fin=False) + frame(0, b"ment"),
        [Received.CONTROL, b"fragment"],
        b"",
    ),
    "5.6 a ping between fragments": (
        frame(TEXT, b"frag", fin=False) + frame(PING, b"?") + frame(0, b"ment"),
        [Received.CONTROL, Received.CONTROL, b"fragment"],
        b"\x8a\x01?",
    ),
    "5.9 a continuation of nothing": (
        frame(0, b"x"),
        [],
        closed(1002, "unexpected continuation frame"),
    ),
    "5.15 a continuation after the end": (
        frame(TEXT, b"a", fin=False) + frame(0, b"b") + frame(0, b"c"),
        [Received.CONTROL, b"ab"],
        closed(1002, "unexpected continuation frame"),
    ),
    "5.18 text within a fragmented text": (
        frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
        [Received.CONTROL],
        closed(1002, "expected a continuation frame"),
    ),
    "5.19 empty fragments": (
        frame(TEXT, fin=False) + frame(0, fin=False) + frame(0),
        [Received.CONTROL, Received.CONTROL, b""],
        b"",
    ),
    # 6: UTF-8.
    "6.1 text that is not ASCII": (frame(TEXT, "κόσμε".encode()), ["κόσμε".encode()], b""),
    "6.2 a character cut in two": (
        frame(TEXT, "ü".encode()[:1], fin=False) + frame(0, "ü".encode()[1:]),
        [Received.CONTROL, "ü".encode()],
        b"",
    ),
    "6.3 no UTF-8 in one frame": (
        frame(TEXT, b"{}\xff") + frame(PING),
        [Received.CONTROL],
        closed(1007, "invalid start byte at position 2"),
    ),
    "6.4 no UTF-8 in the second fragment": (
        frame(TEXT, b"abc", fin=False) + frame(0, b"d\xed\xa0\x80"),
        [Received.CONTROL, Received.CONTROL],
        closed(1007, "invalid continuation byte at position 4"),
    ),
    "6.6 a character that never ends": (
        frame(TEXT, b"\xf0\x9f\x98"),
        [Received.CONTROL],
        closed(1007, "unexpected end of data at position 0"),
    ),
    "6.7 beyond the last code point": (
        frame(TEXT, b"\xf4\x90\x80\x80"),
        [Received.CONTROL],
        closed(1007, "invalid continuation byte at position 0"),
    ),
    "6.22 noncharacters are characters": (
        frame(TEXT, b"\xef\xbf\xbe"),
        [b"\xef\xbf\xbe"],
        b"",
    ),
    # 7: closing.
    "7.1.1 a text and a close": (
        frame(TEXT, ECHO) + frame(CLOSE, b"\x03\xe8"),
        [ECHO, Received.CONTROL],
        closed(1000),
    ),
    "7.1.3 frames after a close": (
        frame(CLOSE, b"\x03\xe8") + frame(PING) + frame(TEXT, ECHO) + frame(CLOSE),
        [Received.CONTROL],
        closed(1000),
    ),
    "7.1.5 a close between fragments": (
        frame(TEXT, b"a", fin=False) + frame(CLOSE, b"\x03\xe8"),
        [Received.CONTROL],
        closed(1002, "incomplete fragmented message"),
    ),
    "7.3.1 a close without a code": (frame(CLOSE), [Received.CONTROL], b"\x88\x00"),
    "7.3.2 a close of one byte": (frame(CLOSE, b"\x03"), [], closed(1002, "close frame too short")),
    "7.3.5 a close with the longest reason": (
        frame(CLOSE, b"\x03\xe8" + b"r" * 123),
        [Received.CONTROL],
        closed(1000, "r" * 123),
    ),
    "7.3.6 a close that is too long": (
        frame(CLOSE, b"\x03\xe8" + b"r" * 124),
        [],
        closed(1002, "control frame too long"),
    ),
    "7.5.1 a reason that is not UTF-8": (
        frame(CLOSE, b"\x03\xe8\xff"),
        [],
        closed(1007, "invalid start byte at position 0"),
    ),
    **{
        f"7.7 close code {code}": (
            frame(CLOSE, code.to_bytes(2, "big")),
            [Received.CONTROL],
            closed(code),
        )
        for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
    },
    **{
        f"7.9 close code {code}": (
            frame(CLOSE, code.to_bytes(2, "big")),
            [],
            closed(1002, "invalid status code"),
        )
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)
    },
    # Masks and limits.
    "a frame that is not masked": (
        frame(TEXT, ECHO, mask=None),
        [],
        closed(1002, "incorrect masking"),
    ),
    "a length of 2**63": (
        b"\x81\xff" + (1 << 63).to_bytes(8, "big") + bytes(4),
        [],
        closed(1009, f"frame with {1 << 63} bytes exceeds limit of 65536 bytes"),
    ),
    "a frame over the limit": (
        frame(TEXT, b"x" * 65_537),
        [],
        closed(1009, "frame with 65537 bytes exceeds limit of 65536 bytes"),
    ),
    "fragments over the limit": (
        frame(TEXT, b"x" * 40_000, fin=False) + frame(0, b"x" * 40_000),
        [Received.CONTROL],
        closed(
            1009, "frame with 40000 bytes after reading 40000 bytes exceeds limit of 65536 bytes"
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("step", [1, 7, 1_000_000])
def test_what_autobahn_asks(name: str, step: int) -> None:
    data, arrives, answer = CASES[name]
    connection, found = opened(), []
    for at in range(0, len(data), step):
        connection.receive(data[at : at + step])
        found += messages(connection)
    assert found == arrives
    assert sent(connection) == answer
    # A server that has failed or answered a close ends TCP first (section 7.1.1).
    assert connection.has_sent_all == (b"\x88" in answer[:1])
    assert connection.is_ending == connection.has_sent_all


def test_what_looks_like_a_frame_within_a_payload_is_none() -> None:
    connection = opened()
    inside = frame(TEXT, ECHO) * 3
    whole = frame(BINARY, inside, mask=bytes(4))
    connection.receive(whole[: -len(inside)])
    assert messages(connection) == []
    connection.receive(inside)
    assert messages(connection) == [Received.BINARY]


def test_too_many_fragments() -> None:
    connection = opened(fragments=3)
    connection.receive(frame(TEXT, b"a", fin=False) + frame(0, b"a", fin=False) * 3)
    messages(connection)
    assert sent(connection) == closed(1009, "too many fragments")


def test_one_message_is_taken_at_a_time() -> None:
    connection = opened()
    connection.receive(frame(PING, b"1") + frame(TEXT, ECHO) + frame(PING, b"2"))
    assert connection.next_message() is Received.CONTROL
    assert sent(connection) == b"\x8a\x011"
    assert connection.has_unread
    assert connection.next_message() == ECHO
    assert not sent(connection)
    assert connection.next_message() is Received.CONTROL
    assert not connection.has_unread


def test_closing_waits_for_the_peers_close_frame() -> None:
    connection = opened()
    connection.close(1008, "identify timeout")
    assert sent(connection) == closed(1008, "identify timeout")
    assert connection.is_ending
    assert not connection.has_sent_all
    connection.receive(frame(TEXT, ECHO) + frame(CLOSE, b"\x03\xf0"))
    assert messages(connection) == [ECHO, Received.CONTROL]
    assert connection.has_sent_all


def test_nothing_is_sent_once_it_closes() -> None:
    connection = opened()
    connection.close(1000, "")
    sent(connection)
    connection.send_text(b"{}")
    connection.ping(b"x")
    connection.close(1001, "")
    assert not sent(connection)


def test_a_long_reason_is_cut_between_characters() -> None:
    connection = opened()
    connection.close(1000, "ü" * 2_000)
    assert sent(connection) == closed(1000, "ü" * 61)


def test_a_peer_that_leaves_without_a_close() -> None:
    connection = opened()
    connection.receive(frame(TEXT, ECHO)[:-1])
    assert messages(connection) == []
    connection.receive_eof()
    connection.receive_eof()
    assert sent(connection) == b""
    assert connection.has_sent_all
    assert not connection.is_open


# The handshake.


def test_frames_that_follow_the_request_wait_for_the_answer() -> None:
    connection = WebSocketConnection(MAX_BYTES, WebSocketLimits())
    connection.receive(HANDSHAKE + frame(PING, b"early") + frame(TEXT, ECHO))
    request = connection.next_message()
    assert isinstance(request, Request)
    assert not sent(connection)
    connection.accept(request)
    assert messages(connection) == [Received.CONTROL, ECHO]
    assert sent(connection).endswith(b"\r\n\r\n\x8a\x05early")


def test_a_request_that_arrives_byte_by_byte() -> None:
    connection = WebSocketConnection(MAX_BYTES, WebSocketLimits())
    found = []
    for byte in HANDSHAKE:
        connection.receive(bytes((byte,)))
        found += messages(connection)
    assert [type(each) for each in found] == [Request]


@pytest.mark.parametrize("cut", range(1, len(HANDSHAKE)))
def test_an_empty_line_after_a_request_waits_wherever_it_is_cut(cut: int) -> None:
    wrong = HANDSHAKE.replace(b"Connection: Upgrade\r\n", b"") + b"\r\n\r\n"
    connection = WebSocketConnection(MAX_BYTES, WebSocketLimits())
    connection.receive(wrong[:cut])
    request = connection.next_message()
    connection.receive(wrong[cut:])
    request = request or connection.next_message()
    assert isinstance(request, Request)
    assert not connection.accept(request)
    assert sent(connection).startswith(b"HTTP/1.1 426 ")


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"GET ", b"POST ", b"405 "),
        (b"HTTP/1.1\r\n", b"HTTP/1.0\r\n", b"505 "),
        (b"Upgrade: websocket", b"Upgrade: h2c", b"426 "),
        (b"Connection: Upgrade", b"Connection: close", b"426 "),
        (b"Version: 13", b"Version: 8", b"400 "),
        (b"AAAAAAAAAA==", b"A", b"400 "),
    ],
)
def test_a_request_that_is_no_handshake(old: bytes, new: bytes, status: bytes) -> None:
    connection = WebSocketConnection(MAX_BYTES, WebSocketLimits())
    assert old in HANDSHAKE
    connection.receive(HANDSHAKE.replace(old, new))
    request = connection.next_message()
    assert isinstance(request, Request)
    assert not connection.accept(request)
    assert sent(connection).startswith(b"HTTP/1.1 " + status)
    assert connection.has_sent_all


def test_what_is_not_http_gets_no_answer() -> None:
    connection = WebSocketConnection(MAX_BYTES, WebSocketLimits())
    connection.receive(b"\x16\x03\x01\x02\x00\n")
    assert messages(connection) == []
    assert sent(connection) == b""
    assert connection.has_sent_all


@pytest.mark.parametrize("step", [10, 1_000_000])
def test_a_request_that_is_too_long(step: int) -> None:
    connection = WebSocketConnection(MAX_BYTES, WebSocketLimits(head_bytes=1_000))
    data = HANDSHAKE.replace(b"Host: hub", b"Host: hub\r\n" + b"X-Filler: 0123456789\r\n" * 50)
    for at in range(0, len(data), step):
        connection.receive(data[at : at + step])
        assert messages(connection) == []
    assert sent(connection).startswith(b"HTTP/1.1 431 ")
    assert connection.has_sent_all


def test_a_peer_that_left_before_its_handshake_is_not_refused() -> None:
    connection = WebSocketConnection(MAX_BYTES, WebSocketLimits())
    connection.receive(HANDSHAKE[:20])
    connection.receive_eof()
    connection.take_out()
    connection.reject(HTTPStatus.SERVICE_UNAVAILABLE, "stopping")
    assert connection.take_out() == []


def test_a_refusal_says_when_to_come_back() -> None:
    connection = WebSocketConnection(MAX_BYTES, WebSocketLimits())
    connection.reject(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections\n", 5)
    head, _, body = sent(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 5" in head
    assert b"Server:" not in head
    assert body == b"too many connections\n"


# Against the library.


@pytest.mark.parametrize("first", range(0, 600, 200))
def test_the_hub_and_the_library_agree(first: int) -> None:
    """`make fuzz` plays many more; a seed that fails here plays the same there."""
    for seed in range(first, first + 200):
        for which in (websocket_fuzz.play, websocket_fuzz.play_handshake):
            difference = which(seed)
            assert difference is None, f"seed {seed}, {which.__name__}: {difference}"


def test_the_streams_end_in_every_way() -> None:
    codes, texts = set(), 0
    for seed in range(300):
        random = websocket_fuzz.Random(seed)
        outcome = websocket_fuzz.play_library(websocket_fuzz.stream(random), None)
        texts += sum(isinstance(each, bytes) for each in outcome.messages)
        _, found, close = outcome.sent.rpartition(b"\x88")
        codes |= {int.from_bytes(close[1:3], "big")} if found else set()
    assert texts > 300
    assert codes >= {1000, 1002, 1007, 1009}

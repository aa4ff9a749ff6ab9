"""WebSocket streams made to break a server, played to the hub's connection and to the library.

The library's `ServerProtocol` gets one byte at a time, so that it reports each frame at its
last byte; the hub's connection gets the same bytes cut at random places. Both must report
the same messages and answer with the same bytes.

`python -m tests.support.websocket_fuzz COUNT [FIRST_SEED]` plays that many; a seed that
fails is printed, and plays the same again anywhere.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from hub.transports.websocket.websocket_connection import Pong, Received, WebSocketConnection
from hub.transports.websocket.websocket_limits import WebSocketLimits

MAX_BYTES = 2_000
LIMITS = WebSocketLimits(fragments=5, head_bytes=2_000)
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_DATE = re.compile(rb"Date: [^\r]*")
_TEXTS = (b"", b"{}", b'{"type":"ping"}', "ü€😀".encode() * 9, b"x" * 125, b"x" * 126, b"y" * 1_999)
_NOT_UTF_8 = (b"\xff", b"ok\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"a\x80")
_CLOSE_CODES = (999, 1000, 1001, 1003, 1004, 1005, 1006, 1007, 1011, 1015, 1016, 2999, 3000, 4999)


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    mask: bytes | None = b"\x01\x02\x03\x04",
    length_bytes: int | None = None,
) -> bytes:
    """A client's frame; `length_bytes` is 0, 2 or 8 if the length is to be written so."""
    length = len(payload)
    if length_bytes is None:
        length_bytes = 0 if length < 126 else 2 if length < 65_536 else 8
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    second = {0: length, 2: 126, 8: 127}[length_bytes] | (0x80 if mask is not None else 0)
    head = bytes((first, second)) + (length.to_bytes(length_bytes, "big") if length_bytes else b"")
    if mask is None:
        return head + payload
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return head + mask + masked


@dataclass
class Outcome:
    """What a server made of a stream."""

    messages: list[object] = field(default_factory=list)
    sent: bytes = b""
    has_ended: bool = False


def play_hub(
    pieces: Iterator[bytes], close_after: int | None, *, handshake: bool = True
) -> Outcome:
    """Plays a stream to the hub's connection, which answers every text with its length."""
    connection, outcome = WebSocketConnection(MAX_BYTES, LIMITS), Outcome()
    data = (piece for source in ((HANDSHAKE,) if handshake else (), pieces) for piece in source)
    for piece in data:
        connection.receive(piece)
        while (message := connection.next_message()) is not None:
            if isinstance(message, Request):
                connection.accept(message)
            elif message is Received.BINARY:
                outcome.messages.append("binary")
            elif isinstance(message, Pong):
                outcome.messages.append(("pong", bytes(message)))
            elif isinstance(message, bytes):
                outcome.messages.append(message)
                connection.send_text(b"%d" % len(message))
                if len(outcome.messages) == close_after:
                    connection.close(1000, "enough")
    connection.receive_eof()
    outcome.sent = _DATE.sub(b"", b"".join(connection.take_out()))
    outcome.has_ended = connection.has_sent_all
    return outcome


def play_library(data: bytes, close_after: int | None, *, handshake: bool = True) -> Outcome:
    """The same with the library alone, as its asyncio server puts messages together."""
    protocol, outcome = ServerProtocol(max_size=MAX_BYTES), Outcome()
    fragments: list[Frame] = []
    for byte in (HANDSHAKE if handshake else b"") + data:
        protocol.receive_data(bytes((byte,)))
        for event in protocol.events_received():
            if isinstance(event, Request):
                protocol.send_response(protocol.accept(event))
            elif isinstance(event, Frame) and event.opcode is Opcode.PONG:
                outcome.messages.append(("pong", bytes(event.data)))
            elif isinstance(event, Frame) and event.opcode not in {Opcode.PING, Opcode.CLOSE}:
                if event.opcode is not Opcode.CONT:
                    fragments = []
                elif len(fragments) >= LIMITS.fragments:
                    protocol.fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")
                    continue
                fragments.append(event)
                if event.fin:
                    _finish(protocol, fragments, outcome, close_after)
    protocol.receive_eof()
    outcome.sent = _DATE.sub(b"", b"".join(protocol.data_to_send()))
    outcome.has_ended = protocol.eof_sent
    return outcome


def _finish(
    protocol: ServerProtocol, fragments: list[Frame], outcome: Outcome, close_after: int | None
) -> None:
    whole = b"".join(each.data for each in fragments)
    if fragments[0].opcode is Opcode.BINARY:
        outcome.messages.append("binary")
        return
    try:
        whole.decode()
    except UnicodeDecodeError as error:
        protocol.fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")
        return
    outcome.messages.append(whole)
    if protocol.state is State.OPEN:
        protocol.send_text(b"%d" % len(whole))
    if len(outcome.messages) == close_after and protocol.state is State.OPEN:
        protocol.send_close(1000, "enough")


def stream(random: Random) -> bytes:
    """What a client sends after its handshake: mostly right, sometimes wrong."""
    frames = [_some_frames(random) for _ in range(random.randrange(1, 14))]
    data = bytearray(b"".join(frames))
    if random.random() < 0.1 and data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    if random.random() < 0.1:
        del data[random.randrange(len(data) + 1) :]
    return bytes(data)


def _some_frames(random: Random) -> bytes:
    mask = random.randbytes(4)
    text = random.choice(_TEXTS)
    kind = random.choices(
        ("text", "fragments", "ping", "pong", "binary", "nested", "not utf-8", "close", "wrong"),
        (40, 12, 8, 6, 3, 3, 1, 2, 2),
    )[0]
    if kind == "text":
        longer = random.choice((2, 8)) if random.random() < 0.05 else None
        return frame(1, text, mask=mask, length_bytes=longer)
    if kind == "fragments":
        return _fragments(random, text, mask)
    if kind in {"ping", "pong"}:
        opcode = 9 if kind == "ping" else 10
        length = random.choice((0, 4, 125, 126)) if random.random() < 0.2 else 4
        return frame(opcode, random.randbytes(length), mask=mask)
    if kind == "binary":
        return frame(2, random.randbytes(random.randrange(200)), mask=mask)
    if kind == "nested":
        # Frames within a payload, where only a server that has lost count sees them.
        inside = frame(1, text[:100], mask=mask) * random.randrange(1, 10)
        return frame(2, inside, mask=bytes(4))
    if kind == "not utf-8":
        return frame(1, random.choice(_NOT_UTF_8), mask=mask)
    if kind == "close":
        reason = random.choice((b"", b"bye", b"\xff", b"r" * 123, b"r" * 124))
        code = random.choice(_CLOSE_CODES).to_bytes(2, "big")
        payload = random.choice((b"", b"\x03", code + reason))
        return frame(8, payload, mask=mask)
    return random.choice(
        (
            frame(random.choice((3, 7, 11, 15)), text, mask=mask),
            frame(1, text, mask=mask, reserved=random.randrange(1, 8)),
            frame(1, text[:125], mask=None),
            frame(0, text, mask=mask),
            frame(9, b"", mask=mask, fin=False),
            frame(1, bytes(random.choice((2_000, 2_001, 70_000))), mask=mask),
        )
    )


def _fragments(random: Random, text: bytes, mask: bytes) -> bytes:
    count = random.choice((2, 2, 3, 5, 6))
    cuts = sorted(random.randrange(len(text) + 1) for _ in range(count - 1))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    data = b""
    for index, part in enumerate(parts):
        opcode = random.choice((1, 1, 1, 2)) if index == 0 else 0
        data += frame(opcode, part, mask=mask, fin=index == count - 1)
        if random.random() < 0.1:
            data += frame(9, b"mid", mask=mask)
        if random.random() < 0.02:
            data += frame(1, b"late", mask=mask)
    return data


def pieces(random: Random, data: bytes) -> Iterator[bytes]:
    """The data, cut at random places."""
    longest = random.choice((1, 3, 20, 400, 5_000))
    at = 0
    while at < len(data):
        count = random.randrange(1, longest + 1)
        yield data[at : at + count]
        at += count


def play(seed: int) -> str | None:
    """Plays one stream to both; returns what differs, or None."""
    random = Random(seed)
    data = stream(random)
    close_after = random.choice((None, None, 1, 3))
    hub = play_hub(pieces(random, data), close_after)
    library = play_library(data, close_after)
    return None if hub == library else f"hub {hub}\nlibrary {library}"


def play_handshake(seed: int) -> str | None:
    """The same for a request that is changed in a few places."""
    random = Random(seed)
    data = bytearray(HANDSHAKE)
    for _ in range(random.randrange(4)):
        at = random.randrange(len(data))
        change = random.randrange(4)
        if change == 0:
            data[at] = random.randrange(256)
        elif change == 1:
            del data[at : at + random.randrange(1, 30)]
        elif change == 2:
            data[at:at] = random.choice((b"\r\n", b"\n", b"A: b\r\n", b" ", b"\r\n\r\n"))
        else:
            data[at:at] = b"z" * random.choice((1, 500))
    request = bytes(data)
    hub = play_hub(pieces(random, request), None, handshake=False)
    library = play_library(request, None, handshake=False)
    return None if hub == library else f"hub {hub}\nlibrary {library}"


def main() -> int:
    """Plays the seeds that the command line asks for."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    print(f"{count} WebSocket streams and as many handshakes, seeds from {first}")
    for seed in range(first, first + count):
        for which in (play, play_handshake):
            if difference := which(seed):
                print(f"seed {seed}, {which.__name__}: {difference}")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One WebSocket connection of a server, without its socket: bytes in, messages and bytes out.

`ServerProtocol` of the `websockets` library speaks the protocol (RFC 6455). It parses with
generators, which for a small frame costs more than all that the hub does with it. So this
module takes the common frame in place: a whole masked text frame that arrives between two
messages. Everything else goes to the library, one frame or one part of a frame at a time:
the handshake, fragments, control frames, frames that arrive in parts, and all that is wrong.

The caller asks for one message at a time and so decides how many it handles in one turn.
"""

from enum import Enum, auto
from http import HTTPStatus
from typing import Final

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from hub.transports.websocket.websocket_limits import WebSocketLimits

try:
    from websockets.speedups import apply_mask
except ImportError:  # a build of the library without its C extension
    from websockets.utils import apply_mask

_FINAL_TEXT: Final = 0x81
_MASKED: Final = 0x80
_MASK_BYTES: Final = 4
# Payload lengths that announce a longer field of the length (RFC 6455, section 5.2).
_TWO_BYTES, _EIGHT_BYTES = 126, 127
_LONGEST_HEADER: Final = 14
_REASON_BYTES: Final = 123


class Received(Enum):
    """What arrived if it is neither a text message nor a handshake."""

    BINARY = auto()
    """a whole binary message, whose payload no sidecar needs"""
    CONTROL = auto()
    """a frame that says nothing to a session: a ping, a close, a fragment in between"""


class Pong(bytes):
    """The payload of a pong."""

    __slots__ = ()


Message = bytes | Pong | Received | Request
"""A text message is its UTF-8 bytes, which are checked."""


class WebSocketConnection:
    """The server's side of one connection.

    Give it what arrives (`receive`, `receive_eof`), take messages until `next_message`
    returns None, then write what `take_out` returns. Answer the first message, a `Request`,
    with `accept` or `reject`.
    """

    __slots__ = (
        "_at",
        "_data",
        "_fragments",
        "_head_left",
        "_in_place",
        "_is_text",
        "_limits",
        "_max_bytes",
        "_out",
        "_owed",
        "_partial",
        "_protocol",
    )

    def __init__(self, max_bytes: int, limits: WebSocketLimits) -> None:
        """`max_bytes` bounds a message, all its fragments together."""
        # Without extensions: deflate would cost some 60 KiB a connection and save
        # nothing on frames of 200 bytes.
        self._protocol = ServerProtocol(max_size=max_bytes)
        self._limits = limits
        self._max_bytes = max_bytes
        self._head_left = limits.head_bytes
        # What arrived and is not taken yet begins at `_at`.
        self._data = b""
        self._at = 0
        # Bytes that the library still needs for the frame that it has begun.
        self._owed = 0
        # Whether a text frame that begins now may be taken in place.
        self._in_place = False
        # The fragments so far of a message that is not whole.
        self._partial: bytearray | None = None
        self._fragments = 0
        self._is_text = False
        self._out: list[bytes] = []

    @property
    def is_open(self) -> bool:
        """Whether the handshake is done and no side has begun to close."""
        return self._protocol.state is State.OPEN

    @property
    def is_ending(self) -> bool:
        """Whether the peer is to end the TCP connection soon, so that a deadline applies."""
        return self._protocol.close_expected()

    @property
    def has_sent_all(self) -> bool:
        """Whether the hub sends nothing more after what `take_out` has returned."""
        return self._protocol.eof_sent

    @property
    def has_unread(self) -> bool:
        """Whether bytes wait that no message has been made of."""
        return self._at < len(self._data)

    def receive(self, data: bytes) -> None:
        """Adds bytes that arrived."""
        at = self._at
        self._data = data if at == len(self._data) else self._data[at:] + data
        self._at = 0

    def receive_eof(self) -> None:
        """The peer sends nothing more. What it sent and was not taken is dropped. Idempotent."""
        if not self._protocol.eof_sent and self.has_unread:
            # The header of a frame that was cut off may be wrong already.
            self._protocol.receive_data(self._data[self._at :][:_LONGEST_HEADER])
        self._at = len(self._data)
        self._protocol.receive_eof()
        self._protocol.events_received()
        self._collect()

    def next_message(self) -> Message | None:
        """The next message; None if more bytes must arrive first."""
        data, at = self._data, self._at
        have = len(data) - at
        if self._in_place and have > 1 and data[at] == _FINAL_TEXT:
            length, start = data[at + 1] - _MASKED, at + 6
            if length == _TWO_BYTES and have >= 8:
                length, start = data[at + 2] << 8 | data[at + 3], at + 8
            elif length >= _TWO_BYTES:
                length = -1
            stop = start + length
            if 0 <= length <= self._max_bytes and stop <= len(data):
                self._at = stop
                text = apply_mask(data[start:stop], data[start - _MASK_BYTES : start])
                return text if text.isascii() else self._checked(text)
        if have:
            return self._next_of_library()
        # An idle connection keeps nothing of what it has received.
        self._data, self._at = b"", 0
        return None

    def send_text(self, payload: bytes) -> None:
        """Sends a text message; does nothing if the connection is not open."""
        if self.is_open:
            length = len(payload)
            if length < _TWO_BYTES:
                head = bytes((_FINAL_TEXT, length))
            elif length < 1 << 16:
                head = b"\x81\x7e" + length.to_bytes(2, "big")
            else:
                head = b"\x81\x7f" + length.to_bytes(8, "big")
            self._out.append(head + payload)

    def ping(self, payload: bytes) -> None:
        """Sends a ping; does nothing if the connection is not open."""
        if self.is_open:
            self._protocol.send_ping(payload)
            self._collect()

    def close(self, code: int, reason: str) -> None:
        """Begins the closing handshake; does nothing if the connection is not open.

        The reason is cut to what a close frame holds (section 5.5).
        """
        if self.is_open:
            cut = reason.encode()[:_REASON_BYTES].decode(errors="ignore")
            self._protocol.send_close(code, cut)
            self._collect()

    def fail(self, code: int, reason: str) -> None:
        """Ends the connection without waiting for the peer's close frame (section 7.1.7)."""
        self._protocol.fail(code, reason)
        self._collect()

    def accept(self, request: Request) -> bool:
        """Answers the handshake; returns whether the connection is open."""
        self._respond(self._protocol.accept(request))
        if not self.is_open:
            return False
        # The protocol of the handshake holds the request, 2 KiB, for as long as it lives.
        self._protocol = ServerProtocol(state=State.OPEN, max_size=self._max_bytes)
        return True

    def reject(self, status: HTTPStatus, text: str, retry_after_s: int | None = None) -> None:
        """Refuses the handshake, before or after its request, with a plain HTTP response.

        Does nothing if the peer has ended the connection.
        """
        if self._protocol.eof_sent:
            return
        response = self._protocol.reject(status, text)
        if retry_after_s is not None:
            response.headers["Retry-After"] = str(retry_after_s)
        self._respond(response)

    def take_out(self) -> list[bytes]:
        """What to write, in order; then look at `is_ending` and `has_sent_all`.

        An empty item, which stands for the end, may be among them.
        """
        out = self._out
        if out:
            self._out = []
        return out

    def _respond(self, response: Response) -> None:
        self._protocol.send_response(response)
        self._collect()

    def _next_of_library(self) -> Message | None:
        """Lets the library take what arrived, up to the end of one frame."""
        protocol = self._protocol
        while self._at < len(self._data):
            if protocol.eof_sent:
                # After the closing handshake, or a failure, nothing is read (section 1.4).
                self._at = len(self._data)
                return None
            count = self._frame_bytes() if protocol.state is not State.CONNECTING else self._head()
            if not count:
                return None
            protocol.receive_data(self._data[self._at : self._at + count])
            self._at += count
            events = protocol.events_received()
            self._collect()
            if events:
                return self._message(events[0])
        return None

    def _head(self) -> int:
        """How many bytes to give to the library before the handshake is answered.

        It would take frames that follow the request, too; so it gets the whole request, or
        one line at a time: what follows its begin may itself begin with the empty line.
        """
        data, at = self._data, self._at
        is_begin = self._head_left == self._limits.head_bytes
        whole = data.find(b"\r\n\r\n", at) if is_begin else -1
        stop = whole + 4 if whole >= 0 else data.find(b"\n", at) + 1 or len(data)
        count = stop - at
        if count > self._head_left:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self.reject(status, f"the request is longer than {self._limits.head_bytes} bytes\n")
            return 0
        self._head_left -= count
        return count

    def _frame_bytes(self) -> int:
        """How many bytes to give to the library, and `_owed`, what the frame then lacks."""
        have = len(self._data) - self._at
        whole = self._owed
        if not whole:
            if have < 2:
                return 0
            second = self._data[self._at + 1]
            length = second & ~_MASKED
            size = {_TWO_BYTES: 2, _EIGHT_BYTES: 8}.get(length, 0)
            begin = self._at + 2
            if have < 2 + size:
                return 0
            if size:
                length = int.from_bytes(self._data[begin : begin + size], "big")
            whole = 2 + size + (_MASK_BYTES if second & _MASKED else 0) + length
        count = min(whole, have)
        self._owed = whole - count
        return count

    def _message(self, event: Frame | Request | Response) -> Message:
        if not isinstance(event, Frame):
            assert isinstance(event, Request)
            return event
        if event.opcode is Opcode.PONG:
            return Pong(event.data)
        if event.opcode in {Opcode.PING, Opcode.CLOSE}:
            return Received.CONTROL
        if event.opcode is not Opcode.CONT:
            self._is_text = event.opcode is Opcode.TEXT
            self._partial, self._fragments = bytearray(), 0
        elif self._fragments >= self._limits.fragments:
            self.fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")
            return Received.CONTROL
        assert self._partial is not None
        self._partial += event.data
        self._fragments += 1
        if not event.fin:
            return Received.CONTROL
        whole, self._partial = bytes(self._partial), None
        return self._checked(whole) if self._is_text else Received.BINARY

    def _checked(self, text: bytes) -> Message:
        """The text, if it is UTF-8; else fails the connection (section 8.1)."""
        try:
            text.decode()
        except UnicodeDecodeError as error:
            self.fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")
            return Received.CONTROL
        return text

    def _collect(self) -> None:
        """Takes over what the library wants to send, and what it expects next."""
        protocol = self._protocol
        if protocol.writes:
            self._out += protocol.data_to_send()
        self._in_place = (
            protocol.state is not State.CONNECTING
            and not protocol.eof_sent
            and protocol.current_size is None
            and not self._owed
        )

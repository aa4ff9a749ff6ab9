"""The server's side of an HTTP/2 connection, without a socket (RFC 9113).

`receive` turns received bytes into events; `outbox.take` returns the bytes to write.
Nothing here waits, reads a clock or knows about gRPC.
"""

from typing import Final

from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.budgets import RateBudget
from hub.transports.grpc.native.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    PingAcknowledged,
    StreamEnded,
)
from hub.transports.grpc.native.flow_control import DEFAULT_WINDOW, ReceiveWindow, WindowOverflow
from hub.transports.grpc.native.frame_reader import FrameReader
from hub.transports.grpc.native.header_blocks import HeaderEncoder
from hub.transports.grpc.native.header_frames import unpadded
from hub.transports.grpc.native.http2_frames import ErrorCode
from hub.transports.grpc.native.http2_settings import initial_settings, validated
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.outbox import Outbox
from hub.transports.grpc.native.protocol_errors import ConnectionFault, StreamFault
from hub.transports.grpc.native.request_reader import RequestReader, account_body
from hub.transports.grpc.native.stream import Stream
from hub.transports.grpc.native.stream_table import StreamTable

# A change of the initial window visits every stream, so it costs more than a frame.
_STREAMS_PER_CHARGE: Final = 50
_SETTINGS_BYTES_PER_FRAME: Final = 96


class Connection:
    """The server's side of one connection."""

    __slots__ = (
        "_control",
        "_encoder",
        "_events",
        "_last_served",
        "_limits",
        "_now",
        "_reader",
        "_requests",
        "_resets",
        "_streams",
        "_window",
        "failed",
        "outbox",
        "peer_going_away",
    )

    def __init__(self, limits: Limits, now: float) -> None:
        """`now` is in seconds of any monotonic clock, here and below."""
        self._limits = limits
        self._now = now
        self._events: list[Event] = []
        self._reader = FrameReader()
        self._encoder = HeaderEncoder(max_remembered=limits.remembered_blocks)
        self._streams = StreamTable(limits.reset_streams_remembered)
        self._window = ReceiveWindow(limits.connection_window, DEFAULT_WINDOW)
        self._control = RateBudget(
            burst=limits.control_frames_burst, per_s=limits.control_frames_per_s, now=now
        )
        self._resets = RateBudget(burst=limits.resets_burst, per_s=limits.resets_per_s, now=now)
        self.outbox = Outbox(self._streams, self._encoder)
        """The output; the layer above answers streams through it."""
        self._requests = RequestReader(limits, self._streams, self.outbox)
        self._last_served = frames.MAX_STREAM_ID
        self.failed = False
        """Whether the connection ended because of a fault."""
        self.peer_going_away = False
        """Whether the client sent GOAWAY: it opens no more streams."""
        self.outbox.control(initial_settings(limits))
        if increment := self._window.release(0):
            self.outbox.control(frames.window_update(0, increment))

    @property
    def streams(self) -> dict[int, Stream]:
        """The open streams by id."""
        return self._streams.open

    @property
    def settled(self) -> bool:
        """Whether the client's SETTINGS arrived."""
        return self._reader.settled

    @property
    def over_soon(self) -> bool:
        """Whether no more streams begin, because either side is going away (section 6.8)."""
        return self._streams.refusing or self.peer_going_away

    @property
    def frames_read(self) -> int:
        """How many complete frames have arrived."""
        return self._reader.count

    @property
    def mid_frame(self) -> bool:
        """Whether a frame or a header block is incomplete."""
        return self._reader.partial or self._requests.block.stream_id != 0

    # Calls from the layer above.

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Returns the events of these bytes; ignores all bytes after ConnectionFailed."""
        if self.failed:
            return []
        self._now = self.outbox.now = now
        events: list[Event] = []
        self._events = events
        block, handlers = self._requests.block, _HANDLERS
        try:
            for kind, flags, stream_id, payload in self._reader.read(data):
                if block.stream_id and (
                    kind != frames.CONTINUATION or stream_id != block.stream_id
                ):
                    raise ConnectionFault(
                        ErrorCode.PROTOCOL_ERROR, "a frame within a header block (section 6.10)"
                    )
                try:
                    if kind < len(handlers):
                        handlers[kind](self, flags, stream_id, payload)
                    else:
                        # Section 5.5: extensions are ignored.
                        self._charge(1)
                except StreamFault as fault:
                    self._on_stream_fault(fault)
            self._charge_for_output()
        except ConnectionFault as fault:
            self.fail(fault.code, fault.detail)
        return events

    def release(self, stream: Stream, count: int) -> None:
        """Records that body bytes were handled, so that the client may send more."""
        stream.held -= count
        self._release_connection(count)
        if stream.remote_open and not stream.closed and stream.receive_window is not None:
            increment = stream.receive_window.release(count)
            if increment:
                self.outbox.control(frames.window_update(stream.id, increment))

    def discard(self, stream: Stream) -> None:
        """Releases the held bytes of a stream's body, which is no longer needed."""
        if stream.held:
            held, stream.held = stream.held, 0
            self._release_connection(held)

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        """Ends a stream at once and drops its pending output (section 5.4.2)."""
        if not stream.closed:
            self.outbox.reset(stream, code)
            self.discard(stream)

    def ping(self, payload: bytes) -> None:
        """Sends PING with a payload of eight bytes (section 6.7)."""
        self.outbox.control(frames.ping(payload))

    def announce_drain(self) -> None:
        """Asks the client to open no more streams; streams in flight are served (section 6.8)."""
        self.outbox.control(frames.goaway(frames.MAX_STREAM_ID, ErrorCode.NO_ERROR))

    def refuse_streams(self) -> None:
        """Announces the last accepted stream, and refuses all later ones."""
        if not self._streams.refusing:
            self._streams.refusing = True
            self._last_served = self._streams.highest
            self.outbox.control(frames.goaway(self._last_served, ErrorCode.NO_ERROR))

    def fail(self, code: ErrorCode, detail: str) -> None:
        """Ends the connection with GOAWAY (section 5.4.1)."""
        if not self.failed:
            self.failed = True
            # Section 6.8: it may not name a later stream than an earlier GOAWAY did.
            last = min(self._streams.highest, self._last_served)
            self.outbox.control(frames.goaway(last, code, detail.encode()[:256]))
            self._events.append(ConnectionFailed(code, detail))

    # Frames, by type.

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        """DATA (section 6.1)."""
        length = len(payload)
        if not self._window.receive(length):
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the window")
        ended = bool(flags & frames.END_STREAM)
        stream = self._streams.open.get(stream_id)
        if stream is None or not stream.remote_open:
            self._release_connection(length)
            self._streams.ignore_late(stream_id)
            self._charge(1)
            return
        data = unpadded(flags, payload) if flags & frames.PADDED else payload
        if not data and not ended:
            self._charge(1)
        stream.held += length
        window = stream.receive_window
        if window is None and not ended:
            size = self._limits.stream_window
            window = stream.receive_window = ReceiveWindow(size, size)
        # One frame that is the whole body is shorter than any window that a stream has.
        if window is not None and not window.receive(length):
            raise StreamFault(stream_id, ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the window")
        if stream.expected >= 0 or ended:
            account_body(stream, len(data), ended=ended)
        if length != len(data):
            self.release(stream, length - len(data))
        self._events.append(DataReceived(stream, data, ended))

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        """HEADERS (section 6.2)."""
        event = self._requests.headers(flags, stream_id, payload)
        if event is not None:
            self._events.append(event)

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        """CONTINUATION (section 6.10)."""
        self._charge(1)
        event = self._requests.continuation(flags, stream_id, payload)
        if event is not None:
            self._events.append(event)

    def _on_priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """PRIORITY (section 6.3): checked and ignored, because RFC 9113 deprecates it."""
        self._charge(1)
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:
            raise StreamFault(stream_id, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY has five bytes")
        if frames.U32.unpack_from(payload)[0] & frames.STREAM_ID_MASK == stream_id:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "depends on itself")

    def _on_rst_stream(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """RST_STREAM (section 6.4)."""
        self._charge(1)
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM has four bytes")
        self._streams.require_used(stream_id, "RST_STREAM")
        stream = self._streams.open.get(stream_id)
        if stream is None:
            return
        if not stream.answering:
            self._charge_reset()
        self._end(stream, frames.U32.unpack(payload)[0], by_peer=True)

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        """SETTINGS (section 6.5)."""
        # Seven settings are defined; a frame of thousands costs as much as many frames.
        self._charge(1 + len(payload) // _SETTINGS_BYTES_PER_FRAME)
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS ACK with a payload")
            return
        values = validated(payload)
        # Before the DATA that a larger window allows.
        self.outbox.control(frames.SETTINGS_ACK)
        for table_bytes in values.header_table_bytes:
            self._encoder.resize(table_bytes)
        if values.max_frame is not None:
            self.outbox.max_frame = values.max_frame
        if values.initial_window is not None:
            self._charge(len(self._streams.open) // _STREAMS_PER_CHARGE)
            try:
                self.outbox.resize(values.initial_window)
            except WindowOverflow:
                raise ConnectionFault(
                    ErrorCode.FLOW_CONTROL_ERROR, "a window above 2^31-1 (section 6.9.2)"
                ) from None

    def _on_push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        """PUSH_PROMISE (section 8.4)."""
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client cannot push")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        """PING (section 6.7)."""
        self._charge(1)
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING has eight bytes")
        if flags & frames.ACK:
            self._events.append(PingAcknowledged(payload))
        else:
            self.outbox.control(frames.ping(payload, ack=True))

    def _on_goaway(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """GOAWAY (section 6.8)."""
        self._charge(1)
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY has eight bytes or more")
        self.peer_going_away = True

    def _on_window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """WINDOW_UPDATE (section 6.9)."""
        self._charge(1)
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE has four bytes")
        increment = frames.U32.unpack(payload)[0] & frames.STREAM_ID_MASK
        stream = None
        if stream_id:
            self._streams.require_used(stream_id, "WINDOW_UPDATE")
            stream = self._streams.open.get(stream_id)
            if stream is None:
                return
        try:
            if not increment:
                raise _fault(stream_id, ErrorCode.PROTOCOL_ERROR, "an increment of 0")
            self.outbox.window_update(stream, increment)
        except WindowOverflow:
            raise _fault(
                stream_id, ErrorCode.FLOW_CONTROL_ERROR, "a window above 2^31-1 (section 6.9.1)"
            ) from None

    # Shared by the frame handlers.

    def _on_stream_fault(self, fault: StreamFault) -> None:
        if fault.stream_id > self._streams.highest:
            # RST_STREAM may not be sent for an idle stream (section 6.4).
            raise ConnectionFault(fault.code, fault.detail)
        self._charge_reset()
        stream = self._streams.open.get(fault.stream_id)
        if stream is None:
            self._streams.note_reset(fault.stream_id)
            self.outbox.control(frames.rst_stream(fault.stream_id, fault.code))
            return
        self.outbox.reset(stream, fault.code)
        self._end(stream, fault.code, by_peer=False)

    def _end(self, stream: Stream, code: int, *, by_peer: bool) -> None:
        self.outbox.forget(stream)
        self._streams.close(stream)
        self.discard(stream)
        self._events.append(StreamEnded(stream, code, by_peer=by_peer))

    def _release_connection(self, count: int) -> None:
        if increment := self._window.release(count):
            self.outbox.control(frames.window_update(0, increment))

    def _charge(self, count: int) -> None:
        if not self._control.spend(count, self._now):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many control frames")

    def _charge_reset(self) -> None:
        if not self._resets.spend(1, self._now):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many streams reset")

    def _charge_for_output(self) -> None:
        full, cut = self.outbox.take_counts()
        if full:
            self._control.earn(full * self._limits.control_frames_earned)
        if cut:
            self._charge(cut)


def _fault(stream_id: int, code: ErrorCode, detail: str) -> ConnectionFault | StreamFault:
    return StreamFault(stream_id, code, detail) if stream_id else ConnectionFault(code, detail)


# By frame type.
_HANDLERS: Final = (
    Connection._on_data,
    Connection._on_headers,
    Connection._on_priority,
    Connection._on_rst_stream,
    Connection._on_settings,
    Connection._on_push_promise,
    Connection._on_ping,
    Connection._on_goaway,
    Connection._on_window_update,
    Connection._on_continuation,
)

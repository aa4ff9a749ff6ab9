"""Reads requests and trailers from HEADERS and CONTINUATION (RFC 9113, 5.1.1 and 8.1)."""

from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.events import DataReceived, RequestReceived
from hub.transports.grpc.native.header_blocks import HeaderDecoder
from hub.transports.grpc.native.header_frames import BlockReader
from hub.transports.grpc.native.header_list import HeaderList
from hub.transports.grpc.native.http2_frames import ErrorCode
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.outbox import Outbox
from hub.transports.grpc.native.protocol_errors import ConnectionFault, StreamFault
from hub.transports.grpc.native.request import Malformed, check_trailers, read_request
from hub.transports.grpc.native.stream import Stream
from hub.transports.grpc.native.stream_table import StreamTable


class RequestReader:
    """Opens the streams of a connection, and ends request bodies that have trailers."""

    __slots__ = ("_decoder", "_limits", "_outbox", "_streams", "block")

    def __init__(self, limits: Limits, streams: StreamTable, outbox: Outbox) -> None:
        self._limits = limits
        self._streams = streams
        self._outbox = outbox
        self._decoder = HeaderDecoder(
            max_list_bytes=limits.header_list_hard_bytes,
            max_remembered=limits.remembered_blocks,
            max_remembered_bytes=limits.remembered_block_bytes,
            apart=b"grpc-timeout",
        )
        self.block = BlockReader(limits)
        """The incomplete header block."""

    def headers(
        self, flags: int, stream_id: int, payload: bytes
    ) -> RequestReceived | DataReceived | None:
        """Handles HEADERS. Raises ConnectionFault, StreamFault."""
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0")
        dependency = 0
        block: bytes | None = payload
        if not flags & frames.END_HEADERS or flags & (frames.PADDED | frames.PRIORITY_FLAG):
            block = self.block.begin(flags, stream_id, payload)
            dependency = self.block.dependency
        if block is None:
            return None
        return self._read(stream_id, block, flags, dependency)

    def continuation(
        self, flags: int, stream_id: int, payload: bytes
    ) -> RequestReceived | DataReceived | None:
        """Handles CONTINUATION. Raises ConnectionFault, StreamFault."""
        if not self.block.stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        block = self.block.add(flags, payload)
        if block is None:
            return None
        return self._read(stream_id, block, self.block.flags, self.block.dependency)

    def _read(
        self, stream_id: int, block: bytes, flags: int, dependency: int
    ) -> RequestReceived | DataReceived | None:
        # Every block is decoded, even for a refused stream, because later ones build on it.
        headers, timeout = self._decoder.decode(block)
        ended = bool(flags & frames.END_STREAM)
        streams = self._streams
        if stream_id <= streams.highest:
            return self._trailers(stream_id, headers, ended=ended)
        if not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client's stream id is even")
        streams.highest = stream_id
        if streams.refusing or len(streams.open) >= self._limits.streams:
            raise StreamFault(stream_id, ErrorCode.REFUSED_STREAM, "too many streams")
        try:
            request = read_request(headers)
            if dependency == stream_id:
                raise Malformed("a stream that depends on itself")
        except Malformed as error:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, str(error)) from None
        stream = Stream(stream_id, self._outbox.initial_window, self._outbox.now)
        stream.expected = request.content_length
        if ended:
            account_body(stream, 0, ended=True)
        streams.open[stream_id] = stream
        return RequestReceived(stream, headers, request, timeout, ended)

    def _trailers(self, stream_id: int, headers: HeaderList, *, ended: bool) -> DataReceived | None:
        stream = self._streams.open.get(stream_id)
        if stream is None or not stream.remote_open:
            self._streams.ignore_late(stream_id)
            return None
        if not ended:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "trailers without END_STREAM")
        try:
            check_trailers(headers)
        except Malformed as error:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, str(error)) from None
        account_body(stream, 0, ended=True)
        return DataReceived(stream, b"", ended=True)


def account_body(stream: Stream, length: int, *, ended: bool) -> None:
    """Checks a body against its content-length (section 8.1.1), and records its end.

    Raises StreamFault.
    """
    if stream.expected >= 0:
        stream.expected -= length
        if stream.expected < 0 or (ended and stream.expected):
            raise StreamFault(
                stream.id, ErrorCode.PROTOCOL_ERROR, "the body is not as long as content-length"
            )
    if ended:
        stream.remote_open = False

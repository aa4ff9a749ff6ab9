"""The streams of a connection, including recently reset ones (RFC 9113, section 5.1)."""

from hub.transports.grpc.native.http2_frames import ErrorCode
from hub.transports.grpc.native.protocol_errors import ConnectionFault, StreamFault
from hub.transports.grpc.native.stream import Stream


class StreamTable:
    """The open streams of a connection, and the ids that have been used."""

    __slots__ = ("_max_remembered", "_reset", "highest", "open", "refusing")

    def __init__(self, max_remembered: int) -> None:
        self.open: dict[int, Stream] = {}
        self.highest = 0
        """The highest id that the client has used; all higher ones are idle."""
        self.refusing = False
        """Whether new streams are refused because the server is stopping."""
        self._max_remembered = max_remembered
        # A dict, because it keeps the order in which streams were reset.
        self._reset: dict[int, None] = {}

    def close(self, stream: Stream) -> None:
        """Drops a stream that has ended."""
        stream.closed = True
        self.open.pop(stream.id, None)

    def note_reset(self, stream_id: int) -> None:
        """Remembers that the server reset the stream, so that late frames are ignored."""
        if len(self._reset) >= self._max_remembered:
            del self._reset[next(iter(self._reset))]
        self._reset[stream_id] = None

    def require_used(self, stream_id: int, kind: str) -> None:
        """Raises ConnectionFault for stream 0 and for an idle stream.

        A stream with an even id is always idle, because only the server could open it.
        """
        if stream_id > self.highest or not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{kind} on stream {stream_id}")

    def ignore_late(self, stream_id: int) -> None:
        """Accepts late DATA or HEADERS on a stream that the server reset.

        Raises StreamFault or ConnectionFault if the client may not send them.
        """
        self.require_used(stream_id, "DATA")
        if stream_id in self.open:
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED, "half-closed (remote)")
        if stream_id not in self._reset:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, f"stream {stream_id} is closed")
